"""`nextclick simulate drift`: how soon Nextclick gets over a world that changes in mid-stream.

Owns which systems are compared and what recovery means. The change is `learner.evaluation.drift_world`'s,
the walk `learner.evaluation.replay`'s, the systems `systems`'s.
"""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from learner.data.dataset import load_interactions, load_items
from learner.evaluation.drift_world import change_of, changed
from learner.evaluation.plan import Plan, plan, stream_from
from learner.evaluation.replay import play
from learner.evaluation.system import FirstPart, System
from learner.judging.metrics import LIST
from streams.hot_path.policy import Policy
from streams.replay.releases import train
from streams.replay.systems import HotPath
from streams.settings import Settings

WINDOW = 2_000  # scored clicks that a hit rate is taken over
GROWTH = 0.2  # of the clicks until everything is trained anew
RECOVERED = 0.95  # of the oracle's hit rate
SYSTEMS = ("frozen", "state", "signals", "full", "oracle")

Train = Callable[[FirstPart], str]
Full = Callable[[Train, Policy], System]


class SimulateError(Exception):
    """The data or the options do not allow the simulation: says why and what to do."""


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


def run(
    settings: Settings,
    *,
    interactions: Path,
    items: Path | None,
    split: float,
    drift: float,
    seed: int,
    seeds: int,
    time_budget: float,
    report_file: Path | None,
    plot_file: Path | None,
) -> None:
    """Simulates, prints the table and writes report and plot."""
    if not 0 < split < drift < 1:
        raise SimulateError(f"--split {split} and --drift {drift}: need 0 < split < drift < 1")
    for file in (report_file, plot_file):
        if file is not None and not file.absolute().parent.is_dir():
            raise SimulateError(f"{file}: there is no folder {file.parent}; make it first")
    console = Console(stderr=True)
    data, records = load_interactions(interactions), load_items(items) if items else []
    policy = Policy(k=settings.k, exploration=0.0)
    columns = (TextColumn("{task.description:>22}"), BarColumn(), TextColumn("{task.fields[text]}"))
    results, curves = [], []
    with (
        tempfile.TemporaryDirectory(prefix="nextclick-simulate-") as scratch,
        Progress(*columns, TimeElapsedColumn(), console=console) as progress,
    ):
        for number in range(seed, seed + seeds):
            stream = stream_from(data, records, number)
            at = int(drift * stream.size)
            change = change_of(stream, at, number)
            plans = [
                plan(changed(stream, change, moment), split=split, seed=number, repeats=None)
                for moment in (at, 0)  # the oracle has lived in the new world all along
            ]
            trainings = Trainings(Path(scratch) / str(number), time_budget, progress)
            runs = simulate(plans[0], plans[1], policy, _learning(time_budget), trainings, progress)
            results.append(figures(runs, plans[0].split, at, stream.size))
            curves.append((runs, plans[0].split, at, stream.size))
            progress.console.print(
                f"seed {number}: {change.users:,} users swap tastes "
                f"({' and '.join(change.genres) if change.genres else 'by chance'}), "
                f"{change.items:,} items replaced"
            )
    told = {
        "data": {"interactions": interactions.name, "items": items.name if items else None},
        "protocol": {
            "split": split, "drift": drift, "seeds": list(range(seed, seed + seeds)), "window": WINDOW,
            "recovered_at": RECOVERED, "trained_anew_at_growth": GROWTH, "metric": f"hr@{LIST}",
        },
        "systems": mean(results),
        "by_seed": results,
    }  # fmt: skip
    if report_file is not None:
        report_file.write_text(json.dumps(told, indent=1, allow_nan=False) + "\n")
        console.print(f"report written to {report_file}")
    if plot_file is not None:
        draw(curves[0], plot_file)
        console.print(f"plot written to {plot_file}")
    Console().print(_table(told))


def _learning(minutes: float) -> Full:
    """Everything learns: the ranker on answered lists, all of it when the clicks have grown by a fifth."""

    def make(train: Train, policy: Policy) -> System:
        from streams.replay.retrained import Retrained  # needs torch

        made = Retrained(train, policy, minutes, name="full")
        made.growth = GROWTH
        return made

    return make


class Trainings:
    """A release for each first part, trained once; several systems of a seed share it."""

    def __init__(self, folder: Path, budget_minutes: float, progress: Progress) -> None:
        self.folder, self.budget_minutes, self.progress = folder, budget_minutes, progress

    def of(self, world: str) -> Train:
        """The training in a world: its release is made at the first call."""

        def train_once(first: FirstPart) -> str:
            path = self.folder / world
            if not (path / "manifest.json").exists():
                task = self.progress.add_task(f"train: {world} world", total=1.0, text="")

                def tell(step: str, share: float, text: str) -> None:
                    self.progress.update(task, completed=share, text=f"{step} {text}")

                train(first, path, self.budget_minutes, tell)
            return str(path)

        return train_once


def simulate(
    old: Plan, new: Plan, policy: Policy, full: Full, trainings: Trainings, progress: Progress
) -> dict[str, Run]:
    """Every system over its plan: `old` changes at the drift, `new` (the oracle's) has been so all along."""
    train, train_oracle = trainings.of("old"), trainings.of("new")
    makers: dict[str, tuple[Callable[[], System], Plan]] = {
        "frozen": (lambda: HotPath(train, policy, name="frozen", state=False, signals=False), old),
        "state": (lambda: HotPath(train, policy, name="state", signals=False), old),
        "signals": (lambda: HotPath(train, policy, name="signals"), old),
        "full": (lambda: full(train, policy), old),
        "oracle": (lambda: full(train_oracle, policy), new),
    }
    runs = {}
    for name, (make, world) in makers.items():
        task = progress.add_task(name, total=1.0, text="")
        outcome = play(
            make(), world,
            lambda _, done, all_, task=task: progress.update(task, completed=done / all_, text=f"{done:,}"),  # type: ignore[misc]
        )  # fmt: skip
        progress.update(task, completed=1.0)
        runs[name] = Run(world.asked, (outcome.position < LIST).astype(np.float64))
    return runs


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


def draw(curve: tuple[dict[str, Run], int, int, int], file: Path) -> None:
    """Hit rates over time, one line a system, of the first seed."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    runs, split, drift, end = curve
    figure, axes = plt.subplots(figsize=(9, 5))
    at = np.arange(split, end)
    for name, each in runs.items():
        rates = each.sliding(at, split)
        rates[np.searchsorted(each.number, at, side="right") < WINDOW // 10] = np.nan  # too few to tell
        axes.plot(at, rates, label=name, linewidth=2.2 if name == "full" else 1.2)
    axes.axvline(drift, color="grey", linestyle="--", linewidth=1)
    axes.annotate("the world changes", (drift, axes.get_ylim()[1]), ha="right", va="top", rotation=90)
    axes.set_xlabel("clicks")
    axes.set_ylabel(f"hit rate@{LIST} over the last {WINDOW:,} clicks")
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(file, dpi=120)
    plt.close(figure)


def _table(told: dict[str, Any]) -> Table:
    table = Table("system", "before", "after", "clicks to recover", box=None)
    for name, values in told["systems"].items():
        cells = ["–" if values[f] is None else f"{values[f]:.3f}" for f in ("before", "after")]
        clicks = values["recovery_clicks"]
        table.add_row(name, *cells, "never" if clicks is None else f"{clicks:,.0f}")
    return table
