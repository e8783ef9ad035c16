"""What has changed is sent once, items before the frontier, and the frontier promises nothing unsent."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from learner.data.catalogue import Catalogue
from learner.data.events import Kind
from learner.signals.settings import SignalSettings
from learner.signals.state import Signals
from streams.learning.publisher import SignalsPublisher
from streams.transport.delivery import Outgoing

NOW = 1_700_000_000_000
NOBODY = np.zeros(0, np.int32)


class Sent:
    """A delivery that keeps what it is given; `held` acknowledges nothing before it is set."""

    def __init__(self, partitions: int = 4) -> None:
        self.parcels: list[list[str]] = []  # the keys of each call
        self.records: list[dict[str, Any]] = []
        self.held: asyncio.Event | None = None
        self.error: Exception | None = None
        self._partitions = partitions
        self._waiting: list[asyncio.Task[None]] = []

    async def partitions(self, _: str) -> int:
        return self._partitions

    async def send(self, topic: str, records: Sequence[Outgoing]) -> list[asyncio.Future[None]]:
        assert topic == "signals"
        self.parcels.append([(record.key or b"").decode() for record in records])
        self.records += [json.loads(record.value or b"") for record in records]
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(asyncio.create_task(self._acknowledge(future)))
        return [future]

    async def _acknowledge(self, future: "asyncio.Future[None]") -> None:
        if self.held is not None:
            await self.held.wait()
        if self.error is not None:
            future.set_exception(self.error)
        else:
            future.set_result(None)


def made(sent: Sent, items: int = 200, interval_ms: int = 0) -> tuple[Signals, SignalsPublisher]:
    catalogue = Catalogue()
    for number in range(items):
        catalogue.intern(f"i{number}")
    signals = Signals(SignalSettings(), catalogue)
    return signals, SignalsPublisher(signals, sent, "signals", interval_ms)  # type: ignore[arg-type]


def click(signals: Signals, item: int, offset: int) -> None:
    signals.learn(item, NOW + offset, Kind.CLICK, 0.0, NOBODY)
    signals.offsets[0] = offset


def test_changed_items_are_sent_and_then_the_frontier() -> None:
    sent = Sent()
    signals, publisher = made(sent)

    async def run() -> None:
        for offset in range(150):
            click(signals, offset % 100, offset)
        assert await publisher.publish() == 100
        click(signals, 7, 150)
        assert await publisher.publish() == 1
        assert await publisher.publish() == 0  # nothing new, nothing sent

    asyncio.run(run())
    assert sent.parcels == [
        [f"i{number}" for number in range(64)], [f"i{number}" for number in range(64, 100)], [""],
        ["i7"], [""],
    ]  # fmt: skip
    assert publisher.published == 101
    frontiers = [record for record in sent.records if record["item_id"] == ""]
    assert [record["offsets"] for record in frontiers] == [{"0": 149}, {"0": 150}]
    assert {record["item_id"]: record["count"] for record in sent.records[:100]} == {
        f"i{number}": 2 if number < 50 else 1 for number in range(100)
    }


def test_clicks_that_change_no_item_move_the_frontier() -> None:
    sent = Sent()
    signals, publisher = made(sent)

    async def run() -> None:
        signals.offsets[3] = 17  # an impression
        assert await publisher.publish() == 0

    asyncio.run(run())
    assert sent.parcels == [[""]]
    assert sent.records[0]["offsets"] == {"3": 17}


def test_in_one_partition_the_frontier_travels_behind_the_last_items() -> None:
    sent = Sent(partitions=1)
    signals, publisher = made(sent)

    async def run() -> None:
        for offset in range(70):
            click(signals, offset, offset)
        await publisher.publish()

    asyncio.run(run())
    assert [len(parcel) for parcel in sent.parcels if parcel] == [64, 7]
    assert sent.parcels[1][-1] == ""


def test_the_frontier_waits_for_the_items_acknowledgement_and_tells_of_no_later_click() -> None:
    sent = Sent()
    signals, publisher = made(sent)

    async def run() -> None:
        sent.held = asyncio.Event()
        click(signals, 1, 0)
        publishing = asyncio.create_task(publisher.publish())
        for _ in range(10):
            await asyncio.sleep(0)
        click(signals, 2, 1)  # while the first one is on its way
        assert sent.parcels == [["i1"]]
        assert publisher.published == 0
        sent.held.set()
        assert await publishing == 1
        assert sent.parcels == [["i1"], [""]]
        assert sent.records[-1]["offsets"] == {"0": 0}
        assert await publisher.publish() == 1
        assert sent.records[-1]["offsets"] == {"0": 1}

    asyncio.run(run())


def test_it_runs_when_something_has_changed_and_not_before() -> None:
    sent = Sent()
    signals, publisher = made(sent)

    async def run() -> None:
        running = asyncio.create_task(publisher.run())
        click(signals, 1, 0)
        for _ in range(10):
            await asyncio.sleep(0)
        assert sent.parcels == []
        publisher.changed()
        while publisher.published < 1:
            await asyncio.sleep(0)
        assert sent.parcels[0] == ["i1"]
        running.cancel()

    asyncio.run(run())


def test_what_was_under_way_when_it_was_cancelled_goes_out_before_the_next_frontier() -> None:
    """As at the learner's stop: the publishing is cancelled, and a last one follows."""
    sent = Sent()
    signals, publisher = made(sent)

    async def run() -> None:
        sent.held = asyncio.Event()
        for offset in range(70):
            click(signals, offset, offset)
        publishing = asyncio.create_task(publisher.publish())
        await asyncio.sleep(0)
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)
        click(signals, 199, 70)
        del sent.parcels[:]
        sent.held.set()
        await publisher.publish()

    asyncio.run(run())
    assert {key for parcel in sent.parcels[:-1] for key in parcel} == {
        *(f"i{number}" for number in range(70)), "i199",
    }  # fmt: skip
    assert sent.parcels[-1] == [""]
    assert publisher.published == 71


def test_a_publishing_that_was_held_up_earns_no_longer_pause() -> None:
    """5 s in which other threads held the interpreter used to be followed by 20 s without a record."""
    _, publisher = made(Sent(), interval_ms=200)

    async def run() -> None:
        async with asyncio.timeout(15):
            await publisher._pause(5.0, 0.001)

    asyncio.run(run())


def test_who_clicks_now_does_not_wait_for_the_pause_of_a_load() -> None:
    _, publisher = made(Sent(), interval_ms=1)

    async def run() -> None:
        pausing = asyncio.create_task(publisher._pause(1000.0, 1000.0))
        publisher.changed(old=True)
        for _ in range(5):
            await asyncio.sleep(0.001)
        assert not pausing.done()
        publisher.changed()
        async with asyncio.timeout(90):
            await pausing

    asyncio.run(run())


def test_what_sending_raises_ends_it() -> None:
    sent = Sent()
    signals, publisher = made(sent)

    async def run() -> None:
        sent.error = ConnectionResetError("the broker is gone")
        click(signals, 1, 0)
        publisher.changed()
        await publisher.run()

    with pytest.raises(ConnectionResetError, match="the broker is gone"):
        asyncio.run(run())
    assert publisher.published == 0
