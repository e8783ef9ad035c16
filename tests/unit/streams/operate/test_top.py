"""The table of `nextclick top`: a line a process, sorted, with totals."""

from io import StringIO

import pytest
from rich.console import Console

from streams.figures.status import Process, Quantiles, Status
from streams.operate.top import SORTS, table

NOW_MS = 1_763_856_000_000


def process(key: str, kind: str = "worker", **more: object) -> Process:
    given: dict[str, object] = {
        "key": key, "process": kind, "host": "shop", "pid": 11, "started": NOW_MS - 90_000, "seq": 90,
        "version": "1", "release": "r-1", "partitions": [0, 1], "silent_ms": 400.0, "counters": {},
        "per_second": {}, "gauges": {}, "histograms": {},
    }  # fmt: skip
    return Process(**{**given, **more})  # type: ignore[arg-type]


def shown(status: Status, sort: str = "n") -> list[str]:
    out = StringIO()
    Console(file=out, width=250).print(table(status, sort))
    return [line.rstrip() for line in out.getvalue().splitlines() if line.strip()]


def system(*processes: Process) -> Status:
    return Status(
        at=NOW_MS, processes=list(processes), counters={}, per_second={"clicks": 30.5, "lists": 30},
        gauges={"lag_clicks": 12, "lag_ms": 1500, "process_resident_memory_bytes": 1.5e9},
        histograms={}, freshness_ms=Quantiles(5.25, 8, 250), remarks=[],
    )  # fmt: skip


BUSY = process(
    "m-1", per_second={"clicks": 30, "lists": 30}, freshness_ms=Quantiles(5, 6, 9),
    gauges={"lag_clicks": 2, "lag_ms": 20, "process_resident_memory_bytes": 400e6, "users": 81},
)  # fmt: skip
IDLE = process(
    "m-0", started=NOW_MS - 7_200_000, partitions=[2, 3, 4, 5, 6], per_second={"clicks": 0.5}, release=None,
    gauges={"lag_clicks": 10, "lag_ms": 1500, "process_resident_memory_bytes": 300e6},
)  # fmt: skip


def test_a_line_tells_what_a_process_does_now() -> None:
    head, first, second, total = shown(system(BUSY, IDLE))
    assert head.split()[:3] == ["process", "host:pid", "up"]
    assert "worker m-1" in first
    assert [word for word in ("shop:11", "2m", "r-1", "0,1", "30", "81", "400 MB") if word not in first] == []
    assert [word for word in ("2h", "–", "5 of them", "0.5", "1.5", "300 MB") if word not in second] == []
    assert [
        word for word in ("2 in all", "7", "30.5", "12", "5.2", "250", "1,500 MB") if word not in total
    ] == []


@pytest.mark.parametrize(
    ("key", "first"), [("r", "m-1"), ("l", "m-0"), ("f", "m-1"), ("m", "m-1"), ("a", "m-0"), ("n", "m-0")]
)
def test_lines_stand_in_the_order_asked_for(key: str, first: str) -> None:
    assert f"worker {first}" in shown(system(IDLE, BUSY), key)[1]


def test_every_key_names_an_order() -> None:
    assert len({word for word, _ in SORTS.values()}) == len(SORTS)
    assert "q" not in SORTS
