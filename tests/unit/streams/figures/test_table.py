"""The page for people says what the table says, and what the table has is measured."""

import re

from streams.figures.table import METRICS
from streams.training.figures import Measured
from tests.worlds.places import ROOT

PAGE = (ROOT / "docs" / "operating" / "metrics.md").read_text(encoding="utf-8")


def test_the_page_has_every_figure_as_the_table_has_it() -> None:
    rows = [
        [cell.strip().strip("`") for cell in line.strip("| ").split(" | ")]
        for line in PAGE.replace("|  |", "| – |").replace("|  |", "| – |").splitlines()
        if line.startswith("| `nextclick_")
    ]
    shown = {row[0]: (row[1], row[2], row[3].replace("`", ""), row[4], row[5]) for row in rows}
    assert shown == {
        name: (
            metric.kind, ", ".join(metric.by), ", ".join(metric.labels) or "–",
            metric.over if metric.kind == "gauge" else "–", metric.text,
        )
        for name, metric in METRICS.items()
    }  # fmt: skip


def test_names_in_the_text_are_real_ones() -> None:
    named = set(re.findall(r"`(nextclick_\w+)`", PAGE))
    assert named <= METRICS.keys() | {"nextclick_"}


def test_a_trainer_tells_all_that_is_a_trainers() -> None:
    """What the others tell is compared in tests/integration/figures, with processes that run."""
    assert set(Measured().figures.names()) == {name for name, each in METRICS.items() if "trainer" in each.by}
