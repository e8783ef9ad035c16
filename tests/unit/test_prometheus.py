"""What operators get for Prometheus and Grafana: rules that hold, pages for alerts, names that exist."""

import json
import os
import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest
import typer.main

from streams.cli import app
from streams.figures.table import METRICS
from tests.worlds.places import ROOT

FOLDER = ROOT / "deploy" / "prometheus"
RECORDING = (FOLDER / "recording.yml").read_text(encoding="utf-8")
ALERTS = (FOLDER / "alerts.yml").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "operating" / "alerts.md").read_text(encoding="utf-8")
BOARD = ROOT / "deploy" / "grafana" / "board.json"
NAMED = re.findall(r"alert: (\w+)", ALERTS)


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        if os.environ.get("CI") == "true" and os.environ.get("DEPLOY_CHECK") == "1":
            pytest.fail("promtool is missing: apt-get install prometheus")
        pytest.skip("no promtool on this machine; Debian's package `prometheus` has it")
    return found


def ran(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_are_rules(promtool: str) -> None:
    ran(promtool, "check", "rules", str(FOLDER / "recording.yml"), str(FOLDER / "alerts.yml"))


@pytest.mark.parametrize("file", sorted((FOLDER / "tests").glob("*.yml")), ids=lambda file: file.stem)
def test_the_rules_do_what_they_are_for(file: Path, promtool: str) -> None:
    assert "SUCCESS" in ran(promtool, "test", "rules", str(file))


def test_each_alert_is_seen_to_be_raised() -> None:
    raised = {
        name
        for file in (FOLDER / "tests").glob("*.yml")
        for name in re.findall(r"alertname: (\w+)\n\s+exp_alerts:\n", file.read_text(encoding="utf-8"))
    }
    assert raised == set(NAMED)


def test_each_alert_has_its_page_and_each_page_its_alert() -> None:
    pages = re.findall(r"^## (\w+)$", PAGE, re.M)
    assert pages == NAMED
    anchors = re.findall(r"runbook: docs/operating/alerts\.md#(\w+)", ALERTS)
    assert anchors == [name.lower() for name in NAMED]
    for name, text in zip(pages, re.split(r"^## \w+$", PAGE, flags=re.M)[1:], strict=True):
        severity = re.findall(rf"alert: {name}\n.*?severity: (\w+)", ALERTS, re.S)[0]
        assert f"*{severity}.*" in text
        assert "* Look at: " in text
        assert "* Do: " in text


def test_commands_on_the_page_are_commands() -> None:
    root = typer.main.get_command(app)
    for words in re.findall(r"(?:`|\$ )nextclick ([a-z-]+)(?: ([a-z][a-z-]*))?", PAGE):
        command = root
        for word in filter(None, words):
            command = command.commands[word]  # type: ignore[attr-defined]


def names_in(text: str) -> set[str]:
    """Figures that an expression asks for, without what Prometheus makes of a histogram's name."""
    found = set(re.findall(r"\bnextclick_\w+", text))
    return {re.sub(r"_seconds_(bucket|sum|count)$", "_seconds", name) for name in found}


def recorded_in(text: str) -> set[str]:
    return set(re.findall(r"\bnextclick:\w+:\w+", text))


def test_rules_and_board_ask_for_what_there_is() -> None:
    board = BOARD.read_text(encoding="utf-8")
    for text in (RECORDING, ALERTS, board):
        assert names_in(text) <= METRICS.keys()
    recorded = set(re.findall(r"record: (\S+)", RECORDING))
    assert recorded_in(ALERTS) | recorded_in(board) <= recorded
    labels = {label for metric in METRICS.values() for label in metric.labels}
    matched = re.findall(r'nextclick_\w+\{(\w+)(?:=|=~|!=)"', ALERTS + RECORDING + board)
    assert set(matched) <= labels


def test_the_board_is_what_its_source_makes() -> None:
    models = pytest.importorskip("grafana_foundation_sdk.models.dashboard", reason="the extra `dev` has it")
    shown = json.loads(BOARD.read_text(encoding="utf-8"))
    made = runpy.run_path(str(ROOT / "deploy" / "grafana" / "board.py"))["board"]()
    assert shown == json.loads(made)
    assert models.Dashboard.from_json(shown).title == "Nextclick"  # what Grafana's own types take
    panels = [panel for row in shown["panels"] for panel in (row, *row.get("panels", ()))]
    places = [tuple(panel["gridPos"][side] for side in "xy") for panel in panels]
    assert len(set(places)) == len(places) > 24
    asked = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    assert len(asked) >= 30


def test_compose_reads_these_rules_and_every_process() -> None:
    config = (ROOT / "deploy" / "compose" / "prometheus.yml").read_text(encoding="utf-8")
    pattern = re.findall(r"rule_files: \[/etc/prometheus/nextclick/(\S+)\]", config)
    assert {file.name for file in FOLDER.glob(*pattern)} == {"recording.yml", "alerts.yml"}
    assert "learner:9465" in config  # the trainer
