"""What a recommender must do to be measured: the protocol that Nextclick and every baseline follow.

Owns the words between the replay driver and a system: events and streams of them, asks, rankings and the
first part of a stream. Knows neither how a stream is replayed nor how any system works.

Life of a system: `fit` once with the first part of the stream; then the whole stream goes by from its
beginning, each event `learn`ed in order, with `announce` when an item enters the catalogue and `rank`
before each event that is scored. `rank` changes nothing that a later list depends on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numba
import numpy as np
import numpy.typing as npt

from learner.data.catalogue import Item
from learner.data.dataset import Interactions

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.floating[Any]]

# Rankings must be exact down to here; an answer further down may count as not found.
DEPTH = 50


@dataclass(frozen=True, slots=True)
class Event:
    """One event as it becomes known; `user` and `item` are numbers of the stream."""

    number: int
    user: int
    item: int
    time_ms: int
    kind: int
    value: float
    scenario: str | None


@dataclass(frozen=True, slots=True)
class Stream:
    """Events in replay order, (n,) each, with users and items as numbers into the id lists.

    `records` has the catalogue's record of each item number, or None where the file has none.
    """

    user: Ints
    item: Ints
    time_ms: npt.NDArray[np.int64]
    kind: npt.NDArray[np.uint8]
    value: npt.NDArray[np.float32]
    scenario: list[str | None]
    user_ids: list[str]
    item_ids: list[str]
    records: list[Item | None]

    @property
    def size(self) -> int:
        """How many events there are."""
        return len(self.user)

    def event(self, number: int) -> Event:
        """The event at a place of the stream."""
        return Event(
            number,
            int(self.user[number]),
            int(self.item[number]),
            int(self.time_ms[number]),
            int(self.kind[number]),
            float(self.value[number]),
            self.scenario[number],
        )


@dataclass(frozen=True, slots=True)
class Ask:
    """A user opens a page: who, when and where, and nothing else."""

    user: int
    time_ms: int
    scenario: str | None


@dataclass(slots=True)
class Ranking:
    """Candidates with scores, in any order; items that are not among them count as not found.

    `items` (C,) int32 distinct, free of what the user must not see; `scores` (C,); `ties` (C,) a second
    key where scores are equal. What is equal in both stands at its expected position, and in lists by
    item id.
    """

    items: Ints
    scores: Floats
    ties: Floats | None = None

    @classmethod
    def ordered(cls, items: Ints) -> "Ranking":
        """A ranking whose order is final, as a policy that cares for diversity leaves it."""
        return cls(items, -np.arange(len(items), dtype=np.float64))

    def position(self, answer: int) -> float:
        """Expected position of `answer`, 1 at the top, infinite if it is not among the items."""
        return float(_position(self.items, self.scores, self._ties(), answer))

    def top(self, k: int, id_rank: Ints) -> Ints:
        """The list that would be shown: the k best, best first; `id_rank` (V,) orders equal ones."""
        return np.asarray(_top(self.items, self.scores, self._ties(), id_rank, k))

    def _ties(self) -> Floats:
        return np.zeros(len(self.items)) if self.ties is None else self.ties


@dataclass(frozen=True, slots=True)
class FirstPart(Stream):
    """The stream before the split, all that a system may know before the first scored event.

    `scored` marks events that would count if this part were measured (tuning uses the last fifth of
    them); `entries_before[k]` are items announced before the ask of event k, `entries_after[k]` those
    that entered by their first click, event k. `records` of items that had entered, else None. `notes`
    keeps what one baseline's tuning has found for another that builds on it.
    """

    scored: npt.NDArray[np.bool_]
    entries_before: Mapping[int, list[int]]
    entries_after: Mapping[int, list[int]]
    id_rank: Ints
    repeats: bool
    consumes: npt.NDArray[np.bool_]
    seed: int
    notes: dict[str, Any] = field(default_factory=dict)

    def interactions(self) -> Interactions:
        """The same events as data to train on, in replay order."""
        names = list(dict.fromkeys([None, *self.scenario]))
        code = {name: n for n, name in enumerate(names)}
        return Interactions(
            user=self.user,
            item=self.item,
            time_ms=self.time_ms,
            kind=self.kind,
            value=self.value,
            place=np.array([code[name] for name in self.scenario], np.int32),
            occurrence=np.arange(self.size, dtype=np.int32),  # no two events are the same one here
            user_ids=self.user_ids,
            item_ids=self.item_ids,
            scenarios=names,
        )

    @property
    def tuning_from(self) -> int:
        """Where the last fifth begins, which settings are chosen on."""
        return int(0.8 * self.size)


class System(Protocol):
    """A recommender under measurement."""

    name: str

    def fit(self, first: FirstPart) -> None:
        """Chooses settings and trains on the first part; leaves the system as before the first event."""

    def announce(self, item: int, record: Item | None, time_ms: int) -> None:
        """An item enters the catalogue and may be listed from now on."""

    def rank(self, ask: Ask) -> Ranking:
        """Ranks what the user may see, knowing every event learned so far."""

    def learn(self, event: Event, listed: bool) -> Ints | None:
        """Folds one event in. With `listed`, returns the list that this click triggers, best first."""

    def describe(self) -> dict[str, Any]:
        """Settings chosen, tuning budget and the like, for the report."""


@runtime_checkable
class Proposing(Protocol):
    """A system whose candidates come from several sources, to be told apart."""

    sources: tuple[str, ...]  # their names, S of them

    def proposals(self, ask: Ask) -> tuple[Ints, npt.NDArray[np.bool_]]:
        """Items (C,) that were put forward for this ask, and which of the sources named each (C, S)."""


@runtime_checkable
class Training(Protocol):
    """A system that trains on what it has learned, beside its answering: nobody waits for that."""

    def train(self) -> None:
        """Called after each event of the later part; trains if it is time."""


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _position(items: Ints, scores: Floats, ties: Floats, answer: int) -> float:
    at = -1
    for c in range(len(items)):
        if items[c] == answer:
            at = c
            break
    if at < 0:
        return np.inf
    better, tied = 0, 0
    for c in range(len(items)):
        if scores[c] > scores[at] or (scores[c] == scores[at] and ties[c] > ties[at]):
            better += 1
        elif scores[c] == scores[at] and ties[c] == ties[at] and c != at:
            tied += 1
    return 1.0 + better + 0.5 * tied


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _top(items: Ints, scores: Floats, ties: Floats, id_rank: Ints, k: int) -> Ints:
    """Insertion into a short sorted list: nearly every candidate fails the first comparison."""
    best = np.empty(k, np.int64)
    size = 0
    for c in range(len(items)):
        at = size
        while at > 0:
            other = best[at - 1]
            if scores[c] < scores[other]:
                break
            if scores[c] == scores[other] and (
                ties[c] < ties[other]
                or (ties[c] == ties[other] and id_rank[items[c]] > id_rank[items[other]])
            ):
                break
            at -= 1
        if at < k:
            size = min(size + 1, k)
            for q in range(size - 1, at, -1):
                best[q] = best[q - 1]
            best[at] = c
    return items[best[:size]]
