"""Against papers: each user's last item is the test, the one before it the validation, the rest training.

Owns this split and its figures: full ranking, no sampled negatives, file order within equal times (or each
day's order drawn by lot, where the file's is an artefact), items of the history left out, and the validation
item part of the test's history. Knows no model: it asks a `Scorer`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from learner.data.catalogue import Item
from learner.data.dataset import Interactions
from learner.data.events import INTEREST
from learner.data.times import DAY_MS
from learner.evaluation.plan import ReplayError
from learner.evaluation.system import Ints
from learner.judging.metrics import RESAMPLES, WIDE, hit, interval, ndcg, reciprocal_rank, resampled

BATCH = 256  # users scored at once: with 12,000 items 12 MB of scores
LEAST = 3  # events: one to learn from, one to validate, one to test


@dataclass(frozen=True, slots=True)
class Histories:
    """Events of interest grouped by user, each user's in order: columns (n,) and bounds (U + 1,)."""

    events: Interactions
    bounds: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def items(self, user: int) -> Ints:
        """The user's items, oldest first."""
        return self.events.item[self.bounds[user] : self.bounds[user + 1]]


@dataclass(frozen=True, slots=True)
class LeaveOneOut:
    """The task: `train` has what may be learned from; `histories` everything.

    Users of `histories` and `train` are numbered alike; `users` (T,) have both held-out items.
    `records` by item number, None where the catalogue file has none.
    """

    train: Histories
    histories: Histories
    users: Ints
    item_ids: list[str]
    records: list[Item | None]

    def before(self, user: int, held_out: int) -> Ints:
        """A user's items before one held out: 1 for the test's, 2 for the validation's."""
        items = self.histories.items(user)
        return items[: len(items) - held_out]

    def answers(self, held_out: int) -> Ints:
        """The item each of `users` had last (1, the test) or before it (2, the validation): (T,) int32."""
        ends = self.histories.bounds[self.users + 1]
        return self.histories.events.item[ends - held_out]


class Scorer(Protocol):
    """A sequence model under this protocol."""

    name: str

    def fit(self, task: LeaveOneOut, validate: Callable[[], float]) -> None:
        """Learns from `task.train`; `validate()` is NDCG@10 on the validation items as the model is now."""

    def scores(self, histories: Sequence[Ints]) -> npt.NDArray[np.floating[Any]]:
        """Scores of all items after each history of items, oldest first: (B, V)."""


def leave_one_out(
    interactions: Interactions, records: Sequence[Item] = (), *,
    shuffle_days: np.random.Generator | None = None,
) -> LeaveOneOut:  # fmt: skip
    """Splits interactions, which stand in the file's order; `shuffle_days` draws each user's within a day."""
    kept = np.flatnonzero(np.isin(interactions.kind, [int(kind) for kind in INTEREST]))
    user, at = interactions.user[kept], interactions.time_ms[kept]
    if shuffle_days is not None:
        kept = kept[np.lexsort((shuffle_days.random(len(kept)), at // DAY_MS, user))]
    else:  # stable: within equal times of a user the file's order stays
        kept = kept[np.lexsort((at, user))]
    events = interactions.at(kept)
    users = len(interactions.user_ids)
    lengths = np.bincount(events.user, minlength=users)
    bounds = np.r_[0, np.cumsum(lengths)].astype(np.int64)
    tested = lengths >= LEAST
    if not tested.any():
        raise ReplayError(
            f"leave-one-out needs users with {LEAST} events of interest or more, but none of "
            f"{users} has as many: use the default protocol"
        )
    from_end = np.repeat(bounds[1:], lengths) - np.arange(len(kept))
    learned = np.flatnonzero((from_end > 2) | ~tested[events.user])
    train_lengths = np.bincount(events.user[learned], minlength=users)
    known = {record.item_id: record for record in records}
    return LeaveOneOut(
        train=Histories(events.at(learned), np.r_[0, np.cumsum(train_lengths)].astype(np.int64)),
        histories=Histories(events, bounds),
        users=np.flatnonzero(tested).astype(np.int32),
        item_ids=list(interactions.item_ids),
        records=[known.get(name) for name in interactions.item_ids],
    )


def positions(scorer: Scorer, task: LeaveOneOut, held_out: int) -> npt.NDArray[np.float64]:
    """Expected position of each held-out item among all items that its history lacks: (T,) float64.

    Infinite where the history has the answer itself: it is not ranked.
    """
    found = np.full(len(task.users), np.inf)
    answers = task.answers(held_out)
    # Histories of like length together: a model reads as many steps as the longest one has.
    order = np.argsort(np.diff(task.histories.bounds)[task.users], kind="stable")
    for part in np.array_split(order, max(-(-len(order) // BATCH), 1)):
        histories = [task.before(user, held_out) for user in task.users[part].tolist()]
        scores = np.array(scorer.scores(histories))
        for row, history in enumerate(histories):
            scores[row, history] = -np.inf
        own = scores[np.arange(len(part)), answers[part]][:, None]
        better, equal = np.count_nonzero(scores > own, 1), np.count_nonzero(scores == own, 1)
        found[part] = np.where(np.isfinite(own[:, 0]), 1.0 + better + 0.5 * (equal - 1), np.inf)
    return found


def leave_one_out_report(
    task: LeaveOneOut,
    scorers: Sequence[Scorer],
    *,
    data: Mapping[str, Any] | None = None,
    protocol: Mapping[str, Any] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """Fits and tests each scorer; the report has the shape of a replay's, with what applies."""
    systems = {}
    for scorer in scorers:
        began = perf_counter()
        scorer.fit(task, lambda model=scorer: float(ndcg(positions(model, task, 2)).mean()))  # type: ignore[misc]
        seconds = perf_counter() - began
        validation, test = positions(scorer, task, 2), positions(scorer, task, 1)
        systems[scorer.name] = _figures(test, seed, resamples) | {
            "validation": {"ndcg@10": float(ndcg(validation).mean())},
            "fit_seconds": seconds,
        }
    events = task.histories.events
    return {
        "data": {
            "interactions": len(events),
            "users": len(task.histories),
            "items": len(task.item_ids),
        }
        | dict(data or {}),
        "protocol": {
            "name": "leave-one-out",
            "test": "each user's last item, all items ranked but those of the history",
            "validation": "the item before it, which belongs to the test's history",
            "order": "by time, file order within equal times",
            "scored": len(task.users),
            "repeated": int(_repeated(task).sum()),
            "ties": "expected position",
            "seed": seed,
        }
        | dict(protocol or {}),
        "systems": systems,
    }


def _figures(at: npt.NDArray[np.float64], seed: int, resamples: int) -> dict[str, Any]:
    gain = ndcg(at)
    drawn = resampled(gain[:, None], np.random.default_rng(seed), resamples) / len(at)
    return {
        "ndcg@10": float(gain.mean()),
        "hr@10": float(hit(at).mean()),
        "recall@10": float(hit(at).mean()),  # what papers call it; one right answer makes them equal
        "mrr@10": float(reciprocal_rank(at).mean()),
        "recall@20": float(hit(at, WIDE).mean()),
        "ndcg@20": float(ndcg(at, WIDE).mean()),
        "ci95": {"ndcg@10": interval(drawn)},
    }


def _repeated(task: LeaveOneOut) -> npt.NDArray[np.bool_]:
    answers = task.answers(1).tolist()
    return np.array(
        [answer in task.before(user, 1) for user, answer in zip(task.users.tolist(), answers, strict=True)]
    )
