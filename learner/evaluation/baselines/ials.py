"""Implicit matrix factorisation with fold-in: item factors from the past, the user's from the last clicks.

Minimises, over users u and items i, the sum of (1 - x_u . y_i)^2 where i was clicked, plus `unobserved` times
the sum of (x_u . y_i)^2 over all pairs, plus `ridge` (with the number of clicks of each) times the squared
norms (Hu, Koren and Volinsky 2008, with the regularisation of Rendle et al. 2022). At each ask the user's
factor is solved for anew from the latest items, so a click counts at once; item factors take another sweep
over everything so far every few thousand clicks.
"""

from dataclasses import dataclass
from itertools import product

import numba
import numpy as np
import numpy.typing as npt

from learner.data.events import INTEREST
from learner.evaluation.baselines.memory import WINDOW, Doubles, Eligible, Memory
from learner.evaluation.baselines.popularity import HALF_LIVES_MS, Popularity, tune_popularity
from learner.evaluation.baselines.tuning import Budget, gain, once, rehearse
from learner.evaluation.system import Ask, Event, FirstPart, Ints, Ranking

DIMENSIONS, TUNING_DIMENSIONS = 64, 32  # the search runs at half size, an eighth of the cost
SWEEPS = 8
UNOBSERVED = (0.01, 0.03, 0.1, 0.3)
RIDGES = (0.003, 0.01, 0.03, 0.1)
LASTS = (5, 20, WINDOW)
SAMPLE = 3_000  # tuning events looked at
REFITS = 20  # warm sweeps within as many clicks as the first part has


@dataclass(slots=True)
class Clicks:
    """Every pair clicked so far, growing: what the factors are fitted to."""

    users: list[int]
    items: list[int]

    def learn(self, event: Event) -> None:
        """Adds a click; other kinds of events are not looked at."""
        if event.kind in INTEREST:
            self.users.append(event.user)
            self.items.append(event.item)

    def rows(self, by: list[int], of: list[int], size: int) -> tuple[npt.NDArray[np.int64], Ints]:
        """Distinct pairs grouped by the first list: (size + 1,) bounds and the second numbers."""
        pairs = np.unique(np.stack([np.array(by, np.int64), np.array(of, np.int64)], axis=1), axis=0)
        return np.searchsorted(pairs[:, 0], np.arange(size + 1)), pairs[:, 1].astype(np.int32)


class Factors:
    """Item factors (V, D) float64 and what a fold-in needs of them."""

    def __init__(self, items: int, dimensions: int, unobserved: float, ridge: float, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.unobserved, self.ridge = unobserved, ridge
        self.items = rng.normal(0.0, 0.1 / np.sqrt(dimensions), (items, dimensions))
        self.gram = self.items.T @ self.items

    def sweep(self, clicks: Clicks, sweeps: int) -> None:
        """Alternates users and items, `sweeps` times each; items without a click get zeros."""
        users = max(clicks.users) + 1
        users_rows = clicks.rows(clicks.users, clicks.items, users)
        items_rows = clicks.rows(clicks.items, clicks.users, len(self.items))
        for _ in range(sweeps):
            people = _solve_all(*users_rows, self.items, self.gram, self.unobserved, self.ridge)
            gram = people.T @ people
            self.items = _solve_all(*items_rows, people, gram, self.unobserved, self.ridge)
            self.gram = self.items.T @ self.items

    def scores(self, recent: Ints) -> Doubles:
        """Scores of all items for a user with these items: (V,)."""
        user = _solve_one(recent, self.items, self.gram, self.unobserved, self.ridge)
        return np.asarray(self.items @ user)


class Ials(Popularity):
    """iALS with fold-in; both weights and how many last items are tuned."""

    name = "ials"

    def tune(self, first: FirstPart) -> None:
        """Tries all settings at half the dimensions, then fits the whole first part at full size."""
        self.budget.add(once(first, "ials", lambda: _search(first)))
        self.last, unobserved, ridge = self.budget.found["setting"]
        clicks = Clicks([], [])
        for number in range(first.size):
            clicks.learn(first.event(number))
        self.factors = Factors(len(first.item_ids), DIMENSIONS, unobserved, ridge, first.seed)
        if clicks.users:
            self.factors.sweep(clicks, SWEEPS)
        self._refit_every = max(first.size // REFITS, 1)
        self._fitted = len(clicks.users)

    def remember(self, first: FirstPart) -> Memory:
        """Popularity and all clicks."""
        self.clicks = Clicks([], [])
        return super().remember(first)

    def learn(self, event: Event, listed: bool) -> Ints | None:
        """Counts one event; once in a while the item factors follow."""
        self.memory.learn(event)
        self.clicks.learn(event)
        if len(self.clicks.users) - self._fitted >= self._refit_every:
            self._fitted = len(self.clicks.users)
            self.factors.sweep(self.clicks, 1)
        return self.listed(event) if listed else None

    def rank_known(self, ask: Ask, recent: Ints, eligible: Eligible) -> Ranking:
        """Ranks by the folded-in user's scores."""
        del ask
        scores, items = self.factors.scores(recent[: self.last]), eligible.items()
        return Ranking(items, scores[items], eligible.tie[items])


def _search(first: FirstPart) -> Budget:
    """Factors know the part before the last fifth; users are folded in with everything before each ask."""
    popular = HALF_LIVES_MS[tune_popularity(first).found["half_life"]]
    clicks = Clicks([], [])
    for number in range(first.tuning_from):
        clicks.learn(first.event(number))
    weights = list(product(UNOBSERVED, RIDGES)) if clicks.users else []
    models = [Factors(len(first.item_ids), TUNING_DIMENSIONS, a, b, first.seed) for a, b in weights]
    for model in models:
        model.sweep(clicks, SWEEPS)
    settings = [(last, *pair) for pair in weights for last in LASTS]
    gains = np.zeros(len(settings))
    memory = Memory(first, [popular])

    def answer(event: Event) -> None:
        recent, eligible = memory.recall(event.user)
        hidden = ~eligible.shown()
        if len(recent) == 0 or hidden[event.item]:
            return
        for n, (model, last) in enumerate(product(models, LASTS)):
            scores = model.scores(recent[:last])
            own = scores[event.item]
            scores[hidden] = -np.inf
            gains[n] += gain(1.0 + float(np.count_nonzero(scores > own)))

    events = rehearse(first, memory, answer, most=SAMPLE)
    best = int(np.argmax(gains)) if settings else -1
    chosen = settings[best] if settings else (LASTS[-1], UNOBSERVED[2], RIDGES[2])
    return Budget(
        settings=len(settings),
        events=events,
        ndcg=float(gains.max(initial=0.0) / max(events, 1)),
        chosen=dict(zip(("last", "unobserved", "ridge"), chosen, strict=True)),
        found={"setting": chosen},
    )


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _solve_one(clicked: Ints, others: Doubles, gram: Doubles, unobserved: float, ridge: float) -> Doubles:
    """The factor (D,) that fits the clicked rows of `others` (N, D) best, by Cholesky."""
    size = gram.shape[0]
    penalty = ridge * (len(clicked) + unobserved * len(others))
    left = unobserved * gram
    right = np.zeros(size)
    for a in range(size):
        left[a, a] += penalty
    for n in range(len(clicked)):
        row = others[clicked[n]]
        for a in range(size):
            right[a] += row[a]
            for b in range(a + 1):
                left[a, b] += row[a] * row[b]
    for a in range(size):
        for b in range(a + 1):
            total = left[a, b]
            for c in range(b):
                total -= left[a, c] * left[b, c]
            left[a, b] = np.sqrt(total) if a == b else total / left[b, b]
    for a in range(size):
        for c in range(a):
            right[a] -= left[a, c] * right[c]
        right[a] /= left[a, a]
    for a in range(size - 1, -1, -1):
        for c in range(a + 1, size):
            right[a] -= left[c, a] * right[c]
        right[a] /= left[a, a]
    return right


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _solve_all(
    bounds: npt.NDArray[np.int64], clicked: Ints, others: Doubles, gram: Doubles, unobserved: float,
    ridge: float,
) -> Doubles:  # fmt: skip
    """A factor for each group of clicked rows: (groups, D); zeros where there are none."""
    solved = np.zeros((len(bounds) - 1, gram.shape[0]))
    for row in range(len(solved)):
        if bounds[row + 1] > bounds[row]:
            solved[row] = _solve_one(clicked[bounds[row] : bounds[row + 1]], others, gram, unobserved, ridge)
    return solved
