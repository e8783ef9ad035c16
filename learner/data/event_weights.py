"""How much an event of each kind counts beside the others: a purchase five views, say.

Owns which weights there may be and their form: a word for each kind that does not count 1. Signals, the
popularity prior and the losses of a training read the same ones. Knows no counting.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from learner.data.events import INTEREST, KIND_OF_WORD, Kind

# Weights are whole numbers of it: sums of them are exact, in whatever order clicks and records come.
GRAIN = 2.0**-20
LEAST, MOST = 0.001, 1000.0  # beside 0: an event that weighs nothing is not counted at all

EventWeights = Mapping[str, float]
ALIKE: EventWeights = {}  # every event of interest counts 1


def checked_weights(given: EventWeights) -> dict[str, float]:
    """Those that are not 1, by word; raises ValueError for one that cannot be a weight."""
    found: dict[str, float] = {}
    for word, weight in sorted(given.items()):
        kind = KIND_OF_WORD.get(word)
        if kind is None:
            raise ValueError(f"{word!r} is no event; there are {_counted()}")
        if kind not in INTEREST:
            raise ValueError(f"{word} is never counted, so it has no weight; counted are {_counted()}")
        if not math.isfinite(weight) or (weight != 0 and not LEAST <= weight <= MOST):
            raise ValueError(f"{word}={weight:g}: a weight is 0, or from {LEAST:g} to {MOST:g}")
        if weight != 1:
            found[word] = float(weight)
    return found


def weights_by_kind(weights: EventWeights) -> NDArray[np.float64]:
    """What an event counts, by the code of its kind (K,): 0 for kinds that are no interest."""
    found = np.zeros(len(Kind))
    for kind in INTEREST:
        found[kind] = round(weights.get(kind.word, 1.0) / GRAIN) * GRAIN
    return found


ALL_ALIKE: tuple[float, ...] = tuple(weights_by_kind(ALIKE).tolist())
"""What events count by default, by the code of their kind."""


def _counted() -> str:
    return ", ".join(kind.word for kind in Kind if kind in INTEREST)
