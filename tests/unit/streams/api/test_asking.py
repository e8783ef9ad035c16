"""Workers that have not read what this process has, or are ahead of it: what is asked again."""

import asyncio
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from streams.api import asking
from streams.api.lists import ListOut, Lists, Wanted
from streams.api.steering import Steering
from streams.settings import Settings
from streams.wire.contract import Request

Worker = Callable[[int, dict[str, Any]], dict[str, Any] | None]


class Loop:
    """A broker and a worker: `worker(n, request)` is what the answer to the nth has; None: none comes."""

    partitions = 1

    def __init__(self, worker: Worker, seconds: float = 0.0, **settings: Any) -> None:
        self.lists = Lists(Settings(**settings), Steering("scenarios"))
        self.lists.asking.brokers = self  # type: ignore[assignment]
        self.worker, self.seconds = worker, seconds
        self.left_ms: list[float] = []  # of each request's time, when it was sent

    async def send(self, topic: str, key: bytes, value: bytes | None) -> tuple[int, int]:
        asked = msgspec.json.decode(value or b"")
        self.left_ms.append(asked["expires_at"] - time.time() * 1000)
        number = len(self.left_ms)
        found = self.worker(number, asked)
        if found is not None:
            asyncio.get_running_loop().call_later(self.seconds, self._answer, number, asked, found)
        return 0, number

    def _answer(self, number: int, asked: dict[str, Any], found: dict[str, Any]) -> None:
        value = {
            "recommendation_id": f"r-0-{number}", "release": "r", "policy": "p", "created_at": 1,
            "trigger": {"kind": "request", "id": asked["request_id"], "timestamp": 1},
        } | found  # fmt: skip
        value["items"] = [
            {"item_id": each, "score": 1.0, "source": "ann", "reason": {"kind": "popular"}}
            for each in found["items"]
        ]
        if "user_id" in asked:
            value["user_id"] = asked["user_id"]
        self.lists.on_record(
            SimpleNamespace(
                value=msgspec.json.encode(value), timestamp=int(time.time() * 1000), offset=number
            )
        )

    def rule(self, offset: int, **rules: Any) -> None:
        value = msgspec.json.encode(rules)
        self.lists.steering.on_scenario(
            SimpleNamespace(key=b"default", value=value, offset=offset, timestamp=1, partition=0, headers=())
        )

    async def get(self, timeout_ms: int = 5_000, **asked: Any) -> ListOut:
        request = Request(request_id="-", **asked)
        return await self.lists.get(Wanted(request=request, max_age_ms=60_000, timeout_ms=timeout_ms))


KINDS = [{"k": 3}, {"user_id": "u", "k": 3}, {"user_id": "u", "k": 3, "exclude": ["x"]}]
kinds = pytest.mark.parametrize("kind", KINDS, ids=["stranger", "user", "own"])


@kinds
def test_a_late_answer_goes_out_where_another_one_does_not_come(
    kind: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "_LAG_SECONDS", 0.3)
    loop = Loop(lambda n, _: {"items": ("a", "b", "c", "d")} if n == 1 else None)
    loop.lists.steering.withdrawn.add("a")

    async def run() -> None:
        out = await loop.get(timeout_ms=1_500, **kind)
        assert (out.served, [each.item_id for each in out.items]) == ("computed", ["b", "c", "d"])
        assert len(loop.left_ms) == 2

    asyncio.run(run())


@kinds
def test_nothing_is_asked_when_there_is_no_time_for_it(
    kind: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "_LAG_SECONDS", 3)
    loop = Loop(lambda *_: {"items": ("a", "b", "c", "d")}, seconds=0.02)
    loop.lists.steering.withdrawn.add("a")

    async def run() -> None:
        assert (await loop.get(**kind)).served == "computed"
        assert len(loop.left_ms) == 1
        assert min(loop.left_ms) > 0

    asyncio.run(run())


def test_a_late_answer_that_knows_a_click_is_there_when_the_wait_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A read that lacks a click waits `wait_ms` for a list that knows it, then the old one goes out."""
    monkeypatch.setattr(asking, "_LAG_SECONDS", 0.3)
    loop = Loop(lambda n, _: {"items": tuple("abcdefghijklmnopqrstuvwxyz")} if n < 3 else None, wait_ms=2_000)

    async def run() -> None:
        await loop.get(user_id="u")
        loop.lists.steering.withdrawn.add("a")
        loop.lists.held.clicked("u", 7)
        out = await loop.get(timeout_ms=60_000, user_id="u")
        assert (out.served, out.behind, len(loop.left_ms)) == ("computed", msgspec.UNSET, 3)

    asyncio.run(run())


def test_a_worker_that_is_ahead_is_not_asked_again() -> None:
    loop = Loop(lambda *_: {"items": ("a", "b", "c"), "rules": 13})
    loop.rule(12, k=3)

    async def run() -> None:
        assert [(await loop.get()).served for _ in range(2)] == ["computed", "held"]
        assert [(await loop.get(user_id="u")).served for _ in range(2)] == ["computed", "held"]
        assert len(loop.left_ms) == 2

    asyncio.run(run())


def test_where_this_process_was_behind_it_reads_on_and_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop(lambda *_: {"items": ("a", "b", "c"), "rules": 13})
    monkeypatch.setattr(asking, "_LAG_SECONDS", 0.3)

    async def run() -> None:
        asyncio.get_running_loop().call_later(0.1, lambda: loop.rule(13, k=3))
        assert (await loop.get(user_id="u", exclude=["x"])).rules == 13
        assert len(loop.left_ms) == 1

    asyncio.run(run())


def test_what_was_asked_again_in_vain_is_not_asked_again_at_the_next_read() -> None:
    loop = Loop(lambda *_: {"items": ("a", "b", "c"), "rules": 3})
    loop.rule(4, k=3)

    async def run() -> None:
        for n in range(3):
            await loop.get(user_id=f"u{n}", exclude=["x"])
        assert len(loop.left_ms) == 1 + asking._TRIES + 2

    asyncio.run(run())


def test_a_shared_list_with_a_withdrawn_item_is_made_anew() -> None:
    loop = Loop(lambda *_: {"items": [each for each in "abcde" if each not in loop.lists.steering.withdrawn]})

    async def run() -> None:
        assert (await loop.get(k=4)).served == "computed"
        loop.lists.steering.withdrawn.add("b")
        out = await loop.get(k=4)
        assert (out.served, [each.item_id for each in out.items]) == ("computed", ["a", "c", "d", "e"])

    asyncio.run(run())


def test_a_list_goes_on_though_some_of_it_was_withdrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "_LAG_SECONDS", 3)
    loop = Loop(lambda *_: {"items": ("a", "b", "c")})
    loop.lists.steering.withdrawn.add("b")

    async def run() -> None:
        out = await loop.get(k=3)
        assert ([each.item_id for each in out.items], out.next is not None) == (["a", "c"], True)
        assert (await loop.get(k=4)).next is None

    asyncio.run(run())
