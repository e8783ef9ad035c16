"""One log of all parts: readable, bounded, and with the reason of an end."""

import os
import time
from pathlib import Path

import pytest

from streams.up import journal as journals
from streams.up.journal import Journal


def test_each_line_has_its_time_and_its_part(tmp_path: Path) -> None:
    heard: list[tuple[str, str]] = []
    journal = Journal(tmp_path / "up" / "up.log", lambda name, line: heard.append((name, line)))
    reader, writer = os.pipe()
    journal.follow("worker", os.fdopen(reader, "rb"))
    os.write(writer, "\x1b[32mready\x1b[0m  caf\u00e9\n\nhalf".encode() + b"\xff")
    os.close(writer)
    end = time.monotonic() + 90
    while len(heard) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    assert heard == [("worker", "ready  caf\u00e9"), ("worker", "half\ufffd")]
    journal.close()
    first, second = journal.file.read_text().splitlines()
    assert first[:4].isdigit()
    assert first.endswith(" worker    ready  caf\u00e9")
    assert second.endswith("half\ufffd")


def test_it_stays_within_its_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "MOST_BYTES", 10_000)
    journal = Journal(tmp_path / "up.log")
    for number in range(5_000):
        journal.note("api", f"line {number}")
    journal.close()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["up.log", "up.log.1", "up.log.2", "up.log.3"]
    assert all(file.stat().st_size <= 10_000 for file in files)
    assert "line 4999" in (tmp_path / "up.log").read_text()


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (["begins", "error: port 8080 is taken", "bye"], "port 8080 is taken"),
        (["[error    ] ended  error=Fenced", "worker stopped"], "[error    ] ended  error=Fenced"),
        (["Traceback (most recent call last):", '  File "x"', "ValueError: no"], "ValueError: no"),
        (["begins", "ends"], "ends"),
        ([], "it said nothing"),
    ],
)  # fmt: skip
def test_why_a_part_ended(tmp_path: Path, said: list[str], why: str) -> None:
    journal = Journal(tmp_path / "up.log")
    for line in said:
        journal.note("worker", line)
    assert journal.why("worker") == why
    journal.forget("worker")
    assert journal.why("worker") == "it said nothing"


def test_a_log_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    heard: list[str] = []
    journal = Journal(tmp_path / "up.log", lambda _, line: heard.append(line))
    for handler in journal._log.handlers:
        handler.stream.close()  # type: ignore[attr-defined]
        handler.stream = Path("/dev/full").open("w")  # type: ignore[attr-defined]  # noqa: SIM115
    journal.note("worker", "goes on")
    assert heard == ["goes on"]
