"""The blend: a log-linear mix of all streaming memories, the bar that a learned ranker has to clear.

Score of item j: w . (log popularity at two half-lives, log item-kNN, log plain rules, log decayed rules, log
clicks), each with a small constant inside the logarithm. Weights, the second half-life and whether the memory
parts look at ten items or at as many as each alone does best with are found by coordinate search on the last
fifth of the first part. Cheap to search: of each event only items near some component's top are kept.
"""

from itertools import product

import numba
import numpy as np
import numpy.typing as npt

from learner.evaluation.baselines.components import Components, Part, Recipe
from learner.evaluation.baselines.item_knn import tune_item_knn
from learner.evaluation.baselines.memory import Doubles, Eligible, Memory
from learner.evaluation.baselines.popularity import (
    HALF_LIVES_MS,
    Popularity,
    half_life_in_words,
    tune_popularity,
)
from learner.evaluation.baselines.scoring import Sums
from learner.evaluation.baselines.sequence_rules import tune_rules
from learner.evaluation.baselines.tuning import Budget, once, rehearse
from learner.evaluation.system import Ask, Event, FirstPart, Ints, Ranking
from learner.judging.metrics import LIST

COMPONENTS = ("popularity", "popularity_second", "item_knn", "rules", "rules_decayed", "clicks")
STARTS = (
    (1, 0, 0, 0, 0, 0),
    (0, 0, 1, 0, 0, 0),
    (0.5, 0, 1, 0, 0, 0),
    (0.5, 0.2, 0.5, 0.5, 0.3, 0),
    (0.2, 0, 0.5, 0.5, 0.2, -0.1),
    (1, 0, 0.2, 0.2, 0.2, 0),
)
SAMPLE = 6_000  # tuning events looked at; their mean NDCG is known to about .003
NEAR = 100  # an item below this place in every component is in no mix's top ten


class Blend(Popularity):
    """The tuned blend; users without history get decayed popularity, as everywhere."""

    name = "blend"

    def tune(self, first: FirstPart) -> None:
        """Tunes the single baselines, then components and weights."""
        for budget in _singles(first):
            self.budget.add(budget)
        self.budget.chosen.clear()
        self.budget.add(once(first, "blend", lambda: _search(first)))
        self.recipe: Recipe = self.budget.found["recipe"]
        self.weights = np.array(self.budget.found["weights"], np.float32)

    def remember(self, first: FirstPart) -> Memory:
        """Everything that any component needs."""
        self.components = Components(first, self.recipe)
        return self.components.memory

    def learn(self, event: Event, listed: bool) -> Ints | None:
        """Counts one event."""
        self.components.learn(event)
        return self.listed(event) if listed else None

    def rank_known(self, ask: Ask, recent: Ints, eligible: Eligible) -> Ranking:
        """Mixes the components of every item."""
        sums = self.sums
        found = _mix(self.components.logs(recent, ask.time_ms), self.weights, eligible, sums)
        return Ranking(sums.items[:found].copy(), sums.scores[:found].copy())


def _singles(first: FirstPart) -> list[Budget]:
    return [tune_item_knn(first), tune_rules(first)]


def _menu(first: FirstPart) -> tuple[Recipe, list[Ints]]:
    """All components that a blend may take, and the choices of six of them, as columns.

    Second half-lives lie on both sides of the best one; memory parts look at ten items, or at as many
    as each of them alone does best with, normalised in its way.
    """
    best = tune_popularity(first).found["half_life"]
    knn, rules = (budget.found for budget in _singles(first))
    steps = [min(max(best + step, 0), len(HALF_LIVES_MS) - 1) for step in (4, 2, -3)]
    seconds = [place for place in dict.fromkeys(steps) if place != best]
    tens = [Part(0, 10, knn["normaliser"]), Part(1, 10, knn["normaliser"]), Part(2, 10, (0.0, 0.0))]
    own = [
        Part(0, knn["last"], knn["normaliser"]),
        Part(1, *rules["plain"][:2]),
        Part(2, *rules["decayed"][:2]),
    ]
    half_lives = tuple(HALF_LIVES_MS[place] for place in (best, *seconds))
    menu = Recipe(half_lives, (*tens, *own), rules["decayed"][2])
    start, clicks = len(half_lives), menu.columns - 1
    return menu, [
        np.array([0, second, parts, parts + 1, parts + 2, clicks], np.int32)
        for parts, second in product((start, start + 3), range(1, start))
    ]


def _search(first: FirstPart) -> Budget:
    """The first choice of components gets a full search; others get one if they begin nearly as well."""
    menu, choices = _menu(first)
    rehearsal = _Rehearsal(first, menu)
    best, weights, ndcg, tried = choices[0], np.zeros(len(COMPONENTS)), -1.0, 0
    for columns in choices:
        starts = [np.array(start, np.float64) for start in STARTS]
        if ndcg >= 0:
            starts = [weights]
            tried += 1
            if rehearsal.ndcg(columns, weights) < 0.98 * ndcg:
                continue
        found, found_ndcg, steps = _descend(rehearsal, columns, starts)
        tried += steps
        if found_ndcg > ndcg:
            best, weights, ndcg = columns, found, found_ndcg
    recipe = menu.only(best)
    return Budget(
        settings=tried,
        events=rehearsal.events,
        ndcg=ndcg,
        chosen={
            "weights": dict(zip(COMPONENTS, weights.round(3).tolist(), strict=True)),
            "half_lives": [half_life_in_words(h) for h in (*recipe.popular_ms, recipe.decay_ms)],
            "lasts": [part.last for part in recipe.parts],
            "normalisers": [list(part.normaliser) for part in recipe.parts],
        },
        found={"recipe": recipe, "weights": weights.tolist()},
    )


class _Rehearsal:
    """The components of near items for a sample of tuning events, to try weights on."""

    def __init__(self, first: FirstPart, menu: Recipe) -> None:
        components = Components(first, menu)
        memory = components.memory
        kept: list[npt.NDArray[np.float32]] = []
        answers: list[int] = []

        def answer(event: Event) -> None:
            recent, eligible = memory.recall(event.user)
            if len(recent) == 0:
                return  # decayed popularity answers, whatever the weights
            logs = components.logs(recent, event.time_ms)
            near = _near(logs, eligible, NEAR)
            kept.append(logs[:, near].T.copy())
            at = np.flatnonzero(near == event.item)
            answers.append(int(at[0]) if len(at) else -1)

        rehearse(first, memory, answer, components.learned, SAMPLE)
        self.events = len(kept)
        self._logs = np.concatenate(kept) if kept else np.zeros((0, menu.columns), np.float32)
        self._from = np.cumsum([0] + [len(rows) for rows in kept])
        self._answers = np.array(answers, np.int64)

    def ndcg(self, columns: Ints, weights: Doubles) -> float:
        """Mean NDCG@10 of a mix."""
        return float(_try_weights(self._logs, self._from, self._answers, columns, weights.astype(np.float32)))


def _descend(rehearsal: _Rehearsal, columns: Ints, starts: list[Doubles]) -> tuple[Doubles, float, int]:
    """Coordinate search from the two best starts: weights, their NDCG, and how many were tried."""
    tried = len(starts)
    ranked = sorted(((rehearsal.ndcg(columns, start), n) for n, start in enumerate(starts)), reverse=True)
    best, best_ndcg = starts[ranked[0][1]], ranked[0][0]
    for ndcg, place in ranked[:2]:
        weights, step = starts[place].copy(), 0.4
        while step > 0.02:
            improved = False
            for component, sign in product(range(len(columns)), (1, -1)):
                moved = weights.copy()
                moved[component] += sign * step
                tried += 1
                if (moved_ndcg := rehearsal.ndcg(columns, moved)) > ndcg + 1e-6:
                    weights, ndcg, improved = moved, moved_ndcg, True
            if not improved:
                step /= 2
        if ndcg > best_ndcg:
            best, best_ndcg = weights, ndcg
    return best, best_ndcg, tried


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _mix(
    logs: npt.NDArray[np.float32], weights: npt.NDArray[np.float32], eligible: Eligible, sums: Sums
) -> int:
    """Fills `items` and `scores` of the sums with what may be shown; returns how many there are."""
    mark, stamp, known = eligible.mark, eligible.stamp, eligible.known
    found = 0
    for j in range(len(known)):
        if known[j] and mark[j] != stamp:
            score = np.float32(0.0)
            for c in range(len(weights)):
                score += weights[c] * logs[c, j]
            sums.items[found], sums.scores[found] = j, score
            found += 1
    return found


def _near(logs: npt.NDArray[np.float32], eligible: Eligible, near: int) -> npt.NDArray[np.intp]:
    """Eligible items that stand among the first `near` of some component."""
    items = np.flatnonzero(eligible.shown())
    if len(items) <= near:
        return items
    rows = logs[:, items]
    bars = np.partition(rows, len(items) - near, axis=1)[:, len(items) - near]
    # Many items tie at a component's floor: those are near only if another component says so.
    above = (rows >= bars[:, None]) & (rows > rows.min(axis=1, keepdims=True))
    return np.asarray(items[above.any(axis=0)])


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _try_weights(
    logs: npt.NDArray[np.float32], starts: npt.NDArray[np.int64], answers: npt.NDArray[np.int64],
    columns: Ints, weights: npt.NDArray[np.float32],
) -> float:  # fmt: skip
    """Mean NDCG@10 over events whose items stand in rows starts[n]:starts[n + 1] of `logs` (rows, C)."""
    total = 0.0
    for n in range(len(answers)):
        if answers[n] < 0:
            continue
        value = np.float32(0.0)
        for c in range(len(columns)):
            value += weights[c] * logs[starts[n] + answers[n], columns[c]]
        better, tied = 0, 0
        for row in range(starts[n], starts[n + 1]):
            score = np.float32(0.0)
            for c in range(len(columns)):
                score += weights[c] * logs[row, columns[c]]
            if score > value:
                better += 1
                if better >= LIST:
                    break
            elif score == value and row != starts[n] + answers[n]:
                tied += 1
        position = 1.0 + better + 0.5 * tied
        if better < LIST and position <= LIST:
            total += 1.0 / np.log2(1.0 + position)
    return total / max(len(answers), 1)
