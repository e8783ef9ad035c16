"""The places of a list under rules: pins, caps, items shown too often, and what fills up.

Owns the order in which soft rules are given up. Pure arrays: which items a filter leaves, and who may not
have what, was seen to when the candidates were drawn.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from learner.filters.fields import Fields
from streams.hot_path.policy import Place
from streams.wire.steering import Cap


class Caps:
    """How many items with the same value in a field still fit in: hard, item by item."""

    def __init__(self, caps: Sequence[Cap], fields: Fields) -> None:
        self._caps = caps
        self._fields = fields
        self._taken: list[Counter[int]] = [Counter() for _ in caps]
        self._values: dict[int, list[list[int]]] = {}
        if caps:
            fields.read(tuple(cap.field for cap in caps))  # one by one, each reads all records

    def read(self, items: NDArray[np.int32]) -> None:
        """Looks up the values of items (n,) that may be asked about, all at once."""
        if not self._caps:
            return
        by_cap = []
        for cap in self._caps:
            starts, codes = self._fields.codes(cap.field, items.astype(np.int64))
            bounds, values = starts.tolist(), codes.tolist()
            by_cap.append([values[a:b] for a, b in pairwise(bounds)])
        for place, item in enumerate(items.tolist()):
            self._values[item] = [values[place] for values in by_cap]

    def fitting(self, items: NDArray[np.int32]) -> "Fitting":
        """Of items (n,) those that still fit in, looked at all at once."""
        return Fitting(
            self, self._caps, self._taken, [self._fields.codes(c.field, items) for c in self._caps]
        )

    def count(self, item: int, values: list[list[int]]) -> None:
        """The item stands in the list; `values` are its own, by cap."""
        self._values[item] = values
        for taken, mine in zip(self._taken, values, strict=True):
            taken.update(set(mine))

    def takes(self, item: int) -> bool:
        """Whether the item fits in; it is counted then."""
        if not self._caps:
            return True
        values = self._values[item]
        for cap, taken, mine in zip(self._caps, self._taken, values, strict=True):
            if any(taken[value] >= cap.most for value in mine):
                return False
        for taken, mine in zip(self._taken, values, strict=True):
            taken.update(set(mine))
        return True

    def gives_back(self, item: int) -> None:
        """An item that was counted has left the list."""
        if self._caps:
            for taken, mine in zip(self._taken, self._values[item], strict=True):
                taken.subtract(set(mine))


class Fitting:
    """Which of some items (n,) fit into a list, as it fills up."""

    def __init__(
        self, caps: Caps, limits: Sequence[Cap], taken: Sequence[Counter[int]],
        codes: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
    ) -> None:  # fmt: skip
        self._caps, self._limits, self._taken, self._codes = caps, limits, taken, codes

    def mask(self, length: int) -> NDArray[np.bool_]:
        """Whether each (n,) fits in now."""
        fits = np.ones(length, np.bool_)
        for limit, taken, (begins, codes) in zip(self._limits, self._taken, self._codes, strict=True):
            full = [value for value, count in taken.items() if count >= limit.most]
            if full:
                met = np.concatenate([[0], np.cumsum(np.isin(codes, full))])
                fits &= met[begins[1:]] == met[begins[:-1]]
        return fits

    def take(self, place: int, item: int) -> None:
        """The item in that place stands in the list."""
        self._caps.count(
            item, [codes[begins[place] : begins[place + 1]].tolist() for begins, codes in self._codes]
        )


class Placing:
    """A list of at most `length` places that is being filled; `place` takes columns of candidates in order.

    pins: columns by place, from 0
    """

    def __init__(
        self, length: int, items: NDArray[np.int32], caps: Caps, pins: Iterable[tuple[int, int]] = ()
    ) -> None:
        self._items = items.tolist()
        self._caps = caps
        self._length = length
        self._pinned: dict[int, int] = {}
        self._free: list[tuple[int, str]] = []
        self.placed: set[int] = set()
        for place, column in pins:
            free = place < length and place not in self._pinned and column not in self.placed
            if free and caps.takes(self._items[column]):
                self._pinned[place] = column
                self.placed.add(column)

    @property
    def left(self) -> int:
        """Places that are empty."""
        return self._length - len(self._pinned) - len(self._free)

    def place(self, columns: Iterable[int], rule: str = "") -> None:
        """Gives columns the next empty places, those that the caps take."""
        left = self.left
        for column in columns:
            if left <= 0:
                return
            if column not in self.placed and self._caps.takes(self._items[column]):
                self._free.append((column, rule))
                self.placed.add(column)
                left -= 1

    @property
    def last(self) -> int | None:
        """The column in the last place that no pin has."""
        return self._free[-1][0] if self._free else None

    def fill(self, items: NDArray[np.int32], rule: str) -> None:
        """Further items (n,) join as the next columns, and have the next empty places: the caps know them."""
        for column, item in enumerate(items.tolist(), len(self._items)):
            self._items.append(item)
            self._free.append((column, rule))
            self.placed.add(column)

    def try_out(self, below: Sequence[int], rng: np.random.Generator) -> tuple[int, int] | None:
        """Puts one of the columns below the list in its last free place; returns it and how many there were.

        None where the caps take none of them.
        """
        if not self._free:
            return None
        last, rule = self._free.pop()
        self._caps.gives_back(self._items[last])
        fitting = []
        for column in below:
            if self._caps.takes(self._items[column]):
                self._caps.gives_back(self._items[column])
                fitting.append(column)
        chosen = int(fitting[rng.integers(len(fitting))]) if fitting else last
        self._caps.takes(self._items[chosen])
        self._free.append((chosen, "" if fitting else rule))
        if not fitting:
            return None
        self.placed.discard(last)
        self.placed.add(chosen)
        return chosen, len(fitting)

    def places(self) -> list[Place]:
        """The list; where it is short, pins move up to its end."""
        free = iter(self._free)
        made: list[Place] = []
        waiting = sorted(self._pinned.items())
        for place in range(self._length):
            if waiting and waiting[0][0] == place:
                made.append(Place(waiting.pop(0)[1], 1.0, rule="pin"))
            elif (each := next(free, None)) is not None:
                made.append(Place(each[0], 1.0, rule=each[1]))
        return made
