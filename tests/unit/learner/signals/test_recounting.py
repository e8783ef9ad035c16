"""Events that weigh otherwise from now on: what workers and a learner make of records of both kinds."""

import numpy as np
import pytest

from learner.data.catalogue import Catalogue
from learner.signals.record import FRONTIER, SignalError
from learner.signals.recounting import Followed, Restored
from learner.signals.settings import SignalSettings
from learner.signals.state import Signals
from tests.worlds.plain_signals import WEIGHTS, a_world, fold

OTHERS = {"purchase": 3.0}


def learned(weights, clicks=200, seed=0):
    """A learner's signals, and what it sends of them."""
    catalogue, events, _ = a_world(seed)
    signals = Signals(SignalSettings(event_weights=weights), catalogue, keep_offsets=True)
    signals.offsets = {0: clicks - 1}
    fold(events[:clicks], signals)
    sent = [(catalogue.ids[item], signals.record(item)) for item in signals.drain()]
    return signals, [*sent, (FRONTIER, signals.frontier_record())]


def known(signals, ids):
    """All that signals say of the items with these ids."""
    items = [signals.catalogue.index[name] for name in ids]
    tops = [
        [signals.catalogue.ids[item] for item in row[:n]]
        for row, n in zip(signals.top, signals.top_count, strict=True)
    ]
    return (
        signals.popularity[items].tolist(), signals.by_depth[items].tolist(), signals.count[items].tolist(),
        signals.value_sum[items].tolist(), signals.total, tops, signals.by_kind.tolist(),
        [sorted(zip(map(signals.catalogue.ids.__getitem__, row[0]), row[1].tolist(), strict=True))
         for row in map(signals.neighbours.row, items)],
    )  # fmt: skip


def test_weights_travel_and_those_of_before_there_were_any_look_as_they_did():
    signals, sent = learned({})
    assert all(b"event_weights" not in record for _, record in sent)
    assert all(
        b'"count":' not in record or b"." not in record.split(b'"count":')[1].split(b",")[0]
        for _, record in sent
    )
    signals, sent = learned(WEIGHTS)
    worker = Followed(Signals(SignalSettings(), Catalogue()))
    for name, record in sent:
        worker.apply(name, record)
    ids = [name for name, _ in sent[:-1]]
    assert known(worker.signals, ids) == known(signals, ids)


def test_a_worker_never_mixes_and_changes_with_the_last_record():
    _, old = learned({})
    newer, new = learned(WEIGHTS, clicks=30)
    worker = Followed(Signals(SignalSettings(), Catalogue()))
    for name, record in old:
        worker.apply(name, record)
    ids = [name for name, _ in old[:-1]]
    before = known(worker.signals, ids)
    for name, record in new[:-1]:
        worker.apply(name, record)
        assert known(worker.signals, ids) == before
    worker.apply(*new[-1])
    of_new = [name for name, _ in new[:-1]]
    assert known(worker.signals, of_new) == known(newer, of_new)
    assert worker.signals.frontier == {0: 29}
    left = sorted(set(ids) - set(of_new))  # what nothing was sent of is known of no longer
    assert left
    assert not worker.signals.count[[worker.signals.catalogue.index[name] for name in left]].any()


def test_a_learner_that_goes_back_before_it_has_sent_all_leaves_no_trace():
    _, old = learned({})
    _, new = learned(WEIGHTS)
    worker, alone = (Followed(Signals(SignalSettings(), Catalogue())) for _ in range(2))
    for name, record in [*old, *new[:7], *old]:
        worker.apply(name, record)
    for name, record in [*old, *new[:7]]:  # as it would be with weights of a third kind after all
        alone.apply(name, record)
    third, sent = learned(OTHERS)
    for name, record in sent:
        worker.apply(name, record)
        alone.apply(name, record)
    ids = [name for name, _ in sent[:-1]]
    assert known(worker.signals, ids) == known(alone.signals, ids) == known(third, ids)


def test_a_learner_counts_again_what_was_counted_otherwise_and_sends_all_of_it():
    _, old = learned({}, clicks=300)
    signals = Signals(SignalSettings(event_weights=WEIGHTS), Catalogue(), keep_offsets=True)
    restored = Restored(signals)
    for name, record in old:
        restored.apply(name, record)
    assert (signals.total, signals.offsets, restored.offsets) == (0, {}, {0: 299})
    restored.begin()
    assert {signals.catalogue.ids[item] for item in signals.drain()} == {name for name, _ in old[:-1]}
    _, new = learned(WEIGHTS)
    half = [*old[:-1], *new[: len(new) // 2], old[-1]]  # killed while it sent: the end of before is the last
    again = Restored(Signals(SignalSettings(event_weights=WEIGHTS), Catalogue(), keep_offsets=True))
    for name, record in half:
        again.apply(name, record)
    sent = {name for name, _ in new[: len(new) // 2]}
    assert {again.signals.catalogue.ids[item] for item in again.outdated} == {n for n, _ in old[:-1]} - sent
    assert again.signals.offsets == {0: 199}
    assert again.offsets == {0: 299}
    for name, record in new[len(new) // 2 :]:
        again.apply(name, record)
    assert again.offsets == {}  # nothing is left to be counted again


def test_vectors_of_new_items_outlive_the_change():
    signals, _ = learned({})
    signals.set_vector(3, np.ones(4, np.float32), np.zeros(2, np.float32))
    given = []
    other = Signals(
        SignalSettings(event_weights=WEIGHTS), Catalogue(), keep_offsets=True,
        on_vector=lambda item, vector, *_: given.append((item, vector.tolist())),
    )  # fmt: skip
    Restored(other).apply("i3", signals.record(3))
    number = other.catalogue.index["i3"]
    assert given == [(number, [1, 1, 1, 1])]
    assert other.born_ms[number] == signals.born_ms[3]
    assert other.count[number] == 0


def test_a_record_with_weights_that_cannot_be_is_refused():
    _, sent = learned(OTHERS)
    worker = Followed(Signals(SignalSettings(), Catalogue()))
    with pytest.raises(SignalError, match="teapot"):
        worker.apply(sent[0][0], sent[0][1].replace(b"purchase", b"teapot"))
    assert worker.apply(*sent[0]) >= 0
