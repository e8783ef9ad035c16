"""How far partitions have been taken in: all records before that place are with the worker, or are none.

Owns the difference between what was fetched and what the worker has taken from the agent's queue. Offsets
without a record (markers of transactions, what was deleted) count as taken in once the consumer has passed
them. Knows no consumer: whoever fetches says how far it is. Used by one event loop only.
"""

from collections import Counter
from collections.abc import Iterable

from faust.types.tuples import TP


class Reached:
    """Begins anew with each assignment.

    watched: the partitions whose consumer's place counts
    """

    def __init__(self) -> None:
        self.watched: frozenset[TP] = frozenset()
        self._at: dict[TP, int] = {}
        self._between: Counter[TP] = Counter()  # slices that were handed out and are not taken in yet

    def begin(self, watched: Iterable[TP]) -> None:
        """After an assignment nothing is known of any partition."""
        self.watched = frozenset(watched)
        self._at.clear()
        self._between.clear()

    def hand_out(self, tp: TP) -> None:
        """A slice is on its way to the agent."""
        if tp in self.watched:
            self._between[tp] += 1

    def take_in(self, tp: TP, place: int) -> None:
        """The worker has the partition's next slice; `place` is the offset behind it."""
        if tp not in self.watched:
            return
        self._between[tp] -= 1
        self._at[tp] = max(place, self._at.get(tp, 0))

    def pass_by(self, tp: TP, position: int | None) -> None:
        """Where the consumer stands, told while nothing is being fetched; None: not known yet.

        It says nothing while slices are on their way.
        """
        if position is not None and not self._between[tp]:
            self._at[tp] = max(position, self._at.get(tp, 0))

    def of(self, tp: TP) -> int:
        """The offset before which everything is taken in."""
        return self._at.get(tp, 0)
