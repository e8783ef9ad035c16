"""What one worker says for all, and what it keeps until it may: bad records, decisions, events of its own."""

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import ConsumerRecord

from streams.releases.events import Event, folder_of, told
from streams.releases.roles import Roles, take_back
from streams.runtime.repeated import Repeated
from streams.settings import Settings
from streams.transport.delivery import Outgoing
from streams.transport.last_good import LastGood
from streams.wire.contract import ReleaseRecord
from streams.worker import reports as module
from streams.worker.reports import Reports

BAD = Repeated("bad record", "")


class Sent:
    """Stands for an assignment of `partitions`; keeps what is sent."""

    def __init__(self, *partitions: int) -> None:
        self.partitions = frozenset(partitions)
        self.delivery = SimpleNamespace(send=self._records)
        self.letters = SimpleNamespace(send=self._letter)
        self.released: list[bytes | None] = []
        self.refused: list[tuple[str, int, str]] = []
        self.restored: list[tuple[bytes | None, bytes | None, Any]] = []
        self.order: list[str] = []

    async def _records(self, topic: str, records: list[Outgoing]) -> list[Any]:
        if topic == "p.items":
            self.order.append("record")
            self.restored += [(record.key, record.value, record.headers) for record in records]
            return [_done()]
        assert topic == "p.releases"
        self.released += [record.key for record in records]
        return [_done()]

    async def _letter(self, record: ConsumerRecord, error: str, _: int) -> list[Any]:
        self.order.append("letter")
        self.refused.append((record.topic, record.offset, error))
        return [_done()]


def _done() -> "asyncio.Future[None]":
    future = asyncio.get_running_loop().create_future()
    future.set_result(None)
    return future


def bad(offset: int, at_ms: int | None = None) -> ConsumerRecord:
    at = int(time.time() * 1000) if at_ms is None else at_ms
    return ConsumerRecord("p.items", 0, offset, at, 0, b"i", b"{", None, 0, 1, ())


@pytest.fixture
def asked() -> list[int]:
    return []


@pytest.fixture
def reports(tmp_path: Path, asked: list[int]) -> Reports:
    return Reports(Settings(prefix="p.", data_dir=tmp_path), 3, lambda: asked.append(len(asked)), BAD)


def send(reports: Reports, to: Sent, roles: Roles | None = None) -> None:
    asyncio.run(reports.send(to, roles or Roles()))  # type: ignore[arg-type]


def test_bad_records_are_said_by_the_owner_of_partition_0_alone(reports: Reports, asked: list[int]) -> None:
    reports.refuse(bad(4), "no JSON")
    assert len(asked) == len(reports) == 1
    other, first = Sent(1, 2), Sent(0, 1)
    send(reports, other)
    assert (other.refused, len(reports)) == ([], 1)  # the partition may come to this worker
    send(reports, first)
    assert (first.refused, len(reports)) == ([("p.items", 4, "no JSON")], 0)
    send(reports, first)
    assert len(first.refused) == 1


def test_good_records_are_written_again_by_the_owner_of_partition_0_behind_the_letters(
    reports: Reports,
) -> None:
    items = LastGood("p.items", lambda key: b"good " + key)
    reports.restore(items)
    reports.refuse(bad(4), "no JSON")
    items.broke(bad(4))
    assert len(reports) == 2
    other, first = Sent(1, 2), Sent(0, 1)
    send(reports, other)
    assert (other.restored, len(reports)) == ([], 2)
    send(reports, first)
    assert (first.restored, len(reports)) == ([(b"i", b"good i", [("restores", b"4")])], 0)
    assert first.order == ["letter", "record"]
    send(reports, first)
    assert len(first.restored) == 1


def test_records_older_than_letters_are_kept_are_not_said(reports: Reports) -> None:
    reports.refuse(bad(4, at_ms=1), "no JSON")
    assert len(reports) == 0


def test_decisions_wait_for_their_turn(reports: Reports, asked: list[int]) -> None:
    roles = Roles([ReleaseRecord(release=name, url="", sha256="", role="live", at=1) for name in "ab"])
    taken = take_back(roles, "b", at=2, reason="it fails", role="quarantined", decision="failed")
    reports.decide(taken, shared=True)
    assert len(asked) == len(reports) == 1
    other, first = Sent(1), Sent(0)
    send(reports, other, roles)
    assert (other.released, len(reports)) == ([], 1)
    send(reports, first, roles)
    assert first.released == [record.release.encode() for record in taken]
    reports.decide(taken, shared=False)  # this worker's alone: whoever it is says it
    send(reports, other, roles)
    assert other.released == first.released


def test_what_happens_to_this_worker_is_noted_with_its_slot(
    reports: Reports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports.note(Event(at=5, kind="swap", release="r-1", evidence={"from": "r-0"}))
    assert [path.name for path in folder_of(Settings(prefix="p.", data_dir=tmp_path)).iterdir()] == [
        "worker-3.jsonl"
    ]
    monkeypatch.setattr("streams.releases.events.records", lambda _: [])
    (event,) = told(Settings(prefix="p.", data_dir=tmp_path))
    assert (event.kind, event.release) == ("swap", "r-1")
    assert event.evidence == {"slot": 3, "from": "r-0"}


def test_letters_are_kept_as_long_as_their_topic_keeps_them(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    reports = Reports(settings, 0, lambda: None, BAD)
    age_ms = int(settings.retention_days * module.DAY_MS)
    now_ms = int(time.time() * 1000)
    reports.refuse(bad(1, now_ms - age_ms - 60_000), "old")
    reports.refuse(bad(2, now_ms - age_ms + 60_000), "young enough")
    assert len(reports) == 1
