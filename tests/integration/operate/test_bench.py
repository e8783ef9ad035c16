"""`nextclick bench` against a running system: figures of every kind, and nothing lost in a swap."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.worlds.places import ROOT
from tests.worlds.system import System


def bench(system: System, kind: str, *flags: str) -> dict[str, object]:
    report = system.folder / f"{kind}.json"
    subprocess.run(
        [
            sys.executable, "-m", "streams", "bench", kind, "--bootstrap-servers", system.bootstrap,
            "--prefix", system.prefix, "--clock", "stream", "--data-dir", str(system.folder),
            "--report", str(report), *flags,
        ],
        check=True, cwd=ROOT, timeout=120,
    )  # fmt: skip
    return json.loads(Path(report).read_text())


@pytest.mark.drill
def test_what_is_measured_from_outside(system: System) -> None:
    system.start("learner", "--learn", "none")
    system.start("worker")
    for number in range(40):
        system.click(f"u{number % 9}", str(1 + number), 890_000_000_000 + 1000 * number)
    system.wait_for(lambda: len(system.lists()) == 40, "40 lists")
    found = bench(system, "freshness", "--samples", "3")
    assert set(found) == {
        "own_click_ms", "others_click_ms", "new_item_ms", "withdrawn_item_ms", "new_release_ms"
    }  # fmt: skip
    for times in found.values():
        assert isinstance(times, dict)
        assert 0 < times["p50"] <= times["p99"]
    swapped = bench(system, "swap", "--rate", "30", "--swaps", "2", "--every", "5")
    assert (swapped["lost"], swapped["mixed"], swapped["empty"], swapped["swaps"]) == (0, 0, 0, 2)
    assert all(megabytes > 50 for megabytes in swapped["rss_mb"])  # type: ignore[union-attr, attr-defined]


def test_what_an_api_gives(over_http: Any) -> None:
    system = over_http.system
    for number in range(40):
        system.click(f"u{number % 9}", str(1 + number), 893_000_000_000 + 1000 * number)
    found: dict[str, Any] = bench(
        system, "http", "--url", over_http.url, "--rate", "40", "--seconds", "1", "--computed", "20",
        "--clicks", "400", "--samples", "3",
    )  # fmt: skip
    assert {"rate", "served", "errors", "held_ms", "computed_ms", "memory_mb"} <= set(found)
    assert (found["rate"], found["errors"]) == (40, 0)
    for times in (found["held_ms"], found["computed_ms"], found["clicks"]["ms"], found["stream_ms"]):
        assert 0 < times["p50"] <= times["p90"] <= times["p99"]
    assert found["memory_mb"] > 30
    assert sum(record.key.startswith(b"bench-") for record in system.read("clicks")) >= 403
