"""What followed what, by hand on three histories, and on users who walk in circles."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

from learner.evaluation.leave_one_out import Histories, leave_one_out, positions
from learner.evaluation.recall import Recall
from learner.judging.metrics import ndcg
from tests.worlds.cycles import cycles

pytestmark = pytest.mark.learner

TEXT = np.array([[1, 0], [0, 1], [0.6, 0.8], [0, 0], [1, 0]], np.float32)
ROWS = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 3), (2, 1), (2, 0)]  # users' items: 0 1 2, 0 1 3, 1 0


@pytest.fixture
def train():
    user, item = np.array(ROWS, np.int32).T
    events = replace(cycles(users=len(ROWS), items=5, length=1), user=user, item=item)
    return Histories(events, np.array([0, 3, 6, 8]))


@pytest.fixture
def recall(train):
    return Recall.of(train, TEXT)


def test_what_followed_counts_less_with_distance_and_never_across_users(recall):
    assert recall.followed.toarray().tolist() == [
        [0, 2, 0.5, 0.5, 0],
        [1, 0, 1, 1, 0],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
    ]


def test_the_last_item_says_more_than_those_before_it(recall):
    followed, alike = recall.heard([np.array([1, 0]), np.array([0, 1]), np.array([3])])
    # After 1, 0: all of what followed 0, and half of what followed 1.
    np.testing.assert_allclose(np.expm1(followed[0]), [0.5, 2, 1, 1, 0], rtol=1e-5)
    np.testing.assert_allclose(np.expm1(followed[1]), [1, 1, 1.25, 1.25, 0], rtol=1e-5)
    np.testing.assert_allclose(alike[0], [2 / 3, 1 / 3, 2 / 3, 0, 2 / 3], rtol=1e-5)
    assert not followed[2].any()  # nothing came after 3, and it has no text
    assert not alike[2].any()


def test_what_is_taught_stems_from_others(train):
    def said(at):
        """Item 0 is likelier by log 3 than others."""
        return np.tile(np.log(np.array([3, 1, 1, 1, 1], np.float32)), (len(at), 1))

    soft = Recall.of(train, np.zeros_like(TEXT)).taught(train, 0.4, said)
    assert soft.row.tolist() == [-1, 0, 1, -1, 2, 3, -1, 4]  # a first event has no past
    # Event 1, item 1 after 0: of user 1 alone 0 was followed by 1 once and, two places on, by 3; not by 2.
    # Item 0 was had before, 4 never clicked.
    scores = np.array([2 * np.log(2), 2 * np.log(1.5), 0])
    assert soft.items[0, :3].tolist() == [1, 3, 2]
    np.testing.assert_allclose(soft.chance[0, :3], np.exp(scores) / np.exp(scores).sum(), rtol=1e-4)
    np.testing.assert_allclose(soft.chance.sum(1), 1.0, rtol=1e-5)
    # Event 7, item 0 after 1: nobody else went that way, while one each went to 2 and 3 (and two places on).
    assert set(soft.items[4, :3].tolist()) == {0, 2, 3}
    chance = dict(zip(soft.items[4, :3].tolist(), soft.chance[4, :3].tolist(), strict=True))
    assert chance[2] == pytest.approx(chance[3])
    assert chance[0] == pytest.approx(3 / 4 * chance[2])  # 3 beside exp(2 log 2)
    assert soft.chance[4, 3] == 0.0  # item 1 was had


def test_a_model_speaks_beside_what_is_recalled(train):
    def said(at):
        """Of event 1 item 3 is likelier by log 5 than what is recalled says, of all others nothing."""
        return np.where((at == 1)[:, None], np.array([0, 0, 0, np.log(5), 9], np.float32), 0)

    soft = Recall.of(train, np.zeros_like(TEXT)).taught(train, 0.4, beside=said)
    # By all others item 1 followed item 0 once, item 3 half a time; 0 was had before, 4 never clicked.
    scores = np.array([2 * np.log(1.5) + np.log(5), 2 * np.log(2), 0])
    assert soft.items[0, :3].tolist() == [3, 1, 2]
    np.testing.assert_allclose(soft.chance[0, :3], np.exp(scores) / np.exp(scores).sum(), rtol=1e-4)
    assert soft.share == 0.4


def test_a_certain_next_item_is_recalled():
    task = leave_one_out(cycles(users=80, items=20, length=8))
    recall = Recall.of(task.train, np.zeros((20, 2), np.float32))

    class Alone:
        name = "recall"

        def fit(self, task, validate):
            """Nothing is trained."""

        def scores(self, histories):
            return recall.heard(histories)[0]

    assert ndcg(positions(Alone(), task, 1)).mean() > 0.95
