"""How soon systems get over a change of their world: hit rates over time, and what recovery means.

Owns the arithmetic of `simulate`. Knows neither the systems nor what changed.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

WINDOW = 2_000  # scored clicks that a hit rate is taken over
RECOVERED = 0.95  # of the oracle's hit rate


@dataclass(frozen=True, slots=True)
class Run:
    """Hits of one system: `number` (A,) of the scored events in the stream, `hit` (A,) 0 or 1."""

    number: NDArray[np.intp]
    hit: NDArray[np.float64]

    def rate(self, start: int, end: int) -> float | None:
        """Hit rate of the events in [start, end)."""
        hits = self.hit[(self.number >= start) & (self.number < end)]
        return float(hits.mean()) if len(hits) else None

    def sliding(self, at: NDArray[np.intp], start: int) -> NDArray[np.float64]:
        """Hit rate over the last `WINDOW` scored events before each event of `at`, none before `start`."""
        since = np.searchsorted(self.number, start)
        total = np.concatenate([[0.0], np.cumsum(self.hit)])
        end = np.searchsorted(self.number, at, side="right")
        begin = np.maximum(end - WINDOW, since)
        with np.errstate(invalid="ignore", divide="ignore"):
            rates: NDArray[np.float64] = (total[end] - total[begin]) / (end - begin)
        return np.where(end > begin, rates, np.nan)


def recovery(run: Run, oracle: Run, drift: int, end: int) -> int | None:
    """Clicks after the drift until the system's sliding hit rate is at 95 % of the oracle's, None if never.

    Windows hold clicks after the drift alone, so it is `WINDOW` at least.
    """
    at = np.arange(drift, end)
    ours, theirs = run.sliding(at, drift), oracle.sliding(at, drift)
    full = np.searchsorted(run.number, at, side="right") - np.searchsorted(run.number, drift) >= WINDOW
    reached = np.flatnonzero(full & (ours >= RECOVERED * theirs))
    return int(reached[0]) + 1 if len(reached) else None


@dataclass(frozen=True, slots=True)
class Curve:
    """What one seed has shown: every system's run over events [split, end), with the change at `drift`."""

    runs: dict[str, Run]
    split: int
    drift: int
    end: int


def figures(runs: dict[str, Run], split: int, drift: int, end: int) -> dict[str, dict[str, Any]]:
    """Of each system: hit rate before the drift and at the end, and the clicks that recovery took."""
    told = {}
    for name, each in runs.items():
        last = each.number[-min(WINDOW, len(each.number))] if len(each.number) else end
        told[name] = {
            "before": each.rate(split, drift),
            "after": each.rate(max(int(last), drift), end),
            "recovery_clicks": recovery(each, runs["oracle"], drift, end),
        }
    return told


def mean(results: list[dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Means over seeds; recovery is None where one seed never recovers."""
    told: dict[str, dict[str, Any]] = {}
    for name in results[0]:
        told[name] = {}
        for figure in results[0][name]:
            values = [result[name][figure] for result in results]
            told[name][figure] = None if None in values else float(np.mean(values))
    return told
