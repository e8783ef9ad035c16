"""Items and signals in a worker: bad records leave no trace, and the indexes follow the good ones."""

import contextlib

import numpy as np

from indexer.item_index import with_bias
from learner.data.catalogue import Item
from learner.data.events import Kind
from learner.data.times import DAY_MS
from learner.signals.settings import SignalSettings
from learner.signals.state import Signals
from streams.transport.last_good import Unknown, restoring
from streams.wire.contract import decode_item, encode
from tests.worlds.knowing import following, record
from tests.worlds.rounds import world


def test_bad_items_and_signals_are_refused_and_leave_no_trace() -> None:
    known, _ = world()
    followed, told = following(known)
    before = known.catalogue.size
    bad = [
        record("items", b'{"item_id":"i","attributes":{"n":18446744073709551616}}'),
        record("items", b'{"item_id":"i","published_at":%d}' % 10**25),
        record("items", None, key=b"\xff"),
    ]
    for each in bad:
        followed.on_item(each)
    bad.append(record("signals", b"{", key=b"i"))
    followed.on_signal(bad[-1])
    assert [each for each, _ in told.refused] == bad
    assert all(error for _, error in told.refused)
    assert known.catalogue.size == before


def test_idle_items_leave_the_index_and_signals_of_a_click_bring_them_back() -> None:
    known, _ = world()
    followed, _ = following(known)
    clicks = Signals(known.signals.settings, known.catalogue)  # the learner's

    def told(item_id: str, day: float) -> int:
        number = known.catalogue.intern(item_id)
        clicks.learn(number, int(1_700_000_000_000 + day * DAY_MS), 1, 0.0, np.zeros(0, np.int32))
        followed.on_signal(record("signals", clicks.record(number), key=item_id.encode()))
        followed.settle()
        return number

    old, young = told("more-1", 0), told("more-2", 11)
    followed.expire()
    assert known.live.index.holds([old, young]).tolist() == [False, True]
    assert known.catalogue.expired.sum() == 1
    told("more-2", 12)
    assert not known.live.index.holds([old]).any()
    told("more-1", 12)
    assert known.live.index.holds([old]).all()
    assert not known.catalogue.expired.any()


def test_counts_with_other_weights_are_taken_over_all_at_once() -> None:
    known, _ = world()
    followed, _ = following(known)
    items = [known.catalogue.intern(f"more-{n}") for n in (1, 2)]

    def told(weights: dict[str, float], *, whole: bool = True) -> list[float]:
        learner = Signals(SignalSettings(event_weights=weights), known.catalogue)
        for item in items:
            learner.learn(item, 1_700_000_000_000, int(Kind.PURCHASE), 0.0, np.zeros(0, np.int32))
        for item in items:
            value, key = learner.record(item), known.catalogue.ids[item].encode()
            followed.on_signal(record("signals", value, key=key))
        if whole:
            followed.on_signal(record("signals", learner.frontier_record(), key=b""))
        followed.settle()
        return [float(count) for count in known.signals.count[items]]

    assert told({}) == [1, 1]
    assert told({"purchase": 5.0}, whole=False) == [1, 1]
    assert told({"purchase": 5.0}) == [5, 5]
    assert known.signals.total == 10


def test_a_new_items_vector_is_made_from_its_content_by_the_release_that_uses_it() -> None:
    """What its signals bring may be another student's: the learner changes releases at its own time."""
    known, _ = world()
    followed, _ = following(known)
    release = known.live.release
    learner = Signals(known.signals.settings, known.catalogue)
    rng = np.random.default_rng(0)
    content = rng.normal(size=release.manifest.dims.content).astype(np.float32)
    number = known.catalogue.intern("new")
    foreign = rng.normal(size=release.vector_size).astype(np.float32)
    learner.set_vector(number, foreign, content)
    followed.on_signal(record("signals", learner.record(number), key=b"new"))
    np.testing.assert_array_equal(release.model.vectors[number], release.embed(content, ()))
    # Of two topics the one with the item's categories may come second.
    category = release.manifest.categories[0]
    followed.on_item(record("items", b'{"item_id":"new","categories":["%s"]}' % category.encode()))
    expected = release.embed(content, [category])
    np.testing.assert_array_equal(release.model.vectors[number], expected)
    assert not np.array_equal(expected, release.embed(content, ()))
    followed.settle()
    found, _ = known.live.index.search(with_bias(expected[None], np.zeros(1)) * 1000, 1)
    assert found[0, 0] == number


def test_content_of_a_release_that_is_not_served_is_not_taken_for_ours() -> None:
    known, _ = world()
    followed, _ = following(known)
    release = known.live.release
    learner = Signals(known.signals.settings, known.catalogue)
    content = np.ones(release.manifest.dims.content, np.float32)
    number = known.catalogue.intern("new")
    learner.set_vector(number, np.ones(release.vector_size, np.float32), content, "of another encoder")
    followed.on_signal(record("signals", learner.record(number), key=b"new"))
    assert not release.own[number]
    learner.set_vector(number, np.ones(release.vector_size, np.float32), content, release.space)
    followed.on_signal(record("signals", learner.record(number), key=b"new"))
    assert release.own[number]
    np.testing.assert_array_equal(release.model.vectors[number], release.embed(content, ()))


def test_a_broken_record_of_an_item_calls_for_its_last_good_one() -> None:
    known, _ = world()
    followed, told = following(known)
    tea = Item(item_id="tea", title="Tea", attributes={"brand": "Acme", "sizes": [1, 2.5]}, price=3.5)
    followed.on_item(record("items", encode(tea), key=b"tea", offset=0))
    followed.on_item(record("items", b'{"item_id":5.5}', key=b"tea", offset=1))
    followed.on_item(record("items", b"{", key=b"more-1", offset=2))  # of the release: nobody announced it
    followed.on_item(record("items", b"{", key=b"nobody", offset=3))
    followed.on_item(record("items", b"{", key=b"\xff", offset=4))
    followed.on_item(record("items", b"{", key=None, offset=5))
    assert [each.offset for each, _ in told.refused] == [1, 2, 3, 4, 5]
    good: dict[bytes, bytes | None] = {}
    for due in followed.last_good.due():
        with contextlib.suppress(Unknown):
            good[due.key] = followed.last_good.value(due)
    assert set(good) == {b"tea"}
    assert decode_item(good[b"tea"]) == tea
    followed.on_item(record("items", good[b"tea"], key=b"tea", offset=6))
    assert b"tea" not in {due.key for due in followed.last_good.due()}


def test_a_withdrawn_item_stays_withdrawn_behind_a_broken_record() -> None:
    known, _ = world()
    followed, _ = following(known)
    followed.on_item(record("items", b'{"item_id":"tea"}', key=b"tea", offset=0))
    followed.on_item(record("items", None, key=b"tea", offset=1))
    followed.on_item(record("items", b"{", key=b"tea", offset=2))
    (due,) = followed.last_good.due()
    assert followed.last_good.value(due) is None


def test_an_item_that_came_meanwhile_is_not_overtaken_by_its_old_record() -> None:
    known, _ = world()
    followed, told = following(known)
    followed.on_item(record("items", b'{"item_id":"tea","price":1}', key=b"tea", offset=0))
    followed.on_item(record("items", b"{", key=b"tea", offset=1))
    (due,) = followed.last_good.due()
    old = followed.last_good.value(due)
    followed.on_item(record("items", None, key=b"tea", offset=2))
    late = record("items", old, key=b"tea", offset=3)
    late.headers = restoring(due)
    followed.on_item(late)
    assert not known.catalogue.available[known.catalogue.index["tea"]]
    assert len(told.refused) == 1
    (again,) = followed.last_good.due()
    assert followed.last_good.value(again) is None
