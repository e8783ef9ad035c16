"""`nextclick simulate drift`: how soon Nextclick gets over a world that changes in mid-stream.

Owns which systems are compared, in which world. The change is `learner.evaluation.drift_world`'s, the walk
`learner.evaluation.replay`'s, the systems `systems`'s, and what recovery means is `recovery`'s affair.
"""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from learner.data.dataset import load_interactions, load_items
from learner.evaluation.drift_world import change_of, changed
from learner.evaluation.plan import Plan, plan, stream_from
from learner.evaluation.replay import play
from learner.evaluation.system import FirstPart, Stream, System
from learner.judging.metrics import LIST
from streams.hot_path.policy import Policy
from streams.replay.recovery import RECOVERED, WINDOW, Curve, Run, figures, mean
from streams.replay.releases import train
from streams.replay.systems import HotPath, Train
from streams.runtime.progress import Tell, bars
from streams.settings import Settings

GROWTH = 0.2  # of the clicks until everything is trained anew
SYSTEMS = ("frozen", "state", "signals", "full", "oracle")

Full = Callable[[Train, Policy], System]


class SimulateError(Exception):
    """The data or the options do not allow the simulation: says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """The flags of `nextclick simulate drift`; `split` and `drift` are shares of the stream."""

    interactions: Path
    items: Path | None
    split: float
    drift: float
    seed: int
    seeds: int
    time_budget: float  # minutes, for each training
    report: Path | None
    plot: Path | None

    def check(self) -> None:
        """Raises SimulateError for what cannot be simulated, or written down afterwards."""
        if not 0 < self.split < self.drift < 1:
            raise SimulateError(f"--split {self.split} and --drift {self.drift}: need 0 < split < drift < 1")
        for file in (self.report, self.plot):
            if file is not None and not file.absolute().parent.is_dir():
                raise SimulateError(f"{file}: there is no folder {file.parent}; make it first")

    @property
    def numbers(self) -> range:
        """Every seed."""
        return range(self.seed, self.seed + self.seeds)


def run(settings: Settings, wishes: Wishes) -> None:
    """Simulates, prints the table and writes report and plot."""
    wishes.check()
    console = Console(stderr=True)
    data = load_interactions(wishes.interactions)
    records = load_items(wishes.items) if wishes.items else []
    policy = Policy(k=settings.k, exploration=0.0)
    with tempfile.TemporaryDirectory(prefix="nextclick-simulate-") as scratch:
        curves = [
            _curve(stream_from(data, records, seed), seed, wishes, policy, Path(scratch) / str(seed), console)
            for seed in wishes.numbers
        ]
    told = _told(wishes, [figures(each.runs, each.split, each.drift, each.end) for each in curves])
    if wishes.report is not None:
        wishes.report.write_text(json.dumps(told, indent=1, allow_nan=False) + "\n")
        console.print(f"report written to {wishes.report}", soft_wrap=True, markup=False)
    if wishes.plot is not None:
        draw(curves[0], wishes.plot)
        console.print(f"plot written to {wishes.plot}", soft_wrap=True, markup=False)
    Console().print(_table(told))


def _curve(
    stream: Stream, seed: int, wishes: Wishes, policy: Policy, scratch: Path, console: Console
) -> Curve:
    """One seed's simulation, told of while it goes on."""
    at = int(wishes.drift * stream.size)
    change = change_of(stream, at, seed)
    old, new = (
        plan(changed(stream, change, moment), split=wishes.split, seed=seed, repeats=None)
        for moment in (at, 0)  # the oracle has lived in the new world all along
    )
    with bars(console, width=22) as tell:
        trainings = Trainings(scratch, wishes.time_budget, tell)
        runs = simulate(old, new, policy, _learning(wishes.time_budget), trainings, tell)
    console.print(
        f"seed {seed}: {change.users:,} users swap tastes "
        f"({' and '.join(change.genres) if change.genres else 'by chance'}), {change.items:,} items replaced"
    )
    return Curve(runs, old.split, at, stream.size)


def _told(wishes: Wishes, results: list[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """The report."""
    return {
        "data": {
            "interactions": wishes.interactions.name, "items": wishes.items.name if wishes.items else None,
        },
        "protocol": {
            "split": wishes.split, "drift": wishes.drift, "seeds": list(wishes.numbers), "window": WINDOW,
            "recovered_at": RECOVERED, "trained_anew_at_growth": GROWTH, "metric": f"hr@{LIST}",
        },
        "systems": mean(results),
        "by_seed": results,
    }  # fmt: skip


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

    def __init__(self, folder: Path, budget_minutes: float, tell: Tell) -> None:
        self.folder, self.budget_minutes, self.tell = folder, budget_minutes, tell

    def of(self, world: str) -> Train:
        """The training in a world: its release is made at the first call."""

        def train_once(first: FirstPart) -> str:
            path = self.folder / world
            if not (path / "manifest.json").exists():
                train(
                    first, path, self.budget_minutes,
                    lambda step, share, text: self.tell(f"train: {world} world", share, f"{step} {text}"),
                )  # fmt: skip
            return str(path)

        return train_once


def simulate(
    old: Plan, new: Plan, policy: Policy, full: Full, trainings: Trainings, tell: Tell
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
        # By the name here: the oracle is the full system, in another world.
        outcome = play(
            make(), world, lambda _, done, all_, name=name: tell(name, done / all_, f"{done:,}")  # type: ignore[misc]
        )  # fmt: skip
        runs[name] = Run(world.asked, (outcome.position < LIST).astype(np.float64))
    return runs


def draw(curve: Curve, file: Path) -> None:
    """Hit rates over time, one line a system, of the first seed."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 5))
    at = np.arange(curve.split, curve.end)
    for name, each in curve.runs.items():
        rates = each.sliding(at, curve.split)
        rates[np.searchsorted(each.number, at, side="right") < WINDOW // 10] = np.nan  # too few to tell
        axes.plot(at, rates, label=name, linewidth=2.2 if name == "full" else 1.2)
    axes.axvline(curve.drift, color="grey", linestyle="--", linewidth=1)
    axes.annotate("the world changes", (curve.drift, axes.get_ylim()[1]), ha="right", va="top", rotation=90)
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
