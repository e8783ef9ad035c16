"""`nextclick replay`: recorded clicks in, a report on quality out.

Owns the command's words and which systems can be asked for. The protocol is `learner.plan`'s, the walk
`learner.replay`'s, the figures `learner.replay_report`'s; Nextclick itself comes in through `offline`.
"""

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from learner.baselines import BASELINES, CONTROLS, baseline
from learner.catalogue import Item
from learner.dataset import Interactions, load_interactions, load_items
from learner.plan import Announce, plan, stream_from
from learner.replay import replay
from learner.replay_report import plot, report, table
from learner.system import FirstPart, System
from streams.offline import NextclickSystem, collect
from streams.policy import Policy
from streams.settings import Settings

_REPEATS = {"yes": True, "no": False, "auto": None}
DEFAULT_SYSTEMS = ("nextclick", "popularity", "item_knn", "sequence_rules", "blend", "random")


class ReplayCommandError(Exception):
    """The options do not fit together: says which and what to do."""


def run(
    settings: Settings,
    *,
    interactions: Path,
    items: Path | None,
    split: float,
    seed: int,
    seeds: int,
    systems: str | None,
    announce: Announce,
    sessions_ms: int | None,
    report_file: Path | None,
    plot_file: Path | None,
    time_budget: float,
) -> None:
    """Replays, prints the table and writes report and plot."""
    console = Console(stderr=True)
    known = ("nextclick", *BASELINES, *CONTROLS)
    names = systems.split(",") if systems else list(DEFAULT_SYSTEMS)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ReplayCommandError(f"--systems {unknown[0]}: no such system; there are {', '.join(known)}")
    data, records = load_interactions(interactions), load_items(items) if items else []
    plans = [
        plan(
            stream_from(data, records, seed + more), split=split, announce=announce, sessions_ms=sessions_ms,
            repeats=_REPEATS[settings.repeat_consumption], seed=seed + more,
        )
        for more in range(seeds)
    ]  # fmt: skip
    folder = Path(tempfile.mkdtemp(prefix="nextclick-replay-"))
    policy = Policy(k=settings.k, exploration=0.0, diversity=settings.diversity)

    def nextclick() -> System:
        return NextclickSystem(lambda first: _train(first, folder, time_budget), policy)

    makers: list[Callable[[], System]] = [
        nextclick if name == "nextclick" else baseline(name) for name in names
    ]
    columns = (TextColumn("{task.description:>16}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        with Progress(*columns, console=console) as progress:
            tasks = {name: progress.add_task(name, total=plans[0].stream.size, start=False) for name in names}

            def tick(name: str, done: int, total: int) -> None:
                task = tasks.get(name)
                if task is not None:
                    progress.start_task(task)
                    progress.update(task, completed=done, total=total)

            outcomes = replay(makers, plans, tick)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    told = report(
        plans,
        outcomes,
        protocol={"exploration": 0.0, "diversity": settings.diversity, "candidates": policy.candidates},
        data={"interactions": interactions.name, "items": items.name if items else None},
    )
    Console().print(table(told))
    if report_file is not None:
        report_file.write_text(json.dumps(told, indent=1) + "\n")
        console.print(f"report written to {report_file}")
    if plot_file is not None:
        plot(told, plot_file)
        console.print(f"plot written to {plot_file}")


def _train(first: FirstPart, folder: Path, time_budget: float) -> str:
    """A release from the first part alone: items that have not entered by its end are unknown to it."""
    from learner.training import train_release

    entered = np.unique(first.item)
    named = [number for number, record in enumerate(first.records) if record is not None]
    numbers = np.union1d(entered, np.array(named, np.int64)).astype(np.int64)
    position = np.full(len(first.item_ids), -1, np.int32)
    position[numbers] = np.arange(len(numbers), dtype=np.int32)
    data = Interactions(
        user=first.user.astype(np.int32),
        item=position[first.item],
        time_ms=first.time_ms,
        kind=first.kind,
        value=first.value,
        place=np.zeros(first.size, np.int32),
        occurrence=np.zeros(first.size, np.int32),
        user_ids=first.user_ids,
        item_ids=[first.item_ids[number] for number in numbers],
        scenarios=[None],
    )
    records: list[Item] = [record for record in first.records if record is not None]
    out = folder / f"release-{first.seed}"
    train_release(
        data, records, out, collect, budget_minutes=time_budget, seed=first.seed,
        repeat_consumption=first.repeats,
    )  # fmt: skip
    return str(out)
