"""What a worker knows: bad records are refused and leave no trace, and no part of it fails in silence."""

import asyncio
from typing import Any

import numpy as np
import pytest
from mode import Service

from indexer.item_index import with_bias
from learner.data.times import DAY_MS
from learner.release.live import ReleaseError
from learner.signals.state import Signals
from streams.hot_path.live import Live
from streams.hot_path.serving import Serving
from streams.hot_path.world import World
from streams.transport import feeds
from streams.wire.contract import ReleaseRecord
from streams.worker.expiry import Expiry
from tests.worlds.knowing import Reader, knowing, record
from tests.worlds.rounds import world


def test_bad_items_and_releases_are_refused_and_leave_no_trace() -> None:
    knowledge, refused = knowing(Service())
    bad = [
        record("items", b'{"item_id":"i","attributes":{"n":18446744073709551616}}'),
        record("items", b'{"item_id":"i","published_at":%d}' % 10**25),
        record("items", None, key=b"\xff"),
    ]
    for each in bad:
        knowledge._on_item(each)
    share = b'{"release":"r","url":"/r","sha256":"0","role":"canary","at":1,"evidence":{"share":"much"}}'
    knowledge._on_release(record("releases", share))
    knowledge._on_release(record("releases", b" " * 65_537))
    assert [each for each, _ in refused[:3]] == bad
    assert len(refused) == 5
    assert all(error for _, error in refused)
    assert knowledge.catalogue.size == 0
    assert knowledge.roles.canary is None


def test_idle_items_leave_the_index_and_signals_of_a_click_bring_them_back() -> None:
    known, _ = world()
    knowledge, _ = knowing(Service())
    knowledge.catalogue = known.catalogue
    knowledge.serving = Serving(known, lambda *_: None)
    knowledge._expiry = Expiry(10, known.catalogue, known.signals)
    clicks = Signals(known.signals.settings, known.catalogue)  # the learner's

    def told(item_id: str, day: float) -> int:
        number = known.catalogue.intern(item_id)
        clicks.learn(number, int(1_700_000_000_000 + day * DAY_MS), 1, 0.0, np.zeros(0, np.int32))
        knowledge._on_signal(record("signals", clicks.record(number), key=item_id.encode()))
        knowledge._settle()
        return number

    old, young = told("more-1", 0), told("more-2", 11)
    knowledge._expire()
    assert known.live.index.holds([old, young]).tolist() == [False, True]
    assert known.catalogue.expired.sum() == 1
    told("more-2", 12)
    assert not known.live.index.holds([old]).any()
    told("more-1", 12)
    assert known.live.index.holds([old]).all()
    assert not known.catalogue.expired.any()


def test_a_new_items_vector_is_made_from_its_content_by_the_release_that_uses_it() -> None:
    """What its signals bring may be another student's: the learner changes releases at its own time."""
    known, _ = world()
    knowledge, _ = knowing(Service())
    knowledge.catalogue = known.catalogue
    known.signals.on_vector = knowledge._on_vector
    release = known.live.release
    knowledge.serving = Serving(known, lambda *_: None)
    knowledge._expiry = Expiry(10, known.catalogue, known.signals)
    learner = Signals(known.signals.settings, known.catalogue)
    rng = np.random.default_rng(0)
    content = rng.normal(size=release.manifest.dims.content).astype(np.float32)
    number = known.catalogue.intern("new")
    foreign = rng.normal(size=release.vector_size).astype(np.float32)
    learner.set_vector(number, foreign, content)
    knowledge._on_signal(record("signals", learner.record(number), key=b"new"))
    np.testing.assert_array_equal(release.model.vectors[number], release.embed(content, ()))
    # Of two topics the one with the item's categories may come second.
    category = release.manifest.categories[0]
    knowledge._on_item(record("items", b'{"item_id":"new","categories":["%s"]}' % category.encode()))
    expected = release.embed(content, [category])
    np.testing.assert_array_equal(release.model.vectors[number], expected)
    assert not np.array_equal(expected, release.embed(content, ()))
    knowledge._settle()
    found, _ = known.live.index.search(with_bias(expected[None], np.zeros(1)) * 1000, 1)
    assert found[0, 0] == number


@pytest.mark.parametrize("suspect", ["", "another", "the live one"])
def test_where_this_worker_failed_under_the_live_release_the_one_before_is_kept_ready(suspect: str) -> None:
    known, _ = world()
    live = known.live.release.id
    knowledge, _ = knowing(Service(), suspect=live if suspect == "the live one" else suspect)
    knowledge.catalogue = known.catalogue
    knowledge.serving = Serving(known, lambda *_: None)
    for name in ("r-gone", "r-before", "r-damaged", live):
        knowledge.roles.apply(ReleaseRecord(release=name, url="/r", sha256="", role="live", at=1))
    asked, spare = [], Live(known.live.release, known.catalogue)

    class Loads:
        async def load(self, record: ReleaseRecord, _: World) -> Live:
            asked.append(record.release)
            if record.release == "r-damaged":
                raise ReleaseError("damaged")
            return spare

        def finish(self, *_: Any) -> None: ...

    knowledge._loader = Loads()  # type: ignore[assignment]
    asyncio.run(knowledge._keep_a_way_back(knowledge.serving))
    if suspect == "the live one":
        assert asked == ["r-damaged", "r-before"]
        assert knowledge.serving.before is spare
    else:
        assert asked == []
        assert knowledge.serving.before is None


@pytest.mark.parametrize("part", ["a feed", "a task"])
def test_what_fails_crashes_the_worker(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(_fail(part, monkeypatch))


async def _fail(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service()
    knowledge, _ = knowing(service)

    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    if part == "a feed":
        reader = Reader("nextclick.items", [record("nextclick.items", b"{}")])
        monkeypatch.setattr(feeds, "new_reader", lambda *_, **__: reader)
        await knowledge._follow("nextclick.items", fail)
    else:
        monkeypatch.setattr(knowledge, "_take_roles", fail)
        knowledge._announced.set()
        knowledge._spawn(knowledge._follow_releases())
    async with asyncio.timeout(5):
        while not service.crashed:
            await asyncio.sleep(0.01)
    assert isinstance(service.crash_reason, ZeroDivisionError)
    await knowledge.stop()
