"""Items that nobody has clicked rise where they are told too low, as far as others' answers let them."""

import numpy as np
import pytest
from numpy.typing import NDArray

from learner.judging.metrics import ndcg
from learner.models.unclicked import OFFSETS, PRICE, Unclicked
from learner.ranking.columns import FEATURES, ITEM_CLICKS, KNOWN
from learner.ranking.lists import Lists

NEW = 8  # of 48 candidates


def answered(due: float, said: float, n: int = 4000, known: float = 1.0) -> tuple[Lists, NDArray[np.float32]]:
    """Lists whose answers are drawn by scores; items without a click are due `due` of it and given `said`."""
    rng = np.random.default_rng(0)
    taste = 2.0 * rng.normal(size=(n, 48))
    new = np.arange(48) < NEW
    taken = (taste + due * new + rng.gumbel(size=taste.shape)).argmax(1)
    rows, scores = np.arange(n), (taste + said * new).astype(np.float32)
    clicks = np.where(new, 0.0, 3.0) * np.ones((n, 1))
    for part in (scores, clicks):  # answers in place 0
        part[rows, 0], part[rows, taken] = part[rows, taken].copy(), part[rows, 0].copy()
    features = np.zeros((n, 48, len(FEATURES)), np.float16)
    features[..., KNOWN], features[..., ITEM_CLICKS] = known, clicks
    return Lists(features, np.zeros(n, np.int64), np.ones((n, 48), np.bool_)), scores


def offset(lists: Lists, scores: NDArray[np.float32]) -> float:
    counted = Unclicked()
    counted.learn(lists, scores)
    return counted.offset()


def fares(lists: Lists, scores: NDArray[np.float32], by: float) -> tuple[float, float]:
    """How many answers of others, and of items without a click, stand in the first third."""
    new = lists.features[..., ITEM_CLICKS] == 0
    moved = scores + by * new
    found = (moved > moved[:, :1]).sum(1) < 16
    return float(found.mean()), float(found[new[:, 0]].mean())


def test_what_is_told_too_low_rises_and_others_lose_nothing_by_it() -> None:
    lists, scores = answered(due=-2.0, said=-5.0)
    found = offset(lists, scores)
    assert found >= 2.0
    before, after = fares(lists, scores, 0.0), fares(lists, scores, found)
    assert after[1] > 1.3 * before[1]
    assert after[0] > 0.998 * before[0]


@pytest.mark.parametrize("due", [-2.0, -8.0])
def test_what_is_told_rightly_or_too_high_stays(due: float) -> None:
    assert offset(*answered(due=due, said=-2.0)) <= OFFSETS[2]


def test_it_goes_as_far_as_answers_lose_a_thousandth_and_no_further() -> None:
    lists, scores = answered(due=-2.0, said=-3.2, n=8000)
    found = offset(lists, scores)
    assert 0 < found < OFFSETS[-1]
    new = lists.features[..., ITEM_CLICKS] == 0

    def counted(by: float) -> float:
        return float(ndcg(1.0 + ((scores + by * new) > (scores + by * new)[:, :1]).sum(1) / 47 * 149).sum())

    assert counted(found) >= (1 - PRICE) * counted(0.0)
    further = [counted(float(each)) for each in OFFSETS[found < OFFSETS]]
    assert min(further) < (1 - PRICE) * counted(0.0)


def test_lists_at_once_teach_what_they_teach_in_parts() -> None:
    lists, scores = answered(due=-2.0, said=-4.0)
    parts = Unclicked()
    for first in range(0, len(lists), 1000):
        parts.learn(lists.part(slice(first, first + 1000)), scores[first : first + 1000])
    assert parts.offset() == offset(lists, scores) > 0


def test_where_there_is_nothing_to_go_by_it_is_nothing() -> None:
    assert Unclicked().offset() == 0.0
    lists, scores = answered(due=-2.0, said=-5.0)
    others = np.flatnonzero(lists.features[:, 0, ITEM_CLICKS] > 0)  # no answer that nobody had clicked
    assert offset(lists.part(others), scores[others]) == 0.0
    assert offset(*answered(due=-2.0, said=-5.0, known=0.0)) == 0.0  # users without a past


@pytest.mark.parametrize("answers", ["far below", "all"])
def test_what_changes_nothing_moves_nothing(answers: str) -> None:
    """Candidates that no offset lifts past another, and answers that are as never-clicked as all others."""
    lists, scores = answered(due=-2.0, said=-5.0)
    if answers == "all":
        lists.features[..., ITEM_CLICKS] = 0
    else:
        scores -= 30 * (lists.features[..., ITEM_CLICKS] == 0)
    assert offset(lists, scores) == 0.0


def test_where_answers_alone_are_never_clicked_it_ends_with_what_it_brings() -> None:
    lists, scores = answered(due=-2.0, said=0.0)
    lists.features[..., ITEM_CLICKS] = np.where(np.arange(48) == 0, 0, 3)
    scores[:, 0] = scores[:, 1:].max(1) - np.linspace(0.01, 0.99, len(scores))
    assert offset(lists, scores) == 1.0


def test_where_few_lists_have_such_a_candidate_it_is_nothing() -> None:
    """What it would cost is known once they come."""
    lists, scores = answered(due=-2.0, said=-5.0)
    assert offset(lists, scores) > 0
    rare = np.arange(len(lists)) % 5 > 1  # in two of five lists
    lists.features[rare, :, ITEM_CLICKS] = 3.0
    assert offset(lists, scores) == 0.0


@pytest.mark.parametrize(("first", "further", "found"), [
    ([0.9993, 0.9991, 0.9989], [1.0, 1.0, 1.0], OFFSETS[2]),  # the first places pay no more than a thousandth
    ([1.0, 1.0, 1.0], [0.9992, 0.9991, 0.9989], OFFSETS[2]),  # nor do those further down
    ([0.9989, 0.9995, 0.9988], [1.0, 1.0, 1.0], OFFSETS[2]),  # within the first ones it may come back
    ([1.0, 1.0, 1.0], [0.9989, 0.9995, 0.9989], 0.0),  # and further down not
])  # fmt: skip
def test_the_price_is_a_thousandth(first: list[float], further: list[float], found: float) -> None:
    counted = Unclicked()
    counted._answers = counted._lists = counted._concerned = 20
    rest = len(OFFSETS) - 4
    counted._first = 1000 * np.array([1.0, *first, *[0.9] * rest])
    counted._further = 1000 * np.array([1.0, *further, *[0.9] * rest])
    assert counted.offset() == found
