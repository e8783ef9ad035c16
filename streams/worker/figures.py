"""A worker's figures: what it has counted since its start, and how things stand now.

Owns the names and one reading of all of them; what a figure means is said where it is registered. Knows no
log and no HTTP: `worker` logs a snapshot a minute, and whoever shows figures reads the same one.
"""

import math
from collections.abc import Callable, Iterable

Figure = float | int | str | None  # None: not known yet


class Figures:
    """`counts` only rise and are written by their owners; gauges are read when somebody asks."""

    def __init__(self, counters: Iterable[str] = ()) -> None:
        self.counts: dict[str, int] = dict.fromkeys(counters, 0)
        self._gauges: dict[str, Callable[[], Figure]] = {}

    def gauge(self, name: str, read: Callable[[], Figure]) -> None:
        """Registers a figure that `read` tells. Raises ValueError for a name that is taken."""
        if name in self._gauges or name in self.counts:
            raise ValueError(f"there is a figure {name} already; each has one owner")
        self._gauges[name] = read

    def snapshot(self) -> dict[str, Figure]:
        """All figures now, counters first; what is no number is None."""
        return {**self.counts, **{name: _plain(read()) for name, read in self._gauges.items()}}


def _plain(figure: Figure) -> Figure:
    if isinstance(figure, float):
        return round(figure, 4) if math.isfinite(figure) else None
    return figure
