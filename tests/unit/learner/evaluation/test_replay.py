"""The replay driver on streams small enough to know every answer."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learner.data.catalogue import Item
from learner.data.events import Kind
from learner.data.repeats import consuming_kinds, data_repeats, had_before
from learner.data.times import DAY_MS
from learner.evaluation.plan import ReplayError, cut_sessions, plan
from learner.evaluation.reading import plot, table
from learner.evaluation.replay import play
from learner.evaluation.report import SLICES, Learning, report
from learner.evaluation.system import Ranking, Stream

MINUTE_MS = 60_000


def stream_of(*clicks, records=(), start_ms=1_000_000_000_000):
    """A stream of (user, item) or (user, item, minute, kind); items are numbered by their names' order."""
    rows = [(u, i, *(rest or (n,))) for n, (u, i, *rest) in enumerate(clicks)]
    users = sorted({row[0] for row in rows})
    items = sorted({row[1] for row in rows} | {record.item_id for record in records})
    known = {record.item_id: record for record in records}
    return Stream(
        user=np.array([users.index(row[0]) for row in rows], np.int32),
        item=np.array([items.index(row[1]) for row in rows], np.int32),
        time_ms=np.array([start_ms + row[2] * MINUTE_MS for row in rows], np.int64),
        kind=np.array([row[3] if len(row) > 3 else Kind.CLICK for row in rows], np.uint8),
        value=np.full(len(rows), np.nan, np.float32),
        scenario=[None] * len(rows),
        user_ids=users,
        item_ids=items,
        records=[known.get(item) for item in items],
    )


class Everything:
    """Ranks all items it has been told of, the lowest number first; notes each call."""

    name = "nextclick"

    def __init__(self, equal=False):
        self.equal, self.calls, self.known = equal, [], set()

    def fit(self, first):
        self.first = first
        self.calls.append("fit")

    def announce(self, item, record, time_ms):
        self.known.add(item)
        self.calls.append(f"announce {item}")

    def rank(self, ask):
        self.calls.append(f"rank {ask.user}")
        items = np.array(sorted(self.known), np.int32)
        return Ranking(items, np.zeros(len(items)) if self.equal else -items.astype(np.float64))

    def learn(self, event, listed):
        self.calls.append(f"learn {event.number}{' listed' if listed else ''}")
        return np.array(sorted(self.known), np.int32)[:10] if listed else None

    def describe(self):
        return {}


def test_each_event_is_ranked_before_it_is_learned():
    system = Everything()
    play(system, plan(stream_of(("u", "a"), ("v", "b"), ("u", "b"), ("u", "c")), split=0.5))
    assert system.calls == [
        "fit", "announce 0", "learn 0 listed", "announce 1", "learn 1 listed",
        "rank 0", "learn 2 listed", "rank 0", "announce 2", "learn 3 listed",
    ]  # fmt: skip


def test_strict_nobody_hits_an_items_first_click():
    made = plan(stream_of(("u", "a"), ("v", "b"), ("u", "b"), ("u", "c")), split=0.5)
    outcome = play(Everything(), made)
    assert outcome.position.tolist() == [2.0, np.inf]


def test_start_announces_the_whole_catalogue_first():
    stream = stream_of(("u", "a"), ("v", "b"), ("u", "c"), records=[Item(item_id="d")])
    outcome = play(Everything(), plan(stream, split=0.7, announce="start"))
    assert outcome.position.tolist() == [3.0]
    assert outcome.catalogue == 4


def test_an_item_enters_when_it_is_published_and_never_later_than_its_first_click():
    at = 1_000_000_000_000
    records = [
        Item(item_id="c", published_at=at + 2 * MINUTE_MS),  # before its click
        Item(item_id="d", published_at=at + 60 * MINUTE_MS),  # after its click, beyond the stream
        Item(item_id="e", published_at=5),  # before everything, never clicked
    ]
    stream = stream_of(("u", "a"), ("v", "b"), ("u", "c"), ("v", "d"), ("u", "d"), records=records)
    system = Everything()
    outcome = play(system, plan(stream, split=0.4))
    assert outcome.position.tolist() == [3.0, np.inf, 4.0]
    calls = [call for call in system.calls if "announce" in call or "rank" in call]
    assert calls[:4] == ["announce 4", "announce 0", "announce 1", "announce 2"]
    ignored = play(Everything(), plan(stream, split=0.4, announce="first_click"))
    assert ignored.position.tolist() == [np.inf, np.inf, 4.0]


def test_the_first_part_holds_nothing_of_what_comes_after():
    records = [Item(item_id=name) for name in "abc"]
    made = plan(stream_of(("u", "a"), ("v", "b"), ("u", "c"), ("v", "c"), records=records), split=0.5)
    first = made.first_part()
    assert first.size == 2
    assert [record is not None for record in first.records] == [True, True, False]
    assert first.interactions().item.tolist() == [0, 1]


def test_repeats_and_disliked_answers_are_skipped_for_all():
    clicks = [("u", "a"), ("v", "b"), ("v", "a", 2, Kind.DISLIKE), ("u", "b"), ("u", "a"), ("v", "a")]
    made = plan(stream_of(*clicks), split=0.5)
    assert made.asked.tolist() == [3]
    assert made.skipped[3:].sum() == 2
    told = report([made], [[play(Everything(), made)]])
    assert told["protocol"]["skipped"] == 2


def test_repeats_are_scored_where_the_data_repeats():
    clicks = [("u", "a"), ("u", "a"), ("u", "b"), ("u", "a"), ("u", "b"), ("u", "a")]
    made = plan(stream_of(*clicks), split=0.5)
    assert made.repeats
    assert made.asked.tolist() == [3, 4, 5]


def test_impressions_and_dislikes_are_never_scored():
    kinds = [Kind.CLICK, Kind.CLICK, *Kind]
    clicks = [("u", f"i{n}", n, kind) for n, kind in enumerate(kinds)]
    made = plan(stream_of(*clicks), split=0.2)
    scored = [Kind(made.stream.kind[n]) for n in made.asked]
    assert scored == [Kind.VIEW, Kind.CLICK, Kind.PURCHASE, Kind.RATING, Kind.LIKE]


def test_slices_by_hand():
    clicks = [("u", "a"), ("u", "b"), ("w", "b"), ("v", "a"), ("v", "b"), ("u", "c"), ("v", "c")]
    made = plan(stream_of(*clicks), split=0.4)
    flags = {name: mask[3:].astype(int).tolist() for name, mask in made.slices.items()}
    assert flags["cold_users"] == [1, 0, 0, 0]
    assert flags["one_click"] == [0, 1, 0, 0]
    assert flags["cold_items"] == [0, 0, 1, 0]
    assert flags["few_clicks_items"] == [1, 1, 0, 1]
    assert flags["few_clicks_users"] == [1, 1, 1, 1]
    # Before v's first click b leads a by 2 to 1, so one of two items, over a fifth, stands above a.
    assert flags["tail"] == [1, 0, 1, 1]


def test_few_clicks_are_one_to_five_of_an_item_and_below_five_of_a_user():
    clicks = [(f"u{n}", "a") for n in range(8)] + [("v", f"i{n}") for n in range(7)]
    made = plan(stream_of(*clicks), split=0.1)
    assert made.slices["few_clicks_items"][:8].tolist() == [False, *[True] * 5, False, False]
    assert made.slices["few_clicks_users"][8:].tolist() == [*[True] * 5, False, False]
    assert not made.slices["few_clicks_items"][8:].any()  # each of these is the item's first


def test_the_last_list_is_the_one_the_users_previous_click_triggered():
    class Latest(Everything):
        def learn(self, event, listed):
            super().learn(event, listed)
            return np.array([event.item], np.int32) if listed else None

    # u's lists hold the item just clicked; only the second "b" stood in the list before it.
    clicks = [("u", "a"), ("v", "b"), ("u", "b"), ("u", "b"), ("w", "b")]
    outcome = play(Latest(), plan(stream_of(*clicks), split=0.4, repeats=True))
    assert outcome.last_list.tolist()[:2] == [0.0, 1.0]
    assert np.isnan(outcome.last_list[2])  # w's first click


def test_equal_scores_stand_at_their_expected_position():
    clicks = [("u", "a"), ("u", "b"), ("u", "c"), ("u", "d"), ("v", "a")]
    outcome = play(Everything(equal=True), plan(stream_of(*clicks), split=0.8))
    assert outcome.position.tolist() == [2.5]


ranked = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=40)


@given(ranked, st.integers(1, 12), st.randoms())
def test_rankings_agree_with_plain_sorting(pairs, k, random):
    items = np.array(random.sample(range(100), len(pairs)), np.int32)
    scores, ties = (np.array(column, np.float64) for column in zip(*pairs, strict=True))
    id_rank = np.array(random.sample(range(100), 100), np.int32)
    ranking = Ranking(items, scores, ties)
    order = sorted(range(len(items)), key=lambda n: (-scores[n], -ties[n], id_rank[items[n]]))
    assert ranking.top(k, id_rank).tolist() == items[order[:k]].tolist()
    for n, item in enumerate(items.tolist()):
        better = sum(pair > pairs[n] for pair in pairs)
        same = sum(pair == pairs[n] for pair in pairs) - 1
        assert ranking.position(item) == 1 + better + same / 2
    assert ranking.position(100) == np.inf


def test_sessions_are_users_of_their_own_and_their_first_event_is_not_scored():
    minutes = [0, 10, 50, 60, 200]
    clicks = [("u", f"i{n}", minute) for n, minute in enumerate(minutes)]
    cut = cut_sessions(stream_of(*clicks), 30 * MINUTE_MS)
    assert cut.user.tolist() == [0, 0, 1, 1, 2]
    assert cut.user_ids == ["u#0", "u#1", "u#2"]
    made = plan(stream_of(*clicks), split=0.2, sessions_ms=30 * MINUTE_MS)
    assert made.asked.tolist() == [1, 3]


def test_sessions_refuse_whole_days():
    stream = stream_of(("u", "a", 0), ("u", "b", 1440), start_ms=10_000 * DAY_MS)
    with pytest.raises(ReplayError, match="whole day"):
        plan(stream, split=0.5, sessions_ms=30 * MINUTE_MS)


@pytest.mark.parametrize("split", [0.0, 1.0, 0.01])
def test_a_split_without_two_parts_is_refused(split):
    with pytest.raises(ReplayError, match="split"):
        plan(stream_of(("u", "a"), ("u", "b")), split=split)


def test_views_consume_only_where_nothing_stronger_occurs():
    views = np.full(3, Kind.VIEW, np.uint8)
    assert consuming_kinds(views)[Kind.VIEW]
    assert not consuming_kinds(np.r_[views, np.uint8(Kind.PURCHASE)])[Kind.VIEW]


def test_had_before_looks_at_marked_events_of_the_same_pair_only():
    user, item = np.array([0, 0, 1, 0, 1, 0]), np.array([5, 5, 5, 6, 5, 5])
    marks = np.array([False, True, True, True, True, True])
    assert had_before(user, item, marks).tolist() == [False, False, False, False, True, True]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.booleans()), max_size=40))
def test_had_before_agrees_with_a_set(rows):
    seen, expected = set(), []
    for user, item, mark in rows:
        expected.append((user, item) in seen)
        if mark:
            seen.add((user, item))
    columns = [np.array([row[n] for row in rows]) for n in range(3)]
    assert had_before(columns[0], columns[1], columns[2].astype(bool)).tolist() == expected


def test_data_that_never_repeats_does_not_repeat():
    user, item = np.repeat(np.arange(5), 20), np.tile(np.arange(20), 5)
    assert not data_repeats(user, item, np.full(100, Kind.RATING, np.uint8))


class Named(Everything):
    def __init__(self, name, descending=False):
        super().__init__()
        self.name, self.descending = name, descending

    def rank(self, ask):
        ranking = super().rank(ask)
        return Ranking(ranking.items, -ranking.scores if self.descending else ranking.scores)


@pytest.fixture(scope="module")
def told():
    rng = np.random.default_rng(0)
    clicks = [(f"u{rng.integers(30)}", f"i{rng.integers(40):02d}") for _ in range(600)]
    plans = [plan(stream_of(*clicks), repeats=True, seed=seed) for seed in (0, 1)]
    names = ("nextclick", "popularity", "item_knn", "blend")
    outcomes = [[play(Named(name, name == "item_knn"), made) for name in names] for made in plans]
    return report(plans, outcomes, learning=Learning("full", 1.5, without="item_knn"))


def test_the_report_has_every_promised_field(told):
    assert set(told) >= {
        "data", "protocol", "systems", "best_baseline", "lift", "lift_over_blend", "candidates", "learn",
    }  # fmt: skip
    for figures in told["systems"].values():
        assert set(figures) >= {
            "ndcg@10", "hr@10", "mrr@10", "recall@20", "coverage@10", "novelty@10", "hr@10_last_list",
            *SLICES, "ms_per_click", "ci95",
        }  # fmt: skip
        low, high = figures["ci95"]["ndcg@10"]
        assert low <= figures["ndcg@10"] <= high
        for part in SLICES:
            assert set(figures[part]) == {"n", "ndcg@10", "hr@10", "hr@50", "ci95"}
    json.dumps(told, allow_nan=False)


def test_equal_systems_have_a_ratio_of_one_with_no_width(told):
    assert told["lift_over_blend"]["ndcg@10"] == {"ratio": 1.0, "ci95": [1.0, 1.0]}
    assert told["best_baseline"] in ("popularity", "item_knn")
    assert told["learn"]["mode"] == "full"
    assert told["learn"]["ci95"][0] <= told["learn"]["ratio"] <= told["learn"]["ci95"][1]


def test_an_empty_slice_has_nulls(told):
    cold = told["systems"]["nextclick"]["cold_users"]
    assert cold == {"n": 0, "ndcg@10": None, "hr@10": None, "hr@50": None, "ci95": None}


def test_the_table_and_the_plot_show_every_system(told, tmp_path):
    assert table(told).row_count == 4
    pytest.importorskip("matplotlib")
    plot(told, tmp_path / "out.png")
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_proposals_give_recall_by_source_and_in_union():
    class Proposing(Everything):
        sources = ("low", "high")

        def proposals(self, ask):
            items = np.array(sorted(self.known), np.int32)
            low = np.arange(len(items)) < 1
            return items, np.column_stack([low, ~low])

    made = plan(stream_of(("u", "a"), ("v", "b"), ("u", "b"), ("w", "a"), ("w", "c")), split=0.4)
    told = report([made], [[play(Proposing(), made)]])
    recall = {source: round(found["recall@200"], 3) for source, found in told["candidates"].items()}
    assert recall == {"low": 0.333, "high": 0.333, "union": 0.667}
