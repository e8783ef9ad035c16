"""The published protocol, by hand on a few users."""

import csv
import gzip

import numpy as np
import pytest

from learner.data.dataset import Interactions, load_interactions
from learner.data.events import Kind
from learner.evaluation.leave_one_out import leave_one_out, leave_one_out_report, positions
from learner.evaluation.plan import ReplayError


def interactions_of(rows, kinds=None):
    """Rows of (user, item, time)."""
    n = len(rows)
    user, item, time = (np.array([row[column] for row in rows]) for column in range(3))
    return Interactions(
        user=user.astype(np.int32), item=item.astype(np.int32), time_ms=time.astype(np.int64),
        kind=np.full(n, Kind.RATING, np.uint8) if kinds is None else np.array(kinds, np.uint8),
        value=np.full(n, np.nan, np.float32), place=np.zeros(n, np.int32),
        occurrence=np.zeros(n, np.int32), user_ids=[f"u{u}" for u in range(user.max() + 1)],
        item_ids=[f"i{i}" for i in range(item.max() + 1)], scenarios=[None],
    )  # fmt: skip


class Fixed:
    """Scores items by a constant row."""

    name = "student"

    def __init__(self, row):
        self.row, self.asked = np.array(row, float), []

    def fit(self, task, validate):
        self.validated = validate()

    def scores(self, histories):
        self.asked += [history.tolist() for history in histories]
        return np.tile(self.row, (len(histories), 1))


ROWS = [(0, 0, 9), (1, 2, 5), (0, 3, 9), (0, 1, 9), (1, 1, 4), (1, 4, 6), (2, 4, 1), (2, 0, 2), (0, 2, 9)]


def test_the_last_item_is_the_test_and_the_one_before_it_the_validation():
    task = leave_one_out(interactions_of(ROWS))
    assert task.users.tolist() == [0, 1]
    # User 0's times are all equal: the file's order holds. User 1's are out of order in the file.
    assert task.histories.items(0).tolist() == [0, 3, 1, 2]
    assert task.histories.items(1).tolist() == [1, 2, 4]
    assert task.answers(1).tolist() == [2, 4]
    assert task.answers(2).tolist() == [1, 2]
    assert [task.train.items(user).tolist() for user in range(3)] == [[0, 3], [1], [4, 0]]


def test_days_are_shuffled_within_themselves_and_by_the_seed_alone():
    day = 86_400_000
    rows = [(user, item, day * (item // 5) + item) for user in range(40) for item in range(10)]

    def orders(seed):
        task = leave_one_out(interactions_of(rows), shuffle_days=np.random.default_rng(seed))
        return np.stack([task.histories.items(user) for user in range(40)])

    drawn = orders(0)
    assert (drawn[:, :5] < 5).all()  # days stay in order
    assert (np.sort(drawn, 1) == np.arange(10)).all()  # nothing lost, no user's given to another
    assert len(np.unique(drawn, axis=0)) > 30  # each user's is drawn for itself
    last = np.bincount(drawn[:, -1], minlength=10)
    assert (last[5:] > 0).all()  # every item of the last day is somebody's test
    assert (orders(0) == drawn).all()
    assert (orders(1) != drawn).any()


def test_history_is_left_out_and_all_else_is_ranked():
    task = leave_one_out(interactions_of(ROWS))
    scorer = Fixed([5, 4, 3, 2, 1])
    # User 0 has had 0, 3, 1: of 2 and 4, the answer 2 leads. User 1 has had 1, 2: 0 and 3 lead 4.
    assert positions(scorer, task, 1).tolist() == [1.0, 3.0]
    assert sorted(scorer.asked) == [[0, 3, 1], [1, 2]]
    # Validation: user 0 has had 0 and 3, the answer 1 leads; user 1 has had 1, and 0 leads 2.
    assert positions(scorer, task, 2).tolist() == [1.0, 2.0]


def test_ties_stand_at_their_expected_position():
    task = leave_one_out(interactions_of(ROWS))
    assert positions(Fixed([1, 1, 1, 1, 1]), task, 1).tolist() == [1.5, 2.0]


def test_an_answer_of_the_history_is_not_found_and_counted():
    task = leave_one_out(interactions_of([(0, 0, 1), (0, 1, 2), (0, 2, 3), (0, 0, 4)]))
    assert positions(Fixed([3, 2, 1]), task, 1).tolist() == [np.inf]
    told = leave_one_out_report(task, [Fixed([3, 2, 1])], resamples=20)
    assert told["protocol"]["repeated"] == 1


def test_the_report_by_hand():
    task = leave_one_out(interactions_of(ROWS))
    scorer = Fixed([5, 4, 3, 2, 1])
    told = leave_one_out_report(task, [scorer], resamples=50)
    figures = told["systems"]["student"]
    assert figures["ndcg@10"] == pytest.approx((1 + 0.5) / 2)
    assert figures["hr@10"] == 1.0
    assert figures["mrr@10"] == pytest.approx((1 + 1 / 3) / 2)
    assert scorer.validated == figures["validation"]["ndcg@10"] == pytest.approx((1 + 0.63093) / 2, abs=1e-5)
    low, high = figures["ci95"]["ndcg@10"]
    assert low <= figures["ndcg@10"] <= high


def test_events_without_interest_are_not_items_of_a_history():
    rows = [(0, 0, 1), (0, 1, 2), (0, 2, 3), (0, 3, 4)]
    kinds = [Kind.CLICK, Kind.CLICK, Kind.CLICK, Kind.DISLIKE]
    assert leave_one_out(interactions_of(rows, kinds)).answers(1).tolist() == [2]


def test_data_without_long_histories_is_refused():
    with pytest.raises(ReplayError, match="3 events"):
        leave_one_out(interactions_of([(0, 0, 1), (1, 1, 2)]))


def test_on_amazon_beauty_the_split_is_the_papers(data_folder):
    """22,363 users, 12,101 items, 198,502 events; the last line of each user's is the test."""
    file = data_folder("amazon-beauty-5core") / "interactions.csv.gz"
    with gzip.open(file, "rt") as lines:
        lines_of: dict[str, list[str]] = {}
        for row in csv.DictReader(lines):
            lines_of.setdefault(row["user_id"], []).append(row["item_id"])
    interactions = load_interactions(file)
    task = leave_one_out(interactions)
    users, items = interactions.user_ids, task.item_ids
    assert (len(task.users), len(items), len(task.histories.events)) == (22_363, 12_101, 198_502)
    assert len(task.train.events) == 198_502 - 2 * 22_363
    answers = task.answers(1)
    for place, user in enumerate(task.users[:2_000].tolist()):  # as good as all of them, in a second
        own = lines_of[users[user]]
        assert items[answers[place]] == own[-1]
        assert [items[n] for n in task.before(user, 1)] == own[:-1]  # the validation item among them
        assert [items[n] for n in task.train.items(user)] == own[:-2]
