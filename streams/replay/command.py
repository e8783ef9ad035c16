"""`nextclick replay`: recorded clicks in, a report on quality out.

Owns the command's words and which systems can be asked for. The protocol is `learner.evaluation.plan`'s,
the walk `learner.evaluation.replay`'s, the figures `learner.evaluation.report`'s; Nextclick itself comes in
through `offline`.
"""

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from learner.data.catalogue import Item
from learner.data.dataset import Interactions, load_interactions, load_items
from learner.evaluation.baselines import BASELINES, CONTROLS, baseline
from learner.evaluation.leave_one_out import leave_one_out, leave_one_out_report
from learner.evaluation.plan import Announce, plan, stream_from
from learner.evaluation.replay import Outcome, replay
from learner.evaluation.report import (
    CONTENT_FIELDS,
    MAIN,
    WIDE_TABLE,
    Learning,
    Report,
    leave_one_out_table,
    plot,
    report,
    table,
)
from learner.evaluation.system import System
from streams.hot_path.policy import Policy
from streams.replay.parts import PARTS, SAME, WITHOUT, Learn, part
from streams.replay.releases import Releases
from streams.settings import Settings

_REPEATS = {"yes": True, "no": False, "auto": None}
# Every baseline: which one is strongest differs by data, and none is left out for being it.
DEFAULT_SYSTEMS = ("nextclick", *BASELINES, "random")

Through = Literal["offline", "kafka"]


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
    learn: Learn,
    through: Through,
    without: Sequence[str],
    release: Path | None,
    report_file: Path | None,
    plot_file: Path | None,
    time_budget: float,
) -> None:
    """Replays, prints the table and writes report and plot."""
    console = Console(stderr=True)
    known = (*PARTS, *BASELINES, *CONTROLS)
    names = list(dict.fromkeys(systems.split(","))) if systems else list(DEFAULT_SYSTEMS)
    if learn != "none" and MAIN in names:
        names = list(dict.fromkeys([*names, WITHOUT[learn]]))  # what the report's ratio is over
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ReplayCommandError(f"--systems {unknown[0]}: no such system; there are {', '.join(known)}")
    _check_folders(report_file, plot_file)
    data, records = _loaded(interactions, items, without)
    plans = [
        plan(
            stream_from(data, records, seed + more), split=split, announce=announce, sessions_ms=sessions_ms,
            repeats=_REPEATS[settings.repeat_consumption], seed=seed + more,
        )
        for more in range(seeds)
    ]  # fmt: skip
    policy = Policy(k=settings.k, exploration=0.0, diversity=settings.diversity)
    columns = (TextColumn("{task.description:>18}"), BarColumn(), TextColumn("{task.fields[text]}"))
    with (
        tempfile.TemporaryDirectory(prefix="nextclick-replay-") as scratch,
        Progress(*columns, TimeElapsedColumn(), console=console) as progress,
        ExitStack() as stack,
    ):
        tasks: dict[str, TaskID] = {}

        def tell(name: str, share: float, text: str) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=1.0, text="")
            progress.update(tasks[name], completed=share, text=text)

        releases = Releases(
            release or Path(scratch) / "release", time_budget, seeds,
            lambda step, share, text: tell(f"train: {step}", share, text),
        )  # fmt: skip
        # Kept beside the other, or trained once more for each replay.
        kept = release and release.resolve().with_name(f"{release.resolve().name}-distilled")
        distilled = Releases(
            kept or Path(scratch) / "distilled", time_budget, seeds,
            lambda step, share, text: tell(f"distil: {step}", share, text), distil=True,
        )  # fmt: skip
        same = SAME if learn == "none" and through == "offline" else {}
        apart = [name for name in names if same.get(name) not in names]
        kafka: Callable[[], System] | None = None
        if through == "kafka":
            kafka = stack.enter_context(_through_kafka(settings, releases, Path(scratch)))
        makers: list[Callable[[], System]] = [
            kafka
            if kafka is not None and name == MAIN
            else part(name, releases, policy, learn, time_budget, distilled)
            if name in PARTS
            else baseline(name)
            for name in apart
        ]
        outcomes = replay(
            makers, plans, lambda name, done, all_: tell(name, done / all_, f"{done:,}/{all_:,}")
        )
    outcomes = [[_outcome(name, row) for name in names] for row in outcomes]
    told = report(
        plans,
        outcomes,
        learning=Learning(learn, _learning_seconds(outcomes), without=WITHOUT[learn]),
        protocol={
            "exploration": 0.0,
            "diversity": settings.diversity,
            "candidates": policy.candidates,
            "through": through,
        },
        data=_files(interactions, items),
    )
    _write(told, report_file, console)
    if plot_file is not None:
        plot(told, plot_file)
        console.print(f"plot written to {plot_file}")
    out = Console()
    out.width = out.width if out.is_terminal else WIDE_TABLE
    out.print(table(told, out.width))


def run_leave_one_out(
    *,
    interactions: Path,
    items: Path | None,
    without: Sequence[str],
    seed: int,
    systems: str | None,
    report_file: Path | None,
) -> None:
    """Trains and tests student and teacher as papers do, prints the table and writes the report."""
    from learner.evaluation.leave_one_out_models import STUDENT, TEACHER, SequenceScorer

    console = Console(stderr=True)
    configs = {"student": STUDENT, "teacher": TEACHER}
    names = list(dict.fromkeys(systems.split(","))) if systems else list(configs)
    unknown = [name for name in names if name not in configs]
    if unknown:
        raise ReplayCommandError(
            f"--systems {unknown[0]}: with --protocol leave-one-out there are {' and '.join(configs)}"
        )
    _check_folders(report_file)
    task = leave_one_out(*_loaded(interactions, items, without))
    columns = (TextColumn("{task.description:>18}"), BarColumn(), TextColumn("{task.fields[text]}"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:

        def scorer(name: str) -> SequenceScorer:
            bar = progress.add_task(name, total=1.0, text="")
            return SequenceScorer(
                name, configs[name], seed=seed,
                progress=lambda share, text: progress.update(bar, completed=share, text=text),
            )  # fmt: skip

        told = leave_one_out_report(
            task, [scorer(name) for name in names], data=_files(interactions, items), seed=seed
        )
    _write(told, report_file, console)
    Console().print(leave_one_out_table(told))


def _loaded(
    interactions: Path, items: Path | None, without: Sequence[str]
) -> tuple[Interactions, list[Item]]:
    """Both files; the items' fields `without` are emptied, as if the file did not have them."""
    records = load_items(items) if items else []
    wrong = [name for name in without if name not in CONTENT_FIELDS]
    if wrong:
        raise ReplayCommandError(f"--without {wrong[0]}: an item's fields are {', '.join(CONTENT_FIELDS)}")
    blank = Item(item_id="-")
    empty = {name: getattr(blank, name) for name in without}
    return load_interactions(interactions), [msgspec.structs.replace(record, **empty) for record in records]


def _files(interactions: Path, items: Path | None) -> dict[str, list[str]]:
    return {"files": [file.name for file in (interactions, items) if file is not None]}


def _check_folders(*files: Path | None) -> None:
    """A replay takes minutes: what it is to be written to must be there before it begins."""
    for file in files:
        if file is not None and not file.absolute().parent.is_dir():
            raise ReplayCommandError(f"{file}: there is no folder {file.parent}; make it first")


def _write(told: Report, file: Path | None, console: Console) -> None:
    if file is not None:
        file.write_text(json.dumps(told, indent=1, allow_nan=False) + "\n")
        console.print(f"report written to {file}")


@contextmanager
def _through_kafka(settings: Settings, releases: Releases, folder: Path) -> Iterator[Callable[[], System]]:
    """The maker of Nextclick behind a broker of its own, which ends with the block."""
    from streams.broker.node import EmbeddedBroker
    from streams.replay.through_kafka import ThroughKafka

    made: list[ThroughKafka] = []
    with EmbeddedBroker(folder / "broker", port=0, cache=settings.cache_dir) as broker:
        reached = settings.model_copy(update={"bootstrap_servers": broker.bootstrap_servers})

        def make() -> System:
            for earlier in made:  # one seed after the other
                earlier.close()
            made.append(ThroughKafka(releases, reached, folder / f"kafka-{len(made)}"))
            return made[-1]

        try:
            yield make
        finally:
            for each in made:
                each.close()


def _outcome(name: str, row: list[Outcome]) -> Outcome:
    """The outcome of that name, or of the system that it is the same as."""
    found = {outcome.name: outcome for outcome in row}
    if name in found:
        return found[name]
    return replace(found[SAME[name]], name=name, description={"same_as": SAME[name]})


def _learning_seconds(outcomes: list[list[Outcome]]) -> float:
    """Processor seconds that Nextclick's signals took in the later part, the mean over seeds."""
    took = [
        float(outcome.description.get("learning_cpu_seconds", 0.0))
        for row in outcomes
        for outcome in row
        if outcome.name == MAIN
    ]
    return sum(took) / max(len(took), 1)
