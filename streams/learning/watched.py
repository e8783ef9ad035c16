"""How long the topics have been watched: read to their ends, by a process that was there all the while.

Owns what counts as watched, which is the only time that may speak for a release. Pure: time, positions and
ends are arguments. Knows no Kafka consumer.
"""

from collections.abc import Hashable, Mapping

LONGEST_STRETCH_S = 60.0  # between two looks; a process that looks less often was not there in between


class Watched:
    """Told at each look where the reading is and where the topics end.

    Everything that stood in the topics at one look is to be read by a later one: then the time from there to
    here was watched. At first, and after each gap, nothing counts before that has been so once.
    """

    def __init__(self) -> None:
        self._looked_s = 0.0
        self._pending_s: float | None = None  # since the last reached ends; None: nothing counts yet
        self._ends: dict[Hashable, int] | None = None  # those to be reached

    def lost(self) -> None:
        """The topics' ends cannot be known now: a gap."""
        self._ends = self._pending_s = None

    def look(
        self, now_s: float, positions: Mapping[Hashable, int], ends: Mapping[Hashable, int]
    ) -> float | None:
        """The milliseconds that are watched since this was told last; None while the reading is behind.

        By partition, the offset read next and the end of now; `now_s` of a clock that only goes on.
        """
        stretch_s, self._looked_s = now_s - self._looked_s, now_s
        if stretch_s > LONGEST_STRETCH_S:
            self.lost()
        if self._ends is None:
            self._ends = dict(ends)
            return None
        if self._pending_s is not None:
            self._pending_s += stretch_s
        # A topic that was made anew ends before the end that was to be reached; a partition may be gone.
        if any(positions.get(place, end) < min(end, ends.get(place, 0)) for place, end in self._ends.items()):
            return None
        found, self._pending_s, self._ends = self._pending_s or 0.0, 0.0, dict(ends)
        return 1000.0 * found
