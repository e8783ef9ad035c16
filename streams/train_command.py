"""`nextclick train`: files in, a release out, with progress.

Owns the command's words on the screen. The training itself is `learner.training`; the hot path that makes
its lists is `offline.collect`.
"""

import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from learner.dataset import load_interactions, load_items
from streams.settings import Settings

_REPEATS = {"yes": True, "no": False, "auto": None}


class TrainError(Exception):
    """Training cannot begin: says what is missing and what to do."""


class _Bars:
    """One bar a step, in the order in which the steps come."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, step: str, share: float, text: str) -> None:
        if step not in self._tasks:
            for task in self._tasks.values():
                self._progress.stop_task(task)
            self._tasks[step] = self._progress.add_task(step, total=1.0, text=text)
        self._progress.update(self._tasks[step], completed=share, text=text)


def run(
    settings: Settings,
    *,
    interactions: Path,
    items: Path | None,
    out: Path,
    to: float,
    time_budget: float,
    seed: int,
) -> None:
    """Trains on the first `to` of the events and writes the release to `out`."""
    try:
        from learner.training import train_release
    except ModuleNotFoundError as error:
        raise TrainError(
            f"training needs the extra `learner` ({error.name} is missing): pip install 'nextclick[learner]'"
        ) from None
    from streams.offline import collect

    if out.exists() and not (out / "manifest.json").exists() and any(out.iterdir()):
        raise TrainError(f"{out} holds something that is no release; name a new folder with --out")
    started = time.monotonic()
    console = Console(stderr=True)
    data = load_interactions(interactions).in_order(seed)
    part, _ = data.split(to)
    records = load_items(items) if items else []
    console.print(
        f"{len(part):,} events, {len(set(part.user.tolist())):,} users, {len(records):,} announced items"
    )
    columns = (
        TextColumn("{task.description:>12}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[text]}"),
    )
    with Progress(*columns, console=console) as progress:
        release = train_release(
            part,
            records,
            out,
            collect,
            budget_minutes=time_budget,
            seed=seed,
            progress=_Bars(progress),
            repeat_consumption=_REPEATS[settings.repeat_consumption],
        )
    console.print(f"release [bold]{release}[/] in {out} after {time.monotonic() - started:.0f} s")
