"""`nextclick replay`: recorded clicks in, a report on quality out.

Owns which systems are made and how they are walked through. The protocol is `learner.evaluation.plan`'s, the
walk `learner.evaluation.replay`'s, the figures `learner.evaluation.report`'s; what was asked for stands in
`wishes`, and Nextclick itself comes in through `parts`.
"""

import json
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console

from learner.evaluation.baselines import BASELINES, CONTROLS, baseline
from learner.evaluation.leave_one_out import leave_one_out, leave_one_out_report
from learner.evaluation.plan import Plan, plan, stream_from
from learner.evaluation.reading import WIDE_TABLE, leave_one_out_table, plot, table
from learner.evaluation.replay import Outcome, replay
from learner.evaluation.report import MAIN, NO_CONTENT, SIGNALS, Learning, Report, report
from learner.evaluation.system import System
from streams.hot_path.policy import Policy
from streams.replay.parts import PARTS, SAME, SCENARIO, WITHOUT, part
from streams.replay.releases import Releases
from streams.replay.wishes import ReplayCommandError, Wishes
from streams.runtime.progress import Tell, bars
from streams.settings import Settings

_NAMES = 18  # letters of a system or of a step of its training
_REPEATS = {"yes": True, "no": False, "auto": None}
# Every baseline: which one is strongest differs by data, and none is left out for being it.
DEFAULT_SYSTEMS = ("nextclick", *BASELINES, "random")

Maker = Callable[[], System]


def run(settings: Settings, wishes: Wishes) -> None:
    """Replays, prints the table and writes report and plot."""
    console = Console(stderr=True)
    if wishes.shuffle_days:
        raise ReplayCommandError("--shuffle-days is for --protocol leave-one-out: leave it out")
    names = _names(wishes)
    wishes.check_folders()
    rules = wishes.rules()
    plans = _plans(wishes, _REPEATS[settings.repeat_consumption])
    policy = Policy(k=settings.k, exploration=0.0, diversity=settings.diversity)
    with tempfile.TemporaryDirectory(prefix="nextclick-replay-") as scratch, bars(console, _NAMES) as tell:
        trained, distilled, blind = _releases(wishes, Path(scratch), tell)
        with _through(settings, wishes, trained, Path(scratch)) as kafka:
            makers = [
                kafka
                if kafka is not None and name == MAIN
                else part(name, trained, policy, wishes.learn, wishes.time_budget, distilled, rules, blind)
                if name in PARTS
                else baseline(name)
                for name in _apart(names, wishes)
            ]
            outcomes = replay(
                makers, plans, lambda name, done, all_: tell(name, done / all_, f"{done:,}/{all_:,}")
            )
    outcomes = [[_outcome(name, row) for name in names] for row in outcomes]
    told = report(
        plans,
        outcomes,
        learning=Learning(wishes.learn, _learning_seconds(outcomes), without=WITHOUT[wishes.learn]),
        protocol={
            "exploration": 0.0,
            "diversity": settings.diversity,
            "candidates": policy.candidates,
            "through": wishes.through,
        },
        data=wishes.files(),
    )
    _write(told, wishes.report, console)
    if wishes.plot is not None:
        plot(told, wishes.plot)
        console.print(f"plot written to {wishes.plot}", soft_wrap=True, markup=False)
    out = Console()
    out.width = out.width if out.is_terminal else WIDE_TABLE
    out.print(table(told, out.width))
    for row in outcomes[:1]:
        for outcome in row:
            if acted := outcome.description.get("rules_acted"):
                said = ", ".join(f"{name} {share:.1%}" for name, share in sorted(acted.items()))
                out.print(f"rules had a say in: {said} of the lists", soft_wrap=True, markup=False)


def run_leave_one_out(wishes: Wishes) -> None:
    """Trains and tests student and teacher as papers do, prints the table and writes the report."""
    from learner.evaluation.leave_one_out_models import (  # needs torch
        STUDENT,
        TAUGHT,
        TEACHER,
        SequenceScorer,
    )

    console = Console(stderr=True)
    configs = {"student": (STUDENT,), "teacher": (STUDENT, TEACHER)}  # as `learner.models.distill` has it
    names = wishes.named(tuple(configs))
    unknown = [name for name in names if name not in configs]
    if unknown:
        raise ReplayCommandError(
            f"--systems {unknown[0]}: with --protocol leave-one-out there are {' and '.join(configs)}"
        )
    wishes.check_folders()
    lot = np.random.default_rng(wishes.seed) if wishes.shuffle_days else None
    task = leave_one_out(*wishes.loaded(), shuffle_days=lot)
    with bars(console, _NAMES) as tell:

        def scorer(name: str) -> SequenceScorer:
            tell(name, 0.0, "")
            return SequenceScorer(
                name, *configs[name], recall=name == "teacher", taught=TAUGHT, seed=wishes.seed,
                progress=lambda share, text: tell(name, share, text),
            )  # fmt: skip

        told = leave_one_out_report(
            task,
            [scorer(name) for name in names],
            data=wishes.files(),
            seed=wishes.seed,
            protocol={"order": "by day, drawn by lot within a day"} if wishes.shuffle_days else None,
        )
    _write(told, wishes.report, console)
    Console().print(leave_one_out_table(told))


def _names(wishes: Wishes) -> list[str]:
    """The systems in the report's order: those asked for, and what Nextclick is to be compared with."""
    known = (*PARTS, *BASELINES, *CONTROLS)
    names = wishes.named(DEFAULT_SYSTEMS)
    if wishes.scenario is not None:
        names = list(dict.fromkeys([*names, SCENARIO]))
    elif SCENARIO in names:
        raise ReplayCommandError(f"--systems {SCENARIO}: name the rules with --scenario FILE")
    if NO_CONTENT in names:
        names = list(dict.fromkeys([*names, SIGNALS]))
    if wishes.learn != "none" and MAIN in names:
        names = list(dict.fromkeys([*names, WITHOUT[wishes.learn]]))  # what the report's ratio is over
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ReplayCommandError(f"--systems {unknown[0]}: no such system; there are {', '.join(known)}")
    return names


def _apart(names: Sequence[str], wishes: Wishes) -> list[str]:
    """Those of the systems that are computed by themselves."""
    same = SAME if wishes.learn == "none" and wishes.through == "offline" else {}
    return [name for name in names if same.get(name) not in names]


def _plans(wishes: Wishes, repeats: bool | None) -> list[Plan]:
    """One for each seed."""
    data, records = wishes.loaded()
    return [
        plan(
            stream_from(data, records, seed), split=wishes.split, announce=wishes.announce,
            sessions_ms=wishes.sessions_ms, repeats=repeats, seed=seed,
        )
        for seed in range(wishes.seed, wishes.seed + wishes.seeds)
    ]  # fmt: skip


def _releases(wishes: Wishes, scratch: Path, tell: Tell) -> tuple[Releases, Releases, Releases]:
    """Where Nextclick's release comes from, where the one that had teachers, and the one without content.

    The two others are kept beside the first, or trained once more for each replay.
    """
    release, minutes, seeds = wishes.release, wishes.time_budget, wishes.seeds

    def folder(kind: str) -> Path:
        return (
            scratch / kind
            if release is None
            else release.resolve().with_name(f"{release.resolve().name}-{kind}")
        )

    trained = Releases(
        release or scratch / "release", minutes, seeds,
        lambda step, share, text: tell(f"train: {step}", share, text),
    )  # fmt: skip
    distilled = Releases(
        folder("distilled"), minutes, seeds,
        lambda step, share, text: tell(f"distil: {step}", share, text), distil=True,
    )  # fmt: skip
    blind = Releases(
        folder("no-content"), minutes, seeds,
        lambda step, share, text: tell(f"without: {step}", share, text),
    )  # fmt: skip
    return trained, distilled, blind


def _through(
    settings: Settings, wishes: Wishes, releases: Releases, scratch: Path
) -> AbstractContextManager[Maker | None]:
    """For the length of a block the maker of Nextclick behind a broker of its own, if that was asked for."""
    if wishes.through == "offline":
        return nullcontext()
    from streams.replay.through_kafka import through_kafka  # and with it the broker and Kafka's clients

    return through_kafka(settings, releases, scratch)


def _write(told: Report, file: Path | None, console: Console) -> None:
    if file is not None:
        file.write_text(json.dumps(told, indent=1, allow_nan=False) + "\n")
        console.print(f"report written to {file}", soft_wrap=True, markup=False)


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
