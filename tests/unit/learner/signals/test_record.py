"""Records of signals: what they carry, and broken ones, which are refused."""

import base64
import json

import numpy as np
import pytest

from learner.data.catalogue import Catalogue, Item
from learner.data.events import Kind
from learner.signals.record import SignalError
from learner.signals.settings import HALF_LIVES, SignalSettings
from learner.signals.state import Signals
from tests.worlds.plain_signals import a_world, fold

NONE = np.zeros(0, np.int32)


def test_a_record_without_depths_is_one_of_before_there_were_any():
    catalogue, _, _ = a_world(0)
    signals, worker = (Signals(SignalSettings(), catalogue) for _ in range(2))
    signals.learn(1, 1_400_000_000_000, Kind.CLICK, 0.0, NONE)
    record = {**json.loads(signals.record(1)), "depths": ""}
    worker.apply("i1", json.dumps(record).encode())
    assert worker.count[1] == 1
    assert (signals.without_depths, worker.without_depths) == (0, 1)


def test_a_record_touches_its_item_alone_and_is_json():
    catalogue, events, _ = a_world(0)
    signals = Signals(SignalSettings(), catalogue)
    fold(events, signals)
    signals.drain()
    before = {item: json.loads(signals.record(item)) for item in range(catalogue.size)}
    signals.learn(7, signals.now_ms, Kind.CLICK, 0.0, np.array([1, 2, 3], np.int32))
    shared = {"now_ms", "reference", "offsets"}
    changed = [
        item
        for item in range(catalogue.size)
        if any(
            v != before[item].get(k) for k, v in json.loads(signals.record(item)).items() if k not in shared
        )
    ]
    assert changed == [7] == signals.drain()


def test_items_announced_in_bulk_get_vectors_before_anybody_clicks():
    catalogue = Catalogue()
    signals = Signals(SignalSettings(), catalogue)
    for number in range(1000):
        catalogue.announce(Item(item_id=f"new-{number}"))
    vector = np.ones(4, np.float32)
    signals.set_vector(999, vector, vector)
    assert signals.drain() == [999]
    other = Signals(SignalSettings(), Catalogue())
    assert other.apply("new-999", signals.record(999)) == 0


def test_vectors_of_new_items_travel_with_their_records():
    catalogue, _, _ = a_world(0)
    signals, got = Signals(SignalSettings(), catalogue), []
    worker = Signals(SignalSettings(), catalogue, on_vector=lambda *args: got.append(args))
    vector, content = np.arange(3, dtype=np.float32) / 3, np.ones(2, np.float32)
    signals.set_vector(5, vector, content, "space")
    for _ in range(2):  # and with every later record too: compaction keeps only the last
        worker.apply("i5", signals.record(5))
        signals.learn(5, 1_400_000_000_000, Kind.CLICK, 0.0, NONE)
    assert [(item, space) for item, _, _, space in got] == [(5, "space")] * 2
    np.testing.assert_array_equal(got[1][1], vector)
    np.testing.assert_array_equal(got[1][2], content)
    signals.forget_vectors()
    worker.apply("i5", signals.record(5))
    assert len(got) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"item_id": "other"}, "speaks of 'other'"),
        ({"reference": [1]}, "reference"),
        ({"popularity": "AAAA"}, "i1"),
        ({"popularity": "?"}, "i1"),
        ({"depths": "AAAAAAAAAAA="}, "wrong length"),
        ({"before": ["i1"], "weights": ""}, "wrong length"),
        ({"count": "many"}, "count"),
        ({"count": 10**20}, "count"),
        ({"now_ms": 10**400}, "now_ms"),
        ({"reference": [10**18] * (HALF_LIVES + 1)}, "reference"),
        ({"offsets": {"zero": 1}}, "offsets"),
        ({"offsets": {"-1": 1}}, "offsets"),
        ({"offsets": {"9999999999": 1}}, "offsets"),
        ({"before": ["x", "x"], "weights": base64.b64encode(bytes(40)).decode()}, "twice"),
        ({"before": [""], "weights": base64.b64encode(bytes(20)).decode()}, "before"),
        ({"popularity": base64.b64encode(np.full(HALF_LIVES, np.nan).tobytes()).decode()}, "finite"),
        ({"vector": "AAAA"}, "i1"),
        ({"v": 2}, "v"),
    ],
)
def test_broken_records_are_refused_and_leave_no_trace(change, words):
    catalogue, _, _ = a_world(0)
    signals = Signals(SignalSettings(), catalogue)
    signals.learn(1, 1_400_000_000_000, Kind.CLICK, 0.0, NONE)
    record = {**json.loads(signals.record(1)), **change}
    empty = Catalogue()
    worker = Signals(SignalSettings(), empty)
    with pytest.raises(SignalError, match=words):
        worker.apply("i1", json.dumps(record).encode())
    assert not worker.popularity.any()
    assert worker.now_ms == 0
    assert worker.offsets == {}
    assert empty.size == 0
    for unreadable in (b"\xff", b"[" * 50_000, b'{"item_id": "\xff"}'):
        with pytest.raises(SignalError):
            worker.apply("i1", unreadable)
