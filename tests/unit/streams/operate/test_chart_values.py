"""A plan as values of the chart: the chart takes what is printed, and has it where nobody says more."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from streams.cli import app
from streams.operate import sizing
from streams.operate.chart_values import LIMIT, as_yaml, chart_values
from streams.settings import Settings
from tests.worlds.places import ROOT

CHART = ROOT / "deploy" / "chart"
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())
KNOWN = sizing.known_constants(Path("nowhere"))


def printed(folder: Path, *flags: str) -> Any:
    done = CliRunner().invoke(app, ["plan", "--values", "--data-dir", str(folder), *flags])
    assert done.exit_code == 0, done.output
    return yaml.safe_load(done.stdout)


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """As helm lays values over each other."""
    return {**below} | {
        name: merged(below[name], value) if isinstance(value, Mapping) else value
        for name, value in above.items()
    }


def test_what_the_chart_has_is_what_the_plan_prints_for_the_load_that_it_names(tmp_path: Path) -> None:
    assert merged(DEFAULTS, printed(tmp_path)) == DEFAULTS
    text = (CHART / "values.yaml").read_text()
    assert "for 100 clicks a second, 10,000\n# items and 100,000 users" in text


def test_any_plan_is_values_that_the_charts_schema_takes(tmp_path: Path) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    large = (
        "--clicks-per-second",
        "3000",
        "--items",
        "1000000",
        "--users",
        "5000000",
        "--reads-per-second",
        "5000",
    )
    for flags in ((), ("--clicks-per-second", "0.5", "--items", "1", "--users", "1"), large):
        given = printed(tmp_path, *flags)
        jsonschema.validate(merged(DEFAULTS, given), schema)
        assert given["worker"]["replicas"] <= given["kafka"]["partitions"]
    assert given["api"]["replicas"] > 1


def test_requests_are_the_plans_and_limits_leave_as_much_again() -> None:
    figures = sizing.plan(sizing.Load(400, 50_000, 300_000), Settings(), KNOWN)
    of = {(each.of, each.what): each.value for each in figures}
    values = chart_values(figures, KNOWN, 3)
    for part, memory in (
        ("worker", of["workers", "memory each"]),
        ("learner", of["learner", "memory"]),
    ):
        resources = values[part]["resources"]
        asked, most = (int(resources[each]["memory"].removesuffix("Mi")) for each in ("requests", "limits"))
        assert memory <= asked < memory + 64
        assert LIMIT * memory <= most < LIMIT * memory + 64
        assert "cpu" not in resources["limits"]
    assert values["worker"]["replicas"] == of["workers", "processes"]
    assert "api" not in values  # nobody said how many lists are read
    assert yaml.safe_load("\n".join(as_yaml(values))) == values


def test_two_forms_at_once_are_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["plan", "--values", "--json", "--data-dir", str(tmp_path)])
    assert done.exit_code == 2
    assert "--json and --values" in done.output


@pytest.mark.parametrize("text", ["640Mi", "1", "yes", "1e3"])
def test_words_stay_words(text: str) -> None:
    assert yaml.safe_load("\n".join(as_yaml({"a": {"b": text}, "c": 3}))) == {"a": {"b": text}, "c": 3}
