"""Whether a text is what somebody clicks next, as a probability: a slope and a bias for cosines.

Owns the fit (Platt 1999, "Probabilistic outputs for support vector machines") and how far to trust it
(expected calibration error, Guo et al. 2017). Knows no encoder.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from learner.judging.next_by_text import Pairs

SHOWN = 16  # others, drawn by clicks, beside the text that was clicked
_BINS = 10

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ClickChance:
    """The chance of a click is 1 / (1 + exp(-(slope * cosine + bias))), where one of 17 texts is clicked.

    error: expected calibration error of such a fit to every other user, among the rest; nan where none is
    """

    slope: float
    bias: float
    error: float


def click_chance(rows: NDArray[np.float32], pairs: Pairs) -> ClickChance:
    """Fitted to pairs by their texts' vectors (V, W) of length 1; its error by a fit to every other user."""
    cosines, clicked = _cosines(rows, pairs)
    place = np.unique(pairs.users, return_inverse=True)[1]
    half = place % 2 == 0
    error = float("nan")
    if half.any() and not half.all():
        error = calibration_error(*_fitted(cosines[half], clicked[half]), rows, _some(pairs, ~half))
    return ClickChance(*_fitted(cosines, clicked), error)


def calibration_error(slope: float, bias: float, rows: NDArray[np.float32], pairs: Pairs) -> float:
    """How far what is said is from what comes, by the mean of ten bins with as many texts each."""
    cosines, clicked = _cosines(rows, pairs)
    there = ~np.isnan(cosines)
    said, came = expit(slope * cosines[there] + bias), clicked[there]
    bins = np.array_split(np.argsort(said, kind="stable"), _BINS)
    gaps = [len(each) * abs(said[each].mean() - came[each].mean()) for each in bins if len(each)]
    return float(np.sum(gaps) / max(len(said), 1))


def _cosines(rows: NDArray[np.float32], pairs: Pairs) -> tuple[Floats, NDArray[np.bool_]]:
    """Cosines (n, 17) with the last text, and which was clicked; nan where another is one of these two."""
    others = pairs.others[:, :SHOWN]
    shown = np.column_stack([pairs.next, others])
    cosines = np.einsum("nw,nkw->nk", rows[pairs.last], rows[shown]).astype(np.float64)
    cosines[:, 1:][(others == pairs.next[:, None]) | (others == pairs.last[:, None])] = np.nan
    clicked = np.zeros(cosines.shape, np.bool_)
    clicked[:, 0] = True
    return cosines, clicked


def _fitted(cosines: Floats, clicked: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and bias of the least cross-entropy."""
    there = ~np.isnan(cosines)
    x, y = cosines[there], clicked[there]

    def loss(way: Floats) -> tuple[float, Floats]:
        logits = way[0] * x + way[1]
        wrong = expit(logits) - y
        entropy = np.logaddexp(0.0, logits) - y * logits
        return float(entropy.mean()), np.array([(wrong * x).mean(), wrong.mean()])

    slope, bias = minimize(loss, np.array([1.0, -3.0]), jac=True, method="L-BFGS-B").x
    return float(slope), float(bias)


def _some(pairs: Pairs, chosen: NDArray[np.bool_]) -> Pairs:
    return Pairs(pairs.last[chosen], pairs.next[chosen], pairs.users[chosen], pairs.others[chosen])
