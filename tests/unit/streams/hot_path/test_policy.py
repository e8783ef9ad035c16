"""From scores to places: the order, diversity, and what the propensities say of a try."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.hot_path.policy import Place, Policy, draw_up

PURE = Policy(exploration=0.0)
TRYING = Policy(exploration=0.25)
IDS = [f"i{number:02}" for number in range(60)]


def drawn(
    scores: list[float], k: int, policy: Policy = PURE, *, known: bool = False, seed: int | None = None,
    vectors: np.ndarray | None = None, items: list[int] | None = None,
) -> list[Place]:  # fmt: skip
    numbers = range(len(scores)) if items is None else items
    return draw_up(
        np.array(scores, np.float32), np.array(numbers, np.int32), IDS, k, policy, known_user=known,
        vectors=vectors, rng=None if seed is None else np.random.default_rng(seed),
    )  # fmt: skip


def columns(places: list[Place]) -> list[int]:
    return [place.column for place in places]


def test_the_best_come_first_and_equal_ones_by_their_id() -> None:
    assert columns(drawn([1, 3, 2], 3)) == [1, 2, 0]
    assert columns(drawn([1, 3, 2], 2)) == [1, 2]
    assert columns(drawn([2, 2, 3, 2], 3, items=[9, 4, 1, 7])) == [2, 1, 3]
    assert columns(drawn([5] * 50, 3, items=list(range(49, -1, -1)))) == [49, 48, 47]  # the cut is tied too


@pytest.mark.parametrize("scores", [[], [1.0], [1.0, 2.0]])
def test_a_list_is_as_long_as_there_are_candidates(scores: list[float]) -> None:
    places = drawn(scores, 10, TRYING, seed=0)
    assert columns(places) == sorted(range(len(scores)), key=lambda column: -scores[column])
    assert all(place.propensity == 1 and not place.explored for place in places)  # nothing is below the end


def test_who_is_known_and_replays_get_the_pure_ranking() -> None:
    scores = list(np.linspace(1, 0, 40))
    pure = [Place(column, 1.0) for column in range(10)]
    assert drawn(scores, 10, TRYING, known=True, seed=1) == pure
    assert drawn(scores, 10, TRYING, seed=None) == pure
    assert drawn(scores, 10, PURE, seed=1) == pure


@pytest.mark.parametrize(("candidates", "below"), [(14, 4), (60, 20)])
def test_a_try_takes_the_last_place_with_the_chance_it_says(candidates: int, below: int) -> None:
    scores = list(np.linspace(1, 0, candidates))
    tries = []
    for seed in range(1200):
        *others, last = drawn(scores, 10, TRYING, seed=seed)
        assert others == [Place(column, 1.0) for column in range(9)]
        if last.explored:
            assert last.column in range(10, 10 + below)
            assert last.propensity == pytest.approx(TRYING.exploration / below)
            tries.append(last.column)
        else:
            assert last == Place(9, 1 - TRYING.exploration)
    assert len(tries) / 1200 == pytest.approx(TRYING.exploration, abs=0.04)
    shares = np.bincount(tries, minlength=10 + below)[10:] / len(tries)
    assert shares == pytest.approx(1 / below, abs=0.06)


def test_the_same_draws_make_the_same_list() -> None:
    scores = list(np.linspace(1, 0, 40))
    assert [drawn(scores, 10, TRYING, seed=seed) for seed in range(20)] == [
        drawn(scores, 10, TRYING, seed=seed) for seed in range(20)
    ]


@pytest.mark.parametrize(
    ("weight", "order"),
    [
        (0.0, [0, 1, 2, 3]),
        # After the first, of relevance 1/2, 1/3 and 1/4 and similarity 1, 0 and 0:
        # 0.4 * 1/2 - 0.6, 0.4 * 1/3 and 0.4 * 1/4; then 0.4 * 1/2 - 0.6 against 0.4 * 1/4 - 0.6.
        (0.6, [0, 2, 1, 3]),
        # 0.9 * 1/2 - 0.1 is the most at once.
        (0.1, [0, 1, 2, 3]),
    ],
)
def test_diversity_holds_back_what_is_like_the_items_above(weight: float, order: list[int]) -> None:
    vectors = np.array([[2, 0], [1, 0], [0, 1], [0, 3]], np.float32)
    policy = replace(PURE, diversity=weight)
    assert columns(drawn([4, 3, 2, 1], 4, policy, vectors=vectors)) == order
    # By the numbers of the items, not by the columns.
    turned = vectors[::-1].copy()
    assert columns(drawn([4, 3, 2, 1], 4, policy, vectors=turned, items=[3, 2, 1, 0])) == order
    assert columns(drawn([4, 3, 2, 1], 4, policy)) == [0, 1, 2, 3]  # without vectors none


def test_behind_a_diverse_list_stands_the_best_of_the_rest() -> None:
    """Which is what an exploring list may try."""
    vectors = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], np.float32)
    policy = Policy(exploration=1.0, diversity=0.9)
    tried = {columns(drawn([4, 3, 2, 1], 2, policy, vectors=vectors, seed=seed))[1] for seed in range(40)}
    assert tried == {1, 2}  # 3 has the last place by the order, and is what they are tried instead of


@settings(deadline=None)
@given(
    scores=st.lists(st.integers(-5, 5), max_size=60),
    k=st.integers(1, 30),
    diversity=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.none() | st.integers(0, 99),
)
def test_no_candidate_stands_twice(scores: list[int], k: int, diversity: float, seed: int | None) -> None:
    vectors = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    policy = Policy(exploration=0.5, diversity=diversity)
    places = drawn([float(score) for score in scores], k, policy, vectors=vectors, seed=seed)
    assert len(places) == min(k, len(scores))
    assert len(set(columns(places))) == len(places)
    assert all(0 < place.propensity <= 1 for place in places)
    assert sum(place.explored for place in places) <= 1
