"""Offsets of items are learned from what lists promised and what was taken, and served while they help."""

import numpy as np
import pytest
from numpy.typing import NDArray

from learner.models.calibration import STEP, Calibration
from learner.ranking.columns import FEATURES, KNOWN
from learner.ranking.lists import Lists

ITEMS = 12


def answered(n: int, effect: NDArray[np.float64], seed: int = 0) -> tuple[Lists, NDArray[np.float32]]:
    """Lists of six of the items, taken by their scores and by an effect that the scores do not know."""
    rng = np.random.default_rng(seed)
    items = np.array([rng.permutation(ITEMS)[:6] for _ in range(n)], np.int32)
    scores = rng.normal(size=items.shape).astype(np.float32)
    taken = (scores + effect[items] + rng.gumbel(size=items.shape)).argmax(1)  # softmax
    rows = np.arange(n)
    for part in (items, scores):  # answers in place 0
        part[rows, 0], part[rows, taken] = part[rows, taken].copy(), part[rows, 0].copy()
    features = np.zeros((n, 6, len(FEATURES)), np.float16)
    features[..., KNOWN] = 1.0
    return Lists(features, np.zeros(n, np.int64), np.ones((n, 6), np.bool_), items), scores


def test_an_item_that_is_taken_more_often_than_promised_rises() -> None:
    effect = np.zeros(ITEMS)
    effect[3], effect[7] = 1.5, -1.5
    calibration = Calibration()
    for turn in range(20):
        calibration.learn(*answered(STEP, effect, turn))
    offsets = calibration.offsets(ITEMS + 3)
    assert offsets.shape == (ITEMS + 3,)
    assert offsets.dtype == np.float32
    np.testing.assert_allclose(offsets[:ITEMS] - offsets[:ITEMS].mean(), effect, atol=0.4)
    assert not offsets[ITEMS:].any()
    np.testing.assert_array_equal(calibration.offsets(5), offsets[:5])
    lists, scores = answered(2000, effect, seed=99)
    assert lists.items is not None
    calibrated = scores + offsets[lists.items]
    assert (calibrated.argmax(1) == 0).mean() > (scores.argmax(1) == 0).mean() + 0.03


def test_lists_at_once_teach_what_they_teach_in_parts() -> None:
    lists, scores = answered(3 * STEP, np.linspace(-1, 1, ITEMS))
    whole, parts = Calibration(), Calibration()
    whole.learn(lists, scores)
    for first in range(0, len(lists), STEP):
        parts.learn(lists.part(slice(first, first + STEP)), scores[first : first + STEP])
    np.testing.assert_array_equal(whole.offsets(ITEMS), parts.offsets(ITEMS))
    assert whole.offsets(ITEMS).any()


def test_nothing_is_served_while_it_makes_answers_less_likely() -> None:
    effect = np.zeros(ITEMS)
    effect[3] = 3.0
    calibration = Calibration()
    for turn in range(6):  # what has just been learned is always wrong
        calibration.learn(*answered(STEP, effect * (-1) ** turn, turn))
    assert not calibration.offsets(ITEMS).any()
    for turn in range(4):
        calibration.learn(*answered(STEP, effect, turn))
    assert calibration.offsets(ITEMS)[3] > 0.5


def test_it_goes_on_from_where_it_begins_and_drops_it_once_lists_say_otherwise() -> None:
    begin = np.where(np.arange(ITEMS) == 3, 2.0, 0.0).astype(np.float32)
    effect = np.zeros(ITEMS)
    effect[3] = 2.0
    calibration = Calibration(begin)
    np.testing.assert_array_equal(calibration.offsets(ITEMS), begin)
    calibration.learn(*answered(STEP, effect))
    np.testing.assert_allclose(calibration.offsets(ITEMS), begin, atol=0.5)
    calibration.learn(*answered(4 * STEP, -effect))
    assert not calibration.offsets(ITEMS).any()
    assert begin.sum() == 2.0  # whose array it is stays as it is


@pytest.mark.parametrize("how", ["a cold user's", "padded"])
def test_what_is_no_list_of_a_known_user_teaches_nothing(how: str) -> None:
    lists, scores = answered(STEP, np.linspace(-2, 2, ITEMS))
    assert lists.items is not None
    if how == "padded":
        lists.mask[:, 1:] = False
    else:
        lists.features[..., KNOWN] = 0.0
    calibration = Calibration()
    calibration.learn(lists, scores)
    assert not calibration.offsets(ITEMS).any()


def test_items_that_stand_in_no_list_and_padding_stay_as_they_are() -> None:
    lists, scores = answered(STEP * 4, np.where(np.arange(ITEMS) == 1, 3.0, 0.0))
    assert lists.items is not None
    never = lists.items == 5
    lists.mask[never] = False
    scores[never] = np.nan
    keep = lists.mask[:, 0]
    calibration = Calibration()
    calibration.learn(lists.part(keep), scores[keep])
    offsets = calibration.offsets(ITEMS)
    assert offsets[5] == 0
    assert np.isfinite(offsets).all()
    assert offsets[1] > 0.3
