"""Toy data to train on, and a hot path that is asked for lists."""

from collections.abc import Callable

import numpy as np

from learner.data.dataset import Interactions
from learner.data.events import Kind
from learner.ranking.columns import FEATURES, LAYOUT
from learner.ranking.lists import Lists, Wanted
from learner.release.live import LiveRelease
from learner.text.content import HASHED_CARD, ContentEncoder


def data_of(user, item, kind=None, value=None, items=None) -> Interactions:
    n = len(user)
    return Interactions(
        user=np.asarray(user, np.int32),
        item=np.asarray(item, np.int32),
        time_ms=1_600_000_000_000 + np.arange(n, dtype=np.int64) * 60_000,
        kind=np.full(n, Kind.CLICK, np.uint8) if kind is None else np.asarray(kind, np.uint8),
        value=np.full(n, np.nan, np.float32) if value is None else np.asarray(value, np.float32),
        place=np.zeros(n, np.int32),
        occurrence=np.zeros(n, np.int32),
        user_ids=[f"u{k}" for k in range(max(user, default=-1) + 1)],
        item_ids=[f"i{k}" for k in range(items or max(item, default=-1) + 1)],
        scenarios=[None],
    )


def random_data(n: int = 300, users: int = 20, items: int = 30, seed: int = 0) -> Interactions:
    rng = np.random.default_rng(seed)
    return data_of(rng.integers(users, size=n).tolist(), rng.integers(items, size=n).tolist(), items=items)


class FakePipeline:
    """Lists of random features in which `student` is the answer; notes what it was asked for.

    `taken` says which item is always the answer in lists of clicks from a given one on.
    """

    def __init__(self, taken: Callable[[int], int] = lambda start: 0) -> None:
        self.taken = taken
        self.asked: list[tuple[LiveRelease, Interactions, int, int]] = []
        self.budgets: list[float] = []

    def __call__(self, live, data, start, stop, wanted: Wanted, vectors=None) -> Lists:
        self.asked.append((live, data, start, stop))
        self.budgets.append(wanted.budget_s)
        rng = np.random.default_rng(wanted.seed)
        n = min(wanted.lists, stop - start)
        x = rng.normal(size=(n, 8, len(FEATURES))).astype(np.float32)
        there = x[..., LAYOUT.begin :: LAYOUT.columns]
        there[:] = there > 0
        rows, best = np.arange(n), x[..., FEATURES.index("student")].argmax(1)
        x[rows, 0], x[rows, best] = x[rows, best].copy(), x[rows, 0].copy()  # answers in place 0
        others = np.delete(np.arange(data.item.max() + 1), self.taken(start))
        items = np.array([rng.permutation(others)[:8] for _ in rows], np.int32).reshape(n, -1)
        items = np.pad(items, ((0, 0), (0, 8 - items.shape[1])), constant_values=-1)
        items[:, 0] = self.taken(start)
        positive = np.where(rows < n // 10, -1, 0)
        return Lists(x, positive, np.ones((n, 8), bool), items)


def hashed() -> ContentEncoder:
    """An encoder that reads nothing: no language model in unit tests."""
    return ContentEncoder(HASHED_CARD, np.zeros(512, np.float32), np.zeros((512, 64), np.float32))
