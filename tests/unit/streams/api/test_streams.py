"""Streams of a user's lists: the newest at once, then each as it is made, and nothing that grows."""

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from streams.api import stream_routes
from streams.api.lists import ListOut, Wanted, decode_out
from streams.api.parts import Parts
from streams.api.stream_routes import events
from streams.settings import load_settings
from streams.wire.contract import Request


def listed(
    parts: Parts,
    offset: int,
    scenario: str | None = None,
    user: str = "u1",
    request: str = "",
    length: int = 1,
) -> None:
    """A click of the user has made a list, or his request."""
    item = {"item_id": f"i{offset}", "score": 1.0, "source": "ann", "reason": {"kind": "popular"}}
    trigger = {"kind": "request", "id": request} if request else {"kind": "click", "id": f"e{offset}"}
    value = {
        "recommendation_id": f"{'r' if request else 'c'}-0-{offset}", "user_id": user,
        "items": [item | {"item_id": f"i{offset + n}"} for n in range(length)], "release": "r",
        "trigger": trigger | {"timestamp": 1}, "policy": "default",
        "scenario": scenario, "created_at": 1, "rules": None,
    }  # fmt: skip
    parts.lists.on_record(
        SimpleNamespace(value=msgspec.json.encode(value), timestamp=int(time.time() * 1000), offset=offset)
    )


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return Parts(load_settings(prefix="t.", data_dir=tmp_path, timeout_ms=20))


def opened(parts: Parts, last: str = "", scenario: str | None = None, fields: list[str] | None = None) -> Any:
    request = Request(request_id="-", user_id="u1", scenario=scenario)
    return events(parts, Wanted(request=request, max_age_ms=60_000, timeout_ms=20), last, fields or [])


async def following(stream: Any) -> str:
    """The next event's id, or its text where it has none."""
    text = (await asyncio.wait_for(anext(stream), 10)).decode()
    found = [line.removeprefix("id: ") for line in text.splitlines() if line.startswith("id: ")]
    return found[0] if found else text


def test_the_newest_at_once_and_then_each_of_its_scenario(parts: Parts) -> None:
    async def run() -> None:
        listed(parts, 3)
        listed(parts, 4)
        stream = opened(parts)
        assert "retry" in await following(stream)
        assert await following(stream) == "c-0-4"
        waits = asyncio.create_task(following(stream))
        await asyncio.sleep(0)
        listed(parts, 5, scenario="cart")
        listed(parts, 6, user="u2")
        listed(parts, 7)
        assert await waits == "c-0-7"
        await stream.aclose()
        assert parts.slots == set()

    asyncio.run(run())


def test_who_asks_for_more_items_than_lists_have_gets_lists_made_for_it(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        asked: list[int] = []

        async def get(wanted: Wanted) -> ListOut:
            asked.append(wanted.request.k or 0)
            newest = parts.lists.newest("u1", None)
            assert newest is not None
            return msgspec.structs.replace(decode_out(newest.value), recommendation_id=f"r-0-{len(asked)}")

        monkeypatch.setattr(parts.lists, "get", get)
        listed(parts, 3)
        more = parts.settings.k + 1
        request = Request(request_id="-", user_id="u1", k=more)
        stream = events(parts, Wanted(request=request, max_age_ms=60_000, timeout_ms=20), "", [])
        assert "retry" in await following(stream)
        assert await following(stream) == "r-0-1"
        listed(parts, 4)
        assert (await following(stream), asked) == ("r-0-2", [more, more])
        await stream.aclose()

    asyncio.run(run())


def test_two_streams_that_ask_for_more_than_there_is_come_to_rest(parts: Parts) -> None:
    """Each hears the answer to the other, which is shorter than what it asked for, as there is no more."""

    async def run() -> None:
        asked: list[str] = []

        class Worker:
            partitions = 1

            async def send(self, topic: str, key: bytes, value: bytes) -> tuple[int, int]:
                asked.append(name := msgspec.json.decode(value)["request_id"])
                offset = 10 + len(asked)
                if len(asked) < 50:
                    asyncio.get_running_loop().call_later(
                        0.002, lambda: listed(parts, offset, request=name, length=5)
                    )
                return 0, offset

        parts.lists.asking.brokers = Worker()  # type: ignore[assignment]
        request = Request(request_id="-", user_id="u1", k=parts.settings.k + 1)
        wanted = Wanted(request=request, max_age_ms=60_000, timeout_ms=5_000)
        heard: list[list[str]] = [[], []]

        async def hear(names: list[str]) -> None:
            async for event in events(parts, wanted, "", []):
                names += [line for line in event.decode().splitlines() if line.startswith("id: ")]

        streams = [asyncio.create_task(hear(names)) for names in heard]
        async with asyncio.timeout(90):
            while not all(heard):
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        assert len(asked) == 2  # each when it was opened
        listed(parts, 70, length=3)
        async with asyncio.timeout(90):
            while len(asked) < 4:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        assert len(asked) == 4  # and once for the click
        before = [len(names) for names in heard]
        listed(parts, 90, request="api-list-70-short", length=4)
        await asyncio.sleep(0.05)
        assert [len(names) for names in heard] == before
        for each in streams:
            each.cancel()
        await asyncio.gather(*streams, return_exceptions=True)

    asyncio.run(run())


def test_comments_come_while_lists_do(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        monkeypatch.setattr(stream_routes, "COMMENT_SECONDS", 0.1)
        listed(parts, 0)
        stream = opened(parts)
        found = []
        for offset in range(1, 50):
            found.append(await following(stream))
            listed(parts, offset)
            await asyncio.sleep(0.01)
        assert any("still here" in each for each in found)
        assert sum(each.startswith("c-0-") for each in found) > 5
        await stream.aclose()

    asyncio.run(run())


def test_whose_key_is_gone_gets_no_more(parts: Parts) -> None:
    async def run() -> None:
        listed(parts, 3)
        held = [True]
        request = Request(request_id="-", user_id="u1")
        wanted = Wanted(request=request, max_age_ms=60_000, timeout_ms=20)
        stream = events(parts, wanted, "", [], lambda: held[0])
        assert "retry" in await following(stream)
        assert await following(stream) == "c-0-3"
        held[0] = False
        listed(parts, 4)
        with pytest.raises(StopAsyncIteration):
            await following(stream)
        assert parts.slots == set()

    asyncio.run(run())


def test_a_slow_client_gets_the_newest_alone(parts: Parts) -> None:
    async def run() -> None:
        stream = opened(parts)
        await following(stream)
        waits = asyncio.create_task(following(stream))
        await asyncio.sleep(0.1)
        for offset in range(100):
            listed(parts, offset)
        assert await waits == "c-0-99"
        waits = asyncio.create_task(following(stream))
        await asyncio.sleep(0)
        listed(parts, 100)
        assert await waits == "c-0-100"
        await stream.aclose()

    asyncio.run(run())


def test_who_comes_back_gets_the_newest_once(parts: Parts) -> None:
    async def run() -> None:
        listed(parts, 3)
        for last, expected in (("c-0-3", "c-0-9"), ("c-0-1", "c-0-9")):
            if last == "c-0-1":
                listed(parts, 9)
            stream = opened(parts, last)
            await following(stream)
            waits = asyncio.create_task(following(stream))
            await asyncio.sleep(0)
            if last == "c-0-3":
                listed(parts, 9)
            assert await waits == expected
            await stream.aclose()

    asyncio.run(run())


def test_comments_while_nothing_happens_and_an_end_with_the_server(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_routes, "COMMENT_SECONDS", 0.02)

    async def run() -> None:
        listed(parts, 3)
        stream = opened(parts, "c-0-3")
        await following(stream)
        assert [await following(stream) for _ in range(2)] == [": still here\n\n"] * 2
        monkeypatch.setattr(stream_routes, "COMMENT_SECONDS", 60)
        waits = asyncio.create_task(following(stream))
        await asyncio.sleep(0)
        parts.close_streams()
        with pytest.raises(StopAsyncIteration):
            await waits

    asyncio.run(run())


def test_fields_come_from_the_catalogue(parts: Parts) -> None:
    async def run() -> None:
        item = b'{"item_id":"i3","title":"Tea","price":3.5,"attributes":{"brand":"Acme"}}'
        parts._on_item(SimpleNamespace(key=b"i3", value=item, offset=0))
        listed(parts, 3)
        stream = opened(parts, fields=["title", "brand", "price", "tags"])
        await following(stream)
        text = (await anext(stream)).decode().partition("data: ")[2]
        told = msgspec.json.decode(text.strip())
        assert told["items"][0]["fields"] == {"title": "Tea", "brand": "Acme", "price": 3.5}
        await stream.aclose()

    asyncio.run(run())
