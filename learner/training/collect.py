"""What a training asks the hot path for: lists over recorded clicks, made as they are served.

`streams.recorded.collecting.collect` is the one that there is; it is handed in, since this
package knows no streams.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from learner.data.dataset import Interactions
from learner.ranking.lists import Lists, Wanted
from learner.release.live import LiveRelease


class Collect(Protocol):
    """Replays the hot path over the events [start, stop) of `data` and keeps the lists it makes.

    Signals and states know everything before each event and nothing after it; `live` must hold models
    trained on nothing later than `start`. Lists are made for scored events only (interest; no repeats
    unless the release repeats). What is `wanted` bounds memory to lists · (negatives + 1) · F numbers of half
    precision. Unanswered lists may be left out or have positive -1. `vectors` (stop - start, D) float32 are
    users' vectors before each event, where they have been computed.
    """

    def __call__(
        self, live: LiveRelease, data: Interactions, start: int, stop: int, wanted: Wanted,
        vectors: NDArray[np.float32] | None = None,
    ) -> Lists:  # fmt: skip
        """Return the lists."""
        ...
