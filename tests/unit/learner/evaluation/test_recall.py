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
def recall():
    user, item = np.array(ROWS, np.int32).T
    events = replace(cycles(users=len(ROWS), items=5, length=1), user=user, item=item)
    return Recall.of(Histories(events, np.array([0, 3, 6, 8])), TEXT)


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
