"""What a worker knows: bad releases are refused, and no part of it fails in silence."""

import asyncio
from typing import Any

import pytest
from mode import Service

from streams.transport import feeds
from tests.worlds.knowing import Reader, knowing, record


def test_bad_releases_are_refused_and_have_no_role() -> None:
    knowledge, told = knowing(Service())
    share = b'{"release":"r","url":"/r","sha256":"0","role":"canary","at":1,"evidence":{"share":"much"}}'
    knowledge._on_release(record("releases", share))
    knowledge._on_release(record("releases", b" " * 65_537))
    assert len(told.refused) == 2
    assert all(error for _, error in told.refused)
    assert not knowledge.releases.roles.records


def test_after_the_stop_nothing_is_read_and_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        service = Service()
        knowledge, _ = knowing(service)
        reader = Reader("nextclick.items", [])
        monkeypatch.setattr(feeds, "new_reader", lambda *_, **__: reader)
        feed = await knowledge._follow("nextclick.items", lambda _: None)
        knowledge._spawn(asyncio.sleep(600))
        await feed.caught_up.wait()
        await knowledge.stop()
        assert all(task.cancelled() for task in knowledge._tasks)
        assert reader.stopped
        assert not service.crashed

    asyncio.run(test())


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
        serving: Any = None
        monkeypatch.setattr(knowledge.releases, "_take_roles", fail)
        knowledge._spawn(knowledge.releases.run(serving))
    async with asyncio.timeout(90):
        while not service.crashed:
            await asyncio.sleep(0.01)
    assert isinstance(service.crash_reason, ZeroDivisionError)
    await knowledge.stop()
