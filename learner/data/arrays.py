"""Arrays that grow. Knows nothing of what they hold."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def grown(array: NDArray[Any], rows: int, fill: float = 0) -> NDArray[Any]:
    """The rows and, behind them, others of `fill`: `rows` in all, or `array` itself where it has as many."""
    if rows <= len(array):
        return array
    longer = filled((rows, *array.shape[1:]), fill, array.dtype)
    longer[: len(array)] = array
    return longer


def filled(shape: tuple[int, ...], fill: Any, dtype: Any) -> NDArray[Any]:
    """An array of `fill`; zeros take no memory before something is written, so rows to come cost nothing."""
    return np.zeros(shape, dtype) if fill == 0 else np.full(shape, fill, dtype)
