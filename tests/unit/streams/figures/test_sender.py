"""Figures go out once a second, and whatever happens to them happens to nothing else."""

import asyncio
import json
from typing import Any, ClassVar

import pytest
from aiokafka.errors import KafkaConnectionError
from structlog.testing import capture_logs

from streams.figures import sender
from streams.figures.record import Speaker
from streams.figures.registry import Figures
from streams.figures.sender import say_figures
from streams.settings import load_settings


class Producer:
    """Stands for aiokafka's: takes records, or fails as it is told to."""

    made: ClassVar[list["Producer"]] = []
    fail: ClassVar[dict[int, Exception]] = {}  # by the number of the producer
    silent: ClassVar[dict[int, float]] = {}  # seconds that the broker takes for each record

    def __init__(self, **_: Any) -> None:
        self.number = len(self.made)
        self.client = None
        self.sent: list[tuple[str, bytes, dict[str, Any]]] = []
        self.ended = False
        self.made.append(self)

    async def start(self) -> None:
        if self.number in self.fail:
            raise self.fail[self.number]

    async def send_and_wait(self, topic: str, key: bytes, value: bytes) -> None:
        await asyncio.sleep(self.silent.get(self.number, 0.0))
        self.sent.append((topic, key, json.loads(value)))

    async def stop(self) -> None:
        self.ended = True


@pytest.fixture
def producers(monkeypatch: pytest.MonkeyPatch) -> list[Producer]:
    monkeypatch.setattr(Producer, "made", [])
    monkeypatch.setattr(Producer, "fail", {})
    monkeypatch.setattr(Producer, "silent", {})
    monkeypatch.setattr(sender, "AIOKafkaProducer", Producer)
    monkeypatch.setattr(sender.clients, "follow_moves", lambda _client: None)
    return Producer.made


def said(speaker: Speaker, until: Any) -> list[Any]:
    """Speaks until something holds; returns what was logged."""

    async def run() -> None:
        saying = asyncio.create_task(say_figures(load_settings(prefix="p."), speaker, every_s=0.01))
        async with asyncio.timeout(30):
            while not until():
                await asyncio.sleep(0.005)
        assert not saying.done()
        saying.cancel()
        await asyncio.gather(saying, return_exceptions=True)

    with capture_logs() as logs:
        asyncio.run(run())
    return [line for line in logs if line["log_level"] != "debug"]


def test_records_go_to_the_topic_under_the_processs_key(producers: list[Producer]) -> None:
    assert (
        said(Speaker(Figures("learner"), "learner"), lambda: producers and len(producers[0].sent) >= 3) == []
    )
    assert {(topic, key) for topic, key, _ in producers[0].sent} == {("p.figures", b"learner")}
    assert [value["seq"] for *_, value in producers[0].sent[:3]] == [0, 1, 2]
    assert producers[0].ended


def test_a_broker_that_is_away_gets_what_is_said_when_it_is_back(producers: list[Producer]) -> None:
    Producer.fail = {0: KafkaConnectionError("away"), 1: OSError("no route")}
    assert said(Speaker(Figures("api"), "api"), lambda: len(producers) > 2 and producers[2].sent) == []
    assert all(each.ended for each in producers)


def test_a_broker_that_takes_and_does_not_answer_leaves_no_producer_behind(
    producers: list[Producer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "_PATIENCE_SECONDS", 0.05)
    Producer.silent = {0: 60.0, 1: 60.0}
    assert said(Speaker(Figures("api"), "api"), lambda: len(producers) > 2 and producers[2].sent) == []
    assert all(each.ended for each in producers)


def test_a_fault_of_the_figures_is_said_once_and_ends_nothing(producers: list[Producer]) -> None:
    Producer.fail = {0: RuntimeError("a fault"), 1: RuntimeError("again")}
    told = said(Speaker(Figures("api"), "api"), lambda: len(producers) > 2 and producers[2].sent)
    assert [line["error"] for line in told] == ["RuntimeError: a fault"]
