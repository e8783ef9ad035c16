"""Figures: one snapshot of counters and gauges, in plain numbers."""

import json
import math

import pytest

from streams.worker.figures import Figures


def test_a_snapshot_is_plain_and_of_now() -> None:
    figures = Figures(("clicks", "lists"))
    level = 0.123456
    figures.gauge("recall", lambda: level)
    figures.gauge("release", lambda: "r-1")
    figures.gauge("unknown", lambda: math.nan)
    figures.counts["clicks"] += 2
    assert figures.snapshot() == {
        "clicks": 2, "lists": 0, "recall": 0.1235, "release": "r-1", "unknown": None,
    }  # fmt: skip
    level = 1.0
    assert json.loads(json.dumps(figures.snapshot()))["recall"] == 1.0


def test_each_figure_has_one_owner() -> None:
    figures = Figures(("clicks",))
    figures.gauge("users", lambda: 1)
    for name in ("clicks", "users"):
        with pytest.raises(ValueError, match=name):
            figures.gauge(name, lambda: 2)
