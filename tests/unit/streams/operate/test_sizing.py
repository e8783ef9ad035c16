"""What a load needs: figures that grow with it, room that is said, constants with their origins."""

import itertools
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streams.cli import app
from streams.operate import sizing
from streams.operate.sizing import BUSY, SPARE, Constant, Constants, Figure, Load, SizingError
from streams.settings import load_settings

KNOWN = sizing.known_constants(Path("nowhere"))


def planned(load: Load) -> dict[tuple[str, str], Figure]:
    return {(each.of, each.what): each for each in sizing.plan(load, load_settings(), KNOWN)}


def test_a_plan_by_hand() -> None:
    figures = planned(Load(clicks=1000, items=10_000, users=200_000))
    cost_ms = KNOWN.by_name["list_ms"].value + KNOWN.by_name["handling_ms"].value
    workers = figures["workers", "processes"].value
    assert (workers - SPARE - 1) * BUSY < 1000 * cost_ms / 1000 <= (workers - SPARE) * BUSY
    assert figures["topics", "partitions"].value >= 4 * workers
    each = 200_000 / (workers - SPARE) * KNOWN.by_name["state_record_bytes"].value / (1 << 20)
    assert figures["workers", "disk each"].value == pytest.approx(each)
    assert figures["learner", "cores"].value == 2


@pytest.mark.parametrize("of", ["clicks", "items", "users"])
def test_nothing_shrinks_while_the_load_grows(of: str) -> None:
    load, growing = Load(clicks=50, items=1_000, users=10_000), []
    for _ in range(4):
        growing.append(planned(load))
        load = load._replace(**{of: getattr(load, of) * 10})
    for less, more in itertools.pairwise(growing):
        shares = {("workers", "memory each"), ("workers", "disk each"), ("workers", "restore")}
        for name in less.keys() - (shares if of == "clicks" else set()):  # more workers, fewer users each
            assert more[name].value >= less[name].value, name


def test_a_small_shop_needs_two_workers_and_eight_partitions() -> None:
    figures = planned(Load(clicks=0.5, items=100, users=100))
    assert figures["workers", "processes"].value == 2
    assert figures["topics", "partitions"].value == 8


def test_what_was_measured_here_takes_the_place_of_what_comes_along(tmp_path: Path) -> None:
    assert all(each.origin and each.what and each.value > 0 for each in KNOWN.by_name.values())
    here = Constants("this machine", "2030-01-01", {"list_ms": Constant(9.0, "ms", "a list", "here")})
    sizing.write(tmp_path, here)
    known = sizing.known_constants(tmp_path)
    assert (known.machine, known.by_name["list_ms"].value) == ("this machine", 9.0)
    assert known.by_name["click_bytes"] == KNOWN.by_name["click_bytes"]
    (tmp_path / sizing.FILE).write_text('{"machine": 1}')
    with pytest.raises(SizingError, match=r"sizing\.json.*--measure"):
        sizing.known_constants(tmp_path)


def test_the_command_prints_a_plan_for_people_and_for_programs(tmp_path: Path) -> None:
    words = [
        "plan",
        "--clicks-per-second",
        "500",
        "--items",
        "5000",
        "--users",
        "20000",
        "--data-dir",
        str(tmp_path),
    ]
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 0, said.output
    assert "docs/log.md" in said.output
    told = json.loads(CliRunner().invoke(app, [*words, "--json"]).output)
    assert told["plan"]["workers"]["processes"]["value"] == 3
    assert told["constants"]["list_ms"]["origin"]
    assert CliRunner().invoke(app, ["plan", "--measure", "--data-dir", str(tmp_path)]).exit_code == 2


def test_this_machine_is_measured(tmp_path: Path) -> None:
    """With fewer users and items than is worth believing: that each figure is one."""
    from learner.data.catalogue import Item
    from learner.release.files import write_release
    from streams.operate import measuring
    from tests.worlds.served import POPULAR, served_bundle

    items = [Item(item_id=f"i{number}", categories=[f"c{number % 7}"]) for number in range(300)]
    release = write_release(tmp_path / "r", served_bundle("r", items, POPULAR))
    found = measuring.measure(release, "2030-01-01", users=60, weighed=500)
    assert set(found.by_name) <= set(KNOWN.by_name)
    assert 0 < found.by_name["list_ms"].value < 1000
    assert 500 < found.by_name["state_record_bytes"].value < 10_000
    assert all("release r" in each.origin for each in found.by_name.values())
