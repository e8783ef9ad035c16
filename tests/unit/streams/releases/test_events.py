"""Events: one form for what is decided and what happens, and a log that stays small and whole."""

from pathlib import Path

import pytest

from streams.releases import events
from streams.releases.events import Event, EventLog, folder_of, of_record, told
from streams.releases.roles import DRIFTED, PINNED, REPLACED, changed
from streams.settings import Settings
from streams.transport.topic_reader import TopicMissing
from streams.wire.contract import ReleaseRecord

RECORD = ReleaseRecord(
    release="r-1", url="/r-1", sha256="0", role="candidate", at=5, decision="trained", reason="10 new clicks",
    evidence={"clicks": 10},
)  # fmt: skip


def test_every_decision_is_an_event() -> None:
    assert of_record(RECORD) == Event(
        at=5, kind="entered", release="r-1", reason="10 new clicks",
        evidence={"role": "candidate", "decision": "trained", "clicks": 10},
    )  # fmt: skip
    kinds = {
        decision: of_record(changed(RECORD, "live", 6, decision, "")).kind
        for decision in ("passed", "refused", "promoted", "rolled_back", "failed", DRIFTED, PINNED, REPLACED)
    }
    assert list(kinds.values()) == [
        "gate", "gate", "decided", "decided", "failed", "drift", "pin", "replaced",
    ]  # fmt: skip
    assert of_record(changed(RECORD, "live", 6, "promoted", "")).reason == "promoted live"


def test_a_log_tells_each_event_once_whoever_reads_again(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    for _ in range(2):  # a learner that starts again reads the topic again
        log = EventLog(folder_of(settings), "learner")
        log.append(of_record(RECORD))
        log.append(of_record(changed(RECORD, "canary", 7, "passed", "as good")))
    for slot in (0, 1):
        swap = Event(at=6, kind="swap", release="r-1", reason="instead of r-0", evidence={"slot": slot})
        EventLog(folder_of(settings), f"worker-{slot}").append(swap)
    lines = (folder_of(settings) / "learner.jsonl").read_bytes().splitlines()
    assert len(lines) == 2


def test_the_topic_and_the_logs_are_told_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(data_dir=tmp_path)
    log = EventLog(folder_of(settings), "learner")
    log.append(of_record(RECORD))  # which compaction has taken out of the topic
    passed = changed(RECORD, "canary", 9, "passed", "as good")
    log.append(of_record(passed))
    for slot in (0, 1):
        swap = Event(at=7, kind="swap", release="r-1", evidence={"slot": slot})
        EventLog(folder_of(settings), f"worker-{slot}").append(swap)
    promoted = changed(RECORD, "live", 11, "promoted", "")
    monkeypatch.setattr(events, "records", lambda _: iter([passed, promoted]))
    found = told(settings)
    assert [event.at for event in found] == [5, 7, 7, 9, 11]
    assert [event.kind for event in found] == ["entered", "swap", "swap", "gate", "decided"]

    def missing(_: Settings) -> None:
        raise TopicMissing("releases")

    monkeypatch.setattr(events, "records", missing)
    assert len(told(settings)) == 4


def test_a_line_cut_short_is_lost_and_no_other(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    folder = folder_of(settings)
    EventLog(folder, "learner").append(Event(at=1, kind="drift", release="r"))
    with (folder / "learner.jsonl").open("ab") as file:
        file.write(b'{"at":2,"kind":"dri')
    EventLog(folder, "learner").append(Event(at=3, kind="drift", release="r"))
    assert [event.at for event in events._read(folder.glob("*.jsonl"))] == [1, 3]


def test_a_log_stays_small_and_keeps_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MOST_BYTES", 2000)
    log = EventLog(tmp_path, "learner")
    for at in range(200):
        log.append(Event(at=at, kind="swap", release="r"))
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 4100
    kept = sorted(event.at for event in events._read(tmp_path.glob("*.jsonl")))
    assert kept == list(range(kept[0], 200))
    assert len(kept) > 30
    log.append(Event(at=199, kind="swap", release="r"))  # known, also after a change of files
    assert len(list(events._read(tmp_path.glob("*.jsonl")))) == len(kept)


def test_a_full_disk_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = EventLog(tmp_path, "worker-0")

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(EventLog, "_write", full)
        log.append(Event(at=1, kind="swap", release="r"))
    log.append(Event(at=2, kind="swap", release="r"))
    assert [event.at for event in events._read(tmp_path.glob("*.jsonl"))] == [2]


def test_a_log_that_cannot_be_opened_stops_no_start_and_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "events").write_text("a file where the folder should be")
    log = EventLog(tmp_path / "events", "worker-0")
    event = Event(at=1, kind="swap", release="r-1")
    log.append(event)
    (tmp_path / "events").unlink()
    log.append(Event(at=2, kind="swap", release="r-2"))
    assert "r-2" in (tmp_path / "events" / "worker-0.jsonl").read_text()
