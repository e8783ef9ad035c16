"""What is wished of a training, and what is known before it begins.

Owns the wishes alone; what they lead to is `learner.training.train`'s.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from learner.data.event_weights import EventWeights
from learner.models.run import Note
from learner.signals.settings import SignalSettings
from learner.text.cache import TextCache
from learner.text.card import EncoderChoice
from learner.text.content import ContentEncoder
from learner.text.encoder import Encoder
from learner.training.settings import TrainingSettings


@dataclass(frozen=True)
class TrainingOptions:
    """One training, or one search for its settings.

    budget_minutes: the time it may take, by `clock`
    repeat_consumption: None decides from the data
    encoder: of texts; None fits one to the items, whose texts `cache` may know already. It reads with
        `reader`, else with the one of `choice`, else with the default
    signals: those that run already; None chooses them from the data
    event_weights: how much events count; None: as `signals` say, without them all alike
    settings: what a search has found
    noted: told of the models' curves, in this process
    processes: that work beside each other; with more than one, the function that makes lists must stand at
        the top level of its module
    """

    budget_minutes: float = 6.0
    seed: int = 0
    repeat_consumption: bool | None = None
    encoder: ContentEncoder | None = None
    choice: EncoderChoice | None = None
    reader: Encoder | None = None
    cache: TextCache | None = None
    signals: SignalSettings | None = None
    event_weights: EventWeights | None = None
    settings: TrainingSettings | None = None
    noted: Note | None = None
    processes: int = 1
    clock: Callable[[], float] = time.perf_counter
