"""The chance of a click by cosines: fitted where it is known, and honest about users it has not seen."""

import numpy as np
import pytest

from learner.judging.next_by_text import Pairs

pytest.importorskip("scipy")
from learner.judging.click_chance import SHOWN, calibration_error, click_chance


def world(slope: float, seed: int = 0, pairs: int = 4000, items: int = 400) -> tuple[np.ndarray, Pairs]:
    """Vectors, and pairs in which the next item is taken by how near it is, `slope` telling how surely."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((items, 8))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    last = rng.integers(0, items, pairs).astype(np.int32)
    shown = rng.integers(0, items, (pairs, 101)).astype(np.int32)
    near = np.einsum("nw,nkw->nk", rows[last], rows[shown[:, : SHOWN + 1]])
    taken = (slope * near + rng.gumbel(size=near.shape)).argmax(1)
    chosen = shown[np.arange(pairs), taken]
    shown[np.arange(pairs), taken] = shown[:, 0]
    return rows, Pairs(last, chosen, rng.integers(0, 300, pairs).astype(np.int32), shown[:, 1:])


def test_a_chance_that_cosines_tell_is_calibrated() -> None:
    rows, pairs = world(4.0)
    chance = click_chance(rows, pairs)
    assert chance.slope > 2
    assert chance.error < 0.012
    assert calibration_error(chance.slope, chance.bias, *world(4.0, seed=1)) < 0.05  # other items
    assert calibration_error(chance.slope, chance.bias + 1.5, rows, pairs) > 5 * chance.error


def test_the_last_text_among_the_others_is_no_text_that_was_not_clicked() -> None:
    """Of popular items the last one is often drawn among the others, with a cosine of 1."""
    rows, pairs = world(4.0)
    others = pairs.others.copy()
    others[::4, 0] = pairs.last[::4]
    found = click_chance(rows, Pairs(pairs.last, pairs.next, pairs.users, others))
    assert found.slope == pytest.approx(click_chance(rows, pairs).slope, abs=0.3)


def test_where_cosines_say_nothing_the_chance_is_one_in_seventeen() -> None:
    rows, pairs = world(0.0)
    chance = click_chance(rows, pairs)
    assert abs(chance.slope) < 0.3
    assert 1 / (1 + np.exp(-chance.bias)) == pytest.approx(1 / 17, abs=0.005)


def test_one_user_leaves_nobody_to_judge_by() -> None:
    rows, pairs = world(4.0, pairs=50)
    alone = Pairs(pairs.last, pairs.next, np.zeros(50, np.int32), pairs.others)
    assert np.isnan(click_chance(rows, alone).error)
