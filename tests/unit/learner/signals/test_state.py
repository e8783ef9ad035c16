"""Signals: sums from their definition, lists kept exact, and processes that end with the same."""

import numpy as np
import pytest

import learner.signals.state
from learner.data.catalogue import Catalogue
from learner.data.dataset import load_interactions, load_items
from learner.data.events import Kind
from learner.data.times import DAY_MS
from learner.ranking.arrays import ModelArrays
from learner.ranking.candidates import propose
from learner.ranking.features import features
from learner.signals.kernels import decay
from learner.signals.record import FRONTIER
from learner.signals.settings import DEPTH_HALF_LIVES, DEPTHS, HALF_LIVES, SignalSettings
from learner.signals.state import Signals
from learner.signals.toplists import TOP, top_of
from tests.worlds.pairs import check_pairs
from tests.worlds.plain_signals import WEIGHTS, Event, PlainSignals, a_world, asks_of, fold, tie

NONE = np.zeros(0, np.int32)


def now_of(signals, item, half_life, now):
    factor = decay(now, signals.half_lives[half_life], signals.reference[half_life])
    return signals.popularity[item, half_life] * factor


def bytes_of(signals, ids, now, seed=0):
    """Candidates and features for a few made-up users: what must not differ between two processes.

    `ids`: item ids, which the users and the model are made of, so that numbering may differ.
    """
    rng = np.random.default_rng(seed)
    number = [signals.catalogue.intern(item) for item in ids]
    signals.follow()
    rows = np.zeros((signals.catalogue.size, 8), np.float32)
    model = ModelArrays(rows.copy(), np.zeros(len(rows), np.float32), rows.copy(), 0.3)
    model.vectors[number] = rng.normal(size=(len(ids), 8))
    model.content[number] = rng.normal(size=(len(ids), 8))
    histories = [
        [Event("", number[k], now - 60_000 * d, Kind.CLICK, 0.0) for d, k in enumerate(row)]
        for row in (rng.integers(0, len(ids), rng.choice([0, 1, 4, 20, 60])) for _ in range(20))
    ]
    asks = asks_of(histories, now, rng)
    ann = np.array(number, np.int32)[rng.integers(0, len(ids), (20, 30))]
    candidates = propose(asks, signals.catalogue, signals, model, ann, 100)
    listed = [[signals.catalogue.ids[item] for item in row] for row in candidates.items.tolist()]
    return listed, features(asks, candidates, signals.catalogue, signals, model).table().tobytes()


@pytest.mark.parametrize("weights", [{}, WEIGHTS])
def test_popularity_counts_and_times_are_what_their_names_say(weights):
    catalogue, events, _ = a_world(0)
    settings = SignalSettings(event_weights=weights)
    signals, plain = Signals(settings, catalogue), PlainSignals(settings, catalogue)
    fold(events, signals, plain)
    now = events[-1].time_ms + 1000
    assert signals.now_ms == max(event.time_ms for event in plain.events)
    assert signals.total == plain.total
    for item in range(catalogue.size):
        mine = plain.of(item)
        assert signals.count[item] == plain.count(item)
        assert signals.value_sum[item] == pytest.approx(plain.value(item))
        assert (signals.last_ms[item], signals.first_ms[item]) == (
            (max(event.time_ms for event in mine), mine[0].time_ms) if mine else (0, 0)
        )
        for h in range(HALF_LIVES):
            assert now_of(signals, item, h, now) == pytest.approx(plain.popularity(item, h, now), rel=1e-8)
        for k, h in enumerate(DEPTH_HALF_LIVES):
            factor = decay(now, signals.half_lives[h], signals.reference[h])
            want = [plain.by_depth(item, depth, h, now) for depth in range(len(DEPTHS))]
            np.testing.assert_allclose(signals.by_depth[item, k] * factor, want, rtol=1e-8)
        sources, weights = signals.neighbours.row(item)
        factor = decay(now, signals.half_lives[-1], signals.reference[-1])
        for source, row in zip(sources.tolist(), weights, strict=True):
            want = plain.pair(source, item, now)
            np.testing.assert_allclose(row * [1, factor, 1, factor, 1], want, rtol=1e-5)


def test_dislikes_and_impressions_change_nothing():
    catalogue, _, _ = a_world(0)
    signals = Signals(SignalSettings(), catalogue)
    for kind in (Kind.DISLIKE, Kind.HIDE, Kind.IMPRESSION):
        signals.learn(1, 1_400_000_000_000, kind, 0.0, np.array([2], np.int32))
    assert signals.total == 0
    assert not signals.drain()
    assert not signals.popularity.any()


def test_moving_the_reference_loses_nothing(monkeypatch):
    """Folding with frequent moves gives, bit for bit, what folding with rare ones gives."""
    catalogue, events, model = a_world(3)
    seen = []
    for highest_popularity, highest_pair in ((256, 40), (3, 2)):
        monkeypatch.setattr(learner.signals.state, "_HIGHEST_POPULARITY", highest_popularity)
        monkeypatch.setattr(learner.signals.state, "_HIGHEST_PAIR", highest_pair)
        signals = Signals(SignalSettings(pair_half_life_ms=20 * DAY_MS), catalogue)
        histories = fold(events, signals)
        now = events[-1].time_ms
        asks = asks_of(list(histories.values()), now, np.random.default_rng(0))
        candidates = propose(asks, catalogue, signals, model, np.full((len(histories), 1), -1, np.int32), 30)
        columns = features(asks, candidates, catalogue, signals, model).table()
        seen.append((candidates.items.tolist(), columns.tobytes(), signals.reference.tolist()))
    assert seen[0][2] != seen[1][2]
    assert seen[0][:2] == seen[1][:2]


def test_top_lists_equal_a_sort():
    rng = np.random.default_rng(0)
    catalogue = Catalogue()
    for k in range(TOP + 300):
        catalogue.intern(f"i{k}")
    signals = Signals(SignalSettings(), catalogue)
    time = 1_400_000_000_000
    for k in range(6000):
        time += int(rng.exponential(DAY_MS / 20)) + (30 * int(DAY_MS) if k % 2000 == 1999 else 0)
        history = np.full(rng.choice([0, 0, 2]), 7, np.int32)
        signals.learn(min(int(rng.exponential(250)), TOP + 299), time, Kind.CLICK, 0.0, history)
        if k % 500 == 0:
            for h in range(HALF_LIVES):
                want = top_of(signals.popularity[: catalogue.size, h], signals.tie, TOP)
                assert signals.top[h, : signals.top_count[h]].tolist() == want.tolist()
            for column, depth in np.ndindex(signals.depth_top_count.shape):
                want = top_of(signals.by_depth[: catalogue.size, column, depth], signals.tie, TOP)
                count = signals.depth_top_count[column, depth]
                assert signals.depth_top[column, depth, :count].tolist() == want.tolist()
    assert (signals.depth_top_count > 0).sum() == 2 * len(DEPTH_HALF_LIVES)
    order = sorted(range(catalogue.size), key=lambda j: (-signals.popularity[j, 4], tie(catalogue, j)))
    assert signals.top[4].tolist() == order[:TOP]


@pytest.fixture(scope="module")
def movies(data_folder):
    folder = data_folder("movietweetings-100k")
    return load_interactions(folder / "interactions.csv.gz"), load_items(folder / "items.csv.gz")


def catalogue_of(items, rng):
    """The recorded catalogue, numbered in an order of its own."""
    catalogue = Catalogue()
    for k in rng.permutation(len(items)):
        catalogue.announce(items[k])
    return catalogue


def test_sums_that_fell_leave_lists_as_a_sort_has_them(movies):
    """A learner that began anew knows less than before: its records make items less popular."""
    interactions, items = movies
    catalogue = catalogue_of(items, np.random.default_rng(0))
    worker = Signals(SignalSettings(), catalogue)
    order = np.argsort(interactions.time_ms, kind="stable")
    for first in (0, 1500):
        learner, histories = Signals(SignalSettings(), catalogue_of(items, np.random.default_rng(1))), {}
        for k in order[first:2500].tolist():
            item = learner.catalogue.intern(interactions.item_ids[interactions.item[k]])
            history = histories.setdefault(int(interactions.user[k]), [])
            learner.learn(item, int(interactions.time_ms[k]), Kind.RATING, 0.5, np.array(history, np.int32))
            history.append(item)
        for touched in learner.drain():
            worker.apply(learner.catalogue.ids[touched], learner.record(touched))
    size = catalogue.size
    for h in range(HALF_LIVES):
        want = top_of(worker.popularity[:size, h], worker.tie, TOP)
        assert worker.top[h, : worker.top_count[h]].tolist() == want.tolist()
    for at, depth in np.ndindex(worker.depth_top_count.shape):
        want = top_of(worker.by_depth[:size, at, depth], worker.tie, TOP)
        assert worker.depth_top[at, depth, : worker.depth_top_count[at, depth]].tolist() == want.tolist()


def depth_lists(signals):
    """The popular items by depth, as ids."""
    return [
        [signals.catalogue.ids[j] for j in signals.depth_top[place][: signals.depth_top_count[place]]]
        for place in np.ndindex(signals.depth_top_count.shape)
    ]


@pytest.mark.parametrize("neighbours", [12, None])
def test_workers_end_with_the_learners_features(movies, neighbours):
    """5,000 clicks; records every 50. Applied as they come, or only the last of each item: all the same."""
    interactions, items = movies
    settings = SignalSettings(neighbours=neighbours, pair_half_life_ms=0.5 * DAY_MS)
    catalogue = catalogue_of(items, np.random.default_rng(0))
    signals = Signals(settings, catalogue)
    worker = Signals(settings, catalogue_of(items, np.random.default_rng(1)))
    histories, compacted = {}, {}
    for k in np.argsort(interactions.time_ms, kind="stable")[:5000]:
        user, item = int(interactions.user[k]), catalogue.intern(interactions.item_ids[interactions.item[k]])
        history = histories.setdefault(user, [])
        signals.offsets[user % 8] = int(k)
        signals.learn(item, int(interactions.time_ms[k]), Kind.RATING, 0.5, np.array(history[-50:], np.int32))
        history.append(item)
        if k % 50 == 0:
            for touched in signals.drain():
                compacted[catalogue.ids[touched]] = signals.record(touched)
                worker.apply(catalogue.ids[touched], compacted[catalogue.ids[touched]])
    for touched in signals.drain():
        compacted[catalogue.ids[touched]] = signals.record(touched)
        worker.apply(catalogue.ids[touched], compacted[catalogue.ids[touched]])
    late = Signals(settings, catalogue_of(items, np.random.default_rng(2)))
    for key in np.random.default_rng(3).permutation(list(compacted)):
        late.apply(str(key), compacted[key])
    twice = Signals(settings, catalogue_of(items, np.random.default_rng(4)))
    for _ in range(2):
        for key, value in compacted.items():
            twice.apply(key, value)
    for each in (signals, worker, late, twice):
        check_pairs(each)
    if neighbours:
        assert max(signals.neighbours.before.rows[:, 1]) == neighbours
    assert signals.reference[0] > 0
    ids, now = sorted(interactions.item_ids)[:600], signals.now_ms + 1000
    clicked = sorted(compacted)[:400]
    want = bytes_of(signals, clicked + ids[:100], now)
    assert (signals.depth_top_count > 0).all()
    for other in (worker, late, twice):
        assert depth_lists(other) == depth_lists(signals)
        assert (other.now_ms, other.total, other.offsets) == (signals.now_ms, signals.total, signals.offsets)
        assert bytes_of(other, clicked + ids[:100], now) == want


def test_a_learner_resumes_from_its_records(movies):
    """Records and the clicks behind the frontier give what an uninterrupted learner has."""
    interactions, items = movies
    order = np.argsort(interactions.time_ms, kind="stable")[:600].tolist()

    def run(signals, places, histories, *, skip=False):
        for place in places:
            k = order[place]
            item = signals.catalogue.intern(interactions.item_ids[interactions.item[k]])
            history = histories.setdefault(int(interactions.user[k]), [])
            signals.offsets[0] = place
            if not (skip and place <= signals.applied(item).get(0, -1)):
                signals.learn(
                    item, int(interactions.time_ms[k]), Kind.RATING, 0.0, np.array(history, np.int32)
                )
            history.append(item)

    whole = Signals(SignalSettings(), catalogue_of(items, np.random.default_rng(0)))
    run(whole, range(600), {})
    first, topic = Signals(SignalSettings(), catalogue_of(items, np.random.default_rng(1))), {}
    histories = {}
    for stop in (200, 400):  # the frontier stands at 199; records of the second part are half sent
        run(first, range(stop - 200, stop), histories)
        touched = first.drain()
        for item in touched if stop == 200 else touched[::2]:
            topic[first.catalogue.ids[item]] = first.record(item)
        if stop == 200:
            topic[FRONTIER] = first.frontier_record()
    second = Signals(SignalSettings(), catalogue_of(items, np.random.default_rng(2)), keep_offsets=True)
    for key, value in topic.items():
        second.apply(key, value)
    assert second.frontier == {0: 199}
    histories = {}
    run(Signals(SignalSettings(), second.catalogue), range(200), histories)  # users' histories only
    run(second, range(200, 600), histories, skip=True)
    ids = sorted(interactions.item_ids)[:300]
    assert second.offsets == whole.offsets
    np.testing.assert_array_equal(
        second.count[[second.catalogue.index[i] for i in whole.catalogue.ids]],
        whole.count[: whole.catalogue.size],
    )
    assert bytes_of(second, ids, whole.now_ms) == bytes_of(whole, ids, whole.now_ms)
