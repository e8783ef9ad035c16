"""What the student reads of an event besides its item: the time gap and the normalised value.

Owns these two definitions for training and for serving alike, so that both feed the same numbers.
Knows no model and no torch: the worker imports it.
"""

import math
from collections.abc import Mapping
from typing import Protocol

import numba
import numpy as np
from numpy.typing import NDArray

from learner.data.events import INTEREST, Kind

VALUE_LIMIT = 3.0  # normalised values are cut here: a price of 10,000 must not drown the item
PRIOR_FLOOR = 0.05  # added to decayed popularity before the logarithm, in clicks

INTEREST_KINDS: NDArray[np.bool_] = np.array([kind in INTEREST for kind in Kind])

ValueScale = Mapping[str, tuple[float, float]]
"""Mean and standard deviation of an event kind's values, by the kind's word."""
ScaleByCode = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Means and inverse deviations (8,) each, by the kind's code."""


class EventLog(Protocol):
    """Recorded events as parallel arrays in global time order."""

    @property
    def user(self) -> NDArray[np.int32]:
        """User numbers (n,)."""

    @property
    def item(self) -> NDArray[np.int32]:
        """Item numbers (n,)."""

    @property
    def time_ms(self) -> NDArray[np.int64]:
        """Event times (n,), Unix milliseconds."""

    @property
    def kind(self) -> NDArray[np.uint8]:
        """Codes of `learner.data.events.Kind` (n,)."""

    @property
    def value(self) -> NDArray[np.float32]:
        """Ratings, dwell seconds or prices (n,), nan where there is none."""


def log_gap(time_ms: NDArray[np.int64], previous_ms: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return log(1 + seconds since the user's previous event), 0 where `previous_ms` < 0 (no such event)."""
    seconds = np.maximum(time_ms - previous_ms, 0) / 1000.0
    seconds[previous_ms < 0] = 0.0
    gaps: NDArray[np.float32] = np.log1p(seconds).astype(np.float32)
    return gaps


def value_scale(kind: NDArray[np.uint8], value: NDArray[np.float32]) -> dict[str, tuple[float, float]]:
    """Measure mean and standard deviation of the values of each kind that has any."""
    scale: dict[str, tuple[float, float]] = {}
    for code in Kind:
        own = value[(kind == code) & np.isfinite(value)].astype(np.float64)
        if own.size:
            scale[code.word] = (float(own.mean()), float(max(own.std(), 1e-3)))
    return scale


def normalise_values(
    kind: NDArray[np.uint8], value: NDArray[np.float32], scale: ValueScale
) -> NDArray[np.float32]:
    """Return the values in standard deviations of their kind, cut at ±3; 0 where there is none.

    A kind without a scale (never seen in training with values) gives 0: nothing is known of its range.
    """
    return normalise_by_code(kind, value, scale_by_code(scale))


def normalise_by_code(
    kind: NDArray[np.uint8], value: NDArray[np.float32], scale: ScaleByCode
) -> NDArray[np.float32]:
    """The same, where the scale was looked up before: for every click."""
    mean, inverse = scale
    normal = np.empty(value.shape, np.float32)
    _normalise(kind.ravel(), value.ravel(), mean, inverse, normal.ravel())
    return normal


def normalise_value(kind: int, value: float, scale: ValueScale) -> float:
    """One value as `normalise_values` would have it."""
    with np.errstate(over="ignore"):  # of a value beyond float32
        values = np.array([value], np.float32)
    return float(normalise_values(np.array([kind], np.uint8), values, scale)[0])


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _normalise(
    kind: NDArray[np.uint8],
    value: NDArray[np.float32],
    mean: NDArray[np.float64],
    inverse: NDArray[np.float64],
    normal: NDArray[np.float32],
) -> None:
    """Writes `normal` (n,); mean and inverse deviation by code of the kind."""
    for n in range(value.shape[0]):
        normal[n] = 0.0
        code = kind[n]
        if code >= mean.shape[0]:  # of no kind that this version knows
            continue
        deviations = (value[n] - mean[code]) * inverse[code]
        if not math.isnan(deviations):  # of no value, or of an endless one of a kind without a scale
            normal[n] = min(max(deviations, -VALUE_LIMIT), VALUE_LIMIT)


def scale_by_code(scale: ValueScale) -> ScaleByCode:
    """Means and inverse deviations by code of the kind (8,) each."""
    mean, inverse = np.zeros(len(Kind)), np.zeros(len(Kind))
    for word, (centre, spread) in scale.items():
        mean[Kind[word.upper()]], inverse[Kind[word.upper()]] = centre, 1.0 / spread
    return mean, inverse
