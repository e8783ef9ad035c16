"""How well texts tell the next item: worlds with one right answer, chance, ties, and agreement."""

import numpy as np
import pytest

from learner.data.dataset import Interactions
from learner.judging.next_by_text import NextByText, Pairs, neighbours_in_common, next_by_text, pairs_of


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def pairs(last: list[int], following: list[int], others: list[list[int]], users: list[int]) -> Pairs:
    return Pairs(*(np.array(each, np.int32) for each in (last, following, users, others)))


def test_by_hand() -> None:
    rows = unit(np.array([[1, 0], [1, 0.1], [1, 0.5], [0, 1], [-1, 0]]))
    # From item 0: item 1 is nearest of all; item 3 has 1 and 2 above it and 4 below.
    judged = next_by_text(rows, pairs([0, 0], [1, 3], [[2, 3, 4], [1, 2, 4]], [7, 8]))
    assert judged.below == pytest.approx((1 + 1 / 3) / 2)
    assert (judged.first, judged.pairs) == (1.0, 2)  # both are among the first 6 of 4
    assert judged.error == 0.0


def test_items_without_text_count_as_chance() -> None:
    judged = next_by_text(np.zeros((50, 4), np.float32), pairs([0], [1], [list(range(2, 50)) * 2], [0]))
    assert (judged.below, judged.first) == (0.5, 0.0)


def test_the_next_item_among_the_others_is_not_held_against_itself() -> None:
    rows = unit(np.array([[1, 0], [0, 1], [-1, 0]]))
    assert next_by_text(rows, pairs([0], [1], [[1, 1, 2]], [0])).below == 1.0


def test_errors_are_of_users() -> None:
    rng = np.random.default_rng(3)
    rows = unit(rng.standard_normal((300, 8)))
    drawn = [rng.integers(0, 300, 2000) for _ in range(2)]
    others = rng.integers(0, 300, (2000, 100))

    def judged(users: np.ndarray) -> NextByText:
        return next_by_text(rows, Pairs(*drawn, users.astype(np.int32), others.astype(np.int32)))  # type: ignore[arg-type]

    alone = judged(np.arange(2000))
    assert abs(alone.first - 6 / 101) < 4 * alone.error
    assert alone.error == pytest.approx(np.sqrt(alone.first * (1 - alone.first) / 2000), rel=0.01)
    assert judged(np.zeros(2000)).error < 1e-9  # one user alone is all of the mean


def test_pairs_follow_each_other_and_are_drawn_the_same_for_all() -> None:
    user, item = np.array([0, 1, 0, 1, 0, 0], np.int32), np.array([0, 1, 2, 3, 0, 4], np.int32)
    nothing = np.zeros(6, np.int32)
    data = Interactions(
        user, item, np.arange(6), nothing.astype(np.uint8), nothing.astype(np.float32), nothing, nothing,
        ["u", "v"], list("axbyc"), [None],
    )  # fmt: skip
    found = pairs_of(data, 0)
    names = {(data.item_ids[a], data.item_ids[b]) for a, b in zip(found.last, found.next, strict=True)}
    assert names == {("a", "b"), ("b", "a"), ("a", "c"), ("x", "y")}
    assert found.others.shape == (4, 100)
    np.testing.assert_array_equal(pairs_of(data, 0).others, found.others)
    assert len(pairs_of(data, 0, most=2).last) == 2


def test_agreement() -> None:
    rng = np.random.default_rng(0)
    rows = unit(rng.standard_normal((400, 16)))
    turned = np.linalg.qr(rng.standard_normal((16, 16)))[0].astype(np.float32)
    assert neighbours_in_common(rows, rows @ turned, 0) > 0.99
    assert neighbours_in_common(rows, unit(rng.standard_normal((400, 16))), 0) < 0.1
    assert np.isnan(neighbours_in_common(rows[:5], rows[:5], 0))
