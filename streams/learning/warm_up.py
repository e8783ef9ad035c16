"""What the first clicks would stand still for: kernels that are loaded at their first call, river's imports.

Owns the list of it; called beside the learner's start, before anybody counts on it. Knows no topic.
"""

import numpy as np

from learner.data.catalogue import Catalogue
from learner.data.events import Kind
from learner.data.inputs import normalise_value
from learner.data.times import DAY_MS
from learner.judging.drift import HitRateDrift
from learner.signals.settings import SignalSettings
from learner.signals.state import Signals


def warm_up() -> None:
    """Counts clicks in signals of its own and asks for a detector: two to five seconds, in any thread."""
    HitRateDrift()
    catalogue = Catalogue()
    items = [catalogue.intern(name) for name in ("a", "b", "c")]
    signals = Signals(SignalSettings(), catalogue, keep_offsets=True)
    history = np.zeros(0, np.int32)
    for day in range(0, 400, 50):  # so long that everything is aged on the way
        for item in items:
            signals.learn(item, day * DAY_MS, int(Kind.CLICK), 0.0, history)
            history = np.append(history, np.int32(item))
    signals.set_vector(items[0], np.zeros(2, np.float32), np.zeros(2, np.float32))
    signals.frontier_record()
    for item in signals.drain():
        signals.apply(catalogue.ids[item], signals.record(item))
    normalise_value(int(Kind.RATING), 1.0, {"rating": (0.0, 1.0)})
