"""Arrays with a row each for the same things, declared once.

Owns growing, clearing and bringing back of rows, so that a class forgets none of its arrays on the way. Knows
nothing of what they hold.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from learner.data.arrays import filled, grown


class Column(NamedTuple):
    """How an array is declared: `column` says what the words mean."""

    dtype: Any
    width: int | None
    new: Any


def column(dtype: Any, width: int | None = None, new: Any = 0) -> Any:
    """Declares an array (rows,), or (rows, width), in the body of a class of `Columns`.

    `new`: what a row holds before anything is put there. Values of many sizes are of dtype object; they are
    replaced and never changed in place, or nothing would bring them back.
    """
    return Column(dtype, width, new)


class Columns:
    """Arrays of as many rows, each declared by a `column`."""

    columns: ClassVar[dict[str, Column]]

    def __init_subclass__(cls) -> None:
        cls.columns = {name: each for name, each in vars(cls).items() if isinstance(each, Column)}
        for name in cls.columns:
            delattr(cls, name)  # an array that stands before an attribute of the class is found slowly

    def __init__(self, rows: int) -> None:
        for name, (dtype, width, new) in self.columns.items():
            setattr(self, name, filled((rows,) if width is None else (rows, width), new, dtype))

    @property
    def nbytes(self) -> int:
        """Memory of the arrays; of what arrays of objects point to nothing counts."""
        return sum(getattr(self, name).nbytes for name in self.columns)

    def grow(self, rows: int) -> None:
        """Makes it `rows` in all, the further ones new."""
        for name, each in self.columns.items():
            setattr(self, name, grown(getattr(self, name), rows, each.new))

    def widen(self, name: str, width: int) -> None:
        """Makes the rows of one array at least so wide."""
        array = getattr(self, name)
        if width > array.shape[1]:
            wider = filled((len(array), width), self.columns[name].new, array.dtype)
            wider[:, : array.shape[1]] = array
            setattr(self, name, wider)

    def clear(self, row: int) -> None:
        """Makes a row as new."""
        for name, each in self.columns.items():
            getattr(self, name)[row] = each.new

    def copied(self, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """The rows (n,) as they are, by the array's name."""
        return {name: getattr(self, name)[rows] for name in self.columns}

    def bring_back(self, rows: NDArray[np.int64], copied: Mapping[str, NDArray[Any]]) -> None:
        """Makes the rows as they were when they were `copied`; arrays may be wider now."""
        for name, old in copied.items():
            array = getattr(self, name)
            if old.ndim > 1 and old.shape[1] < array.shape[1]:
                array[rows] = self.columns[name].new
                array[rows, : old.shape[1]] = old
            else:
                array[rows] = old
