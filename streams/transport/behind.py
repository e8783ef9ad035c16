"""Which partitions are not read yet: those that follow another topic's, until enough of that was read.

Nor are those at all that came after the start: until states and lists are where their users now belong nobody
could answer for them.

Owns the order between two topics of equal partitions after an assignment. What waits, waits in Kafka and
holds nobody else up, however much there is to be read first. Knows no consumer: whoever fetches says how far
it is.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from faust.types.tuples import TP


class Place(NamedTuple):
    """How far a partition has been read, and where its log ends as of the last fetch; None: not known yet."""

    position: int | None
    end: int | None


class Behind:
    """`follows`: by topic, the one whose partition of the same number is read first.

    Partitions from number `partitions` on are not read.
    """

    def __init__(self, follows: Mapping[str, str], partitions: int | None = None) -> None:
        self._follows = dict(follows)
        self._partitions = partitions
        self._beyond: frozenset[TP] = frozenset()
        self._leader: dict[TP, TP] = {}  # of each partition that waits
        self._end: dict[TP, int] = {}  # to which a leader is to be read

    def begin(self, assigned: Iterable[TP]) -> None:
        """After an assignment all followers wait; before anything is fetched."""
        mine = frozenset(assigned)
        most = self._partitions
        self._beyond = frozenset(tp for tp in mine if most is not None and tp.partition >= most)
        leaders = {tp: TP(self._follows[tp.topic], tp.partition) for tp in mine if tp.topic in self._follows}
        self._leader = {tp: leader for tp, leader in leaders.items() if leader in mine}
        self._end = {}

    def waiting(self, place_of: Callable[[TP], Place]) -> frozenset[TP]:
        """Partitions that are not to be read now; asked between two fetches.

        A leader has come far enough with the end that the first fetch after the assignment has seen, told by
        its position: an end may be markers of transactions, or gone with what was deleted. Where the end has
        come down since then the topic was made anew, and its new end is enough.
        """
        for follower, leader in list(self._leader.items()):
            position, end = place_of(leader)
            if position is None or end is None:
                continue
            if position >= min(end, self._end.setdefault(leader, end)):
                del self._leader[follower]
        return frozenset(self._leader) | self._beyond
