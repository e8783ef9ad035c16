"""From roles to releases in memory, without Kafka: swaps, canaries, and what fails on its way."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from learner.release.bundle import ReleaseError
from streams.hot_path.live import Live
from streams.hot_path.serving import Serving
from streams.releases.roles import changed, promote, take_back
from streams.releases.store import StoreUnreachable
from streams.settings import load_settings
from streams.wire.contract import ReleaseRecord
from streams.worker import release_follower
from streams.worker.release_follower import ReleaseFollower
from tests.worlds.knowing import Told
from tests.worlds.rounds import world


def record(release: str, role: str, decision: str = "", **more: Any) -> ReleaseRecord:
    return ReleaseRecord(release=release, url="/r", sha256="", role=role, at=1, decision=decision, **more)  # type: ignore[arg-type]


class Loads:
    """Stands for `Loader`: every release is the same one under its own name, but for those that fail."""

    def __init__(self, like: Live) -> None:
        self.failures: dict[str, list[Exception]] = {}
        self.meanwhile: dict[str, Callable[[], None]] = {}  # happens once, while the release loads
        self.asked: list[str] = []
        self._like = like

    async def load(self, source: ReleaseRecord | str, _: Serving | None) -> Live:
        name = source if isinstance(source, str) else source.release
        self.asked.append(name)
        if self.failures.get(name):
            raise self.failures[name].pop(0)
        self.meanwhile.pop(name, lambda: None)()
        return named(self._like, name)

    def finish(self, live: Live, serving: Serving) -> None: ...


def named(live: Live, name: str) -> Live:
    made = Live.__new__(Live)
    made.__dict__.update(live.__dict__)
    release = type(live.release).__new__(type(live.release))
    release.__dict__.update(live.release.__dict__, id=name)
    made.release = release
    return made


class Bench:
    """A follower whose live release is r-1, and what comes of the records that it is told."""

    def __init__(self, suspect: str = "", **settings: Any) -> None:
        known, _ = world()
        known.live = named(known.live, "r-1")
        self.told, self.loads = Told(), Loads(known.live)
        loader: Any = self.loads
        self.follower = ReleaseFollower(
            load_settings(**settings), loader, asyncio.Lock(), self.told.decide, self.told.note, suspect
        )
        self.serving = Serving(known, self.follower.failed)
        self.follower.apply(record("r-1", "live", "first"))

    @property
    def live(self) -> str:
        return self.serving.world.live.release.id

    @property
    def canary(self) -> str:
        return "" if self.serving.canary is None else self.serving.canary.live.release.id

    def apply(self, records: Sequence[ReleaseRecord]) -> None:
        for each in records:
            self.follower.apply(each)

    def play(self, test: Callable[[], Awaitable[None]]) -> None:
        """Runs the test beside the follower."""

        async def both() -> None:
            following = asyncio.create_task(self.follower.run(self.serving))
            async with asyncio.timeout(90):
                await test()
            following.cancel()

        asyncio.run(both())

    async def until(self, what: Callable[[], object]) -> None:
        while not what():
            await asyncio.sleep(0.001)


def test_what_goes_live_answers_and_a_canary_becomes_live_without_another_load() -> None:
    bench = Bench()

    async def test() -> None:
        bench.follower.apply(record("r-2", "canary", "passed", evidence={"share": 0.25}))
        await bench.until(lambda: bench.canary == "r-2")
        assert (bench.live, bench.serving.share) == ("r-1", 0.25)
        bench.apply(promote(bench.follower.roles, "r-2", at=2, reason="better"))
        await bench.until(lambda: bench.live == "r-2")
        assert bench.canary == ""
        bench.follower.apply(record("r-3", "canary", "passed"))
        await bench.until(lambda: bench.canary == "r-3")
        bench.follower.apply(record("r-3", "retired", "rolled_back"))
        await bench.until(lambda: bench.canary == "")

    bench.play(test)
    assert bench.loads.asked == ["r-2", "r-3"]
    assert [(event.kind, event.release, event.reason) for event in bench.told.noted] == [
        ("canary", "r-2", "begins"), ("swap", "r-2", "instead of r-1"), ("canary", "r-3", "begins"),
        ("canary", "r-3", "ended"),
    ]  # fmt: skip
    assert bench.told.decided == []


def test_a_release_that_cannot_be_loaded_is_taken_back_by_all_and_tried_again_if_wanted() -> None:
    bench = Bench()
    bench.loads.failures["r-2"] = [ReleaseError("student.onnx is damaged")]

    async def test() -> None:
        bench.follower.apply(record("r-2", "live", "promoted"))
        bench.follower.apply(changed(bench.follower.roles.of("r-1"), "retired", 1, "replaced", ""))
        await bench.until(lambda: bench.told.decided)
        (records, shared), *_ = bench.told.decided
        assert shared
        assert [(each.release, each.role) for each in records] == [("r-1", "live"), ("r-2", "quarantined")]
        assert bench.live == "r-1"
        bench.apply(records)
        bench.follower.apply(record("r-2", "live", "promoted"))
        await bench.until(lambda: bench.live == "r-2")

    bench.play(test)
    assert bench.loads.asked == ["r-2", "r-2"]


def test_a_store_that_does_not_answer_is_waited_for_and_told_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release_follower, "RETRY_SECONDS", 0.001)
    bench = Bench()
    bench.loads.failures["r-2"] = [StoreUnreachable("does not answer")] * 2

    async def test() -> None:
        bench.follower.apply(record("r-2", "live", "promoted"))
        await bench.until(lambda: bench.live == "r-2")

    bench.play(test)
    assert [event.kind for event in bench.told.noted] == ["waiting", "swap"]
    assert bench.told.decided == []


def test_what_fails_at_work_is_this_workers_to_take_back_also_where_nothing_was_live_before() -> None:
    bench = Bench()
    bench.follower.failed("r-1", "not finite")
    ((records, shared),) = bench.told.decided
    assert not shared
    assert [(each.release, each.role, each.reason) for each in records] == [
        ("r-1", "quarantined", "not finite")
    ]
    bench.follower.failed("nobody-announced-me", "not finite")
    assert len(bench.told.decided) == 1


@pytest.mark.parametrize("given", [None, "/somewhere"])
def test_the_first_release_is_the_given_one_or_the_newest_sound_one(given: str | None) -> None:
    bench = Bench(release=given)
    bench.follower.apply(record("r-2", "live", "promoted"))
    bench.loads.failures["r-2"] = [ReleaseError("damaged")]
    first = asyncio.run(bench.follower.first())
    assert first.release.id == (given or "r-1")


@pytest.mark.parametrize("suspect", ["", "another", "the live one"])
def test_where_this_worker_failed_under_the_live_release_the_one_before_is_kept_ready(suspect: str) -> None:
    bench = Bench("r-1" if suspect == "the live one" else suspect)
    for name in ("r-gone", "r-before", "r-damaged", "r-1"):
        bench.follower.apply(record(name, "live"))
    bench.loads.failures["r-damaged"] = [ReleaseError("damaged")]
    asyncio.run(bench.follower.keep_a_way_back(bench.serving))
    before = bench.serving.before
    if suspect == "the live one":
        assert bench.loads.asked == ["r-damaged", "r-before"]
        assert before is not None
        assert before.release.id == "r-before"
    else:
        assert bench.loads.asked == []
        assert before is None


def test_a_release_that_is_taken_back_while_it_loads_never_goes_live() -> None:
    bench = Bench()

    async def test() -> None:
        bench.loads.meanwhile["r-2"] = lambda: bench.apply(
            take_back(bench.follower.roles, "r-2", at=3, reason="bad", role="quarantined", decision="failed")
        )
        bench.follower.apply(record("r-2", "live", "promoted"))
        await bench.until(lambda: "r-2" in bench.loads.asked)
        for _ in range(20):
            await asyncio.sleep(0)
        assert bench.live == "r-1"

    bench.play(test)
    assert bench.serving.swaps == 0
    assert bench.told.noted == []


def test_a_store_that_does_not_answer_is_no_damaged_release_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(release_follower, "RETRY_SECONDS", 0.001)
    bench = Bench()
    bench.loads.failures["r-1"] = [StoreUnreachable("does not answer")] * 3
    with capture_logs() as logs:
        assert asyncio.run(bench.follower.first()).release.id == "r-1"
    assert bench.loads.asked == 4 * ["r-1"]
    assert [(entry["log_level"], entry["release"]) for entry in logs] == [("warning", "r-1")]
    assert [event.kind for event in bench.told.noted] == ["waiting"]


def test_while_a_store_does_not_answer_a_release_before_begins_and_the_live_one_follows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(release_follower, "RETRY_SECONDS", 0.001)
    bench = Bench()
    bench.follower.apply(record("r-2", "live", "promoted"))
    bench.loads.failures["r-2"] = [StoreUnreachable("does not answer")] * 2
    assert asyncio.run(bench.follower.first()).release.id == "r-1"

    async def test() -> None:
        await bench.until(lambda: bench.live == "r-2")

    bench.play(test)
    assert bench.told.decided == []


def test_at_a_start_with_a_pinned_release_that_one_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release_follower, "RETRY_SECONDS", 0.001)
    bench = Bench(pin=True)
    bench.follower.apply(record("r-2", "live", "promoted"))
    bench.loads.failures["r-2"] = [StoreUnreachable("does not answer")] * 2
    assert asyncio.run(bench.follower.first()).release.id == "r-2"


def test_roles_that_change_while_a_store_is_waited_for_are_taken_up_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(release_follower, "RETRY_SECONDS", 1000.0)
    bench = Bench()
    bench.loads.failures["r-1"] = [StoreUnreachable("does not answer")] * 3

    async def test() -> None:
        beginning = asyncio.create_task(bench.follower.first())
        await bench.until(lambda: bench.loads.asked)
        bench.follower.apply(record("r-2", "live", "promoted"))
        async with asyncio.timeout(90):
            assert (await beginning).release.id == "r-2"

    asyncio.run(test())
