"""Commands that make and judge models: train a release, replay recorded clicks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from streams.cli.options import takes_settings

if TYPE_CHECKING:
    from streams.settings import Settings

_UNIT_MS = {"s": 1000, "m": 60_000, "h": 3_600_000}

Interactions = Annotated[
    Path,
    typer.Option(
        help="CSV, JSON Lines or Parquet of user_id, item_id, timestamp, …", exists=True, dir_okay=False
    ),
]
Items = Annotated[
    Path | None,
    typer.Option(
        help="CSV, JSON Lines or Parquet of item_id, title, …",
        exists=True,
        dir_okay=False,
        show_default=False,
    ),
]
Columns = Annotated[
    str | None,
    typer.Option(
        "--columns", help="The files' own names: user_id=userId,item_id=movieId", show_default=False
    ),
]
Scenario = Annotated[
    Path | None,
    typer.Option(
        help="Replay under the rules in this file too (JSON, as `scenarios put` takes it): what they "
        "cost, and how often each has a say. Nothing but states and signals learns then",
        show_default=False,
        exists=True,
        dir_okay=False,
    ),
]


@takes_settings(
    "repeat_consumption", "encoder_model", "encoder_url", "encoder_pooling", "log_level", kafka=False
)
def train(
    settings: "Settings",
    interactions: Interactions,
    out: Annotated[Path, typer.Option(help="Folder to write the release to", file_okay=False)],
    items: Items = None,
    columns: Columns = None,
    to: Annotated[
        float, typer.Option(help="Share of the events, oldest first, to train on", min=0.001, max=1.0)
    ] = 1.0,
    time_budget: Annotated[float, typer.Option(help="Minutes that training may take", min=0.05)] = 6.0,
    quick: Annotated[
        bool, typer.Option("--quick", help="A first release within half a minute; learners make better ones")
    ] = False,
    hold_back: Annotated[
        int,
        typer.Option(
            help="Newest events to leave out, a fifth at most, for a learner to judge the next release by",
            min=0,
        ),
    ] = 0,
    seed: Annotated[int, typer.Option(help="Seed of everything random")] = 0,
    tuned: Annotated[
        Path | None,
        typer.Option(help="Settings that `nextclick tune` has found", show_default=False, dir_okay=False),
    ] = None,
    logs: Annotated[
        Path | None,
        typer.Option(help="Write TensorBoard logs to this folder", show_default=False, file_okay=False),
    ] = None,
) -> None:
    """Make a release from recorded clicks.

    A release holds the student, the ranker, item vectors and their index.
    """
    from streams.training import train as command

    command.run(
        settings, command.Recorded(interactions, items, to, columns, hold_back), out=out,
        time_budget=min(command.QUICK_MINUTES, time_budget) if quick else time_budget,
        seed=seed, tuned=tuned, logs=logs, quick=quick,
    )  # fmt: skip


@takes_settings("repeat_consumption", "log_level", kafka=False)
def tune(
    settings: "Settings",
    interactions: Interactions,
    out: Annotated[Path, typer.Option(help="File to write the settings to", dir_okay=False)] = Path(
        "tuned.toml"
    ),
    items: Items = None,
    columns: Columns = None,
    to: Annotated[
        float, typer.Option(help="Share of the events, oldest first, to search on", min=0.001, max=1.0)
    ] = 1.0,
    time_budget: Annotated[float, typer.Option(help="Minutes that the search may take", min=0.05)] = 15.0,
    trials: Annotated[
        int | None, typer.Option(help="At most so many trials of each model", min=1, show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random")] = 0,
) -> None:
    """Search settings for your data; `train --tuned FILE` uses them. The defaults are good without it."""
    from streams.training import tune as command
    from streams.training.train import Recorded

    command.run(
        settings,
        Recorded(interactions, items, to, columns),
        out=out,
        time_budget=time_budget,
        trials=trials,
        seed=seed,
    )


@takes_settings("repeat_consumption", "diversity", "k", "log_level", kafka=False)
def replay(
    settings: "Settings",
    interactions: Interactions,
    items: Items = None,
    columns: Columns = None,
    split: Annotated[float, typer.Option(help="Share of the events that trains", min=0.0, max=1.0)] = 0.8,
    seed: Annotated[int, typer.Option(help="Seed of ties and training")] = 0,
    seeds: Annotated[int, typer.Option(help="How many seeds to average over", min=1)] = 1,
    systems: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated systems [default: nextclick, every baseline, random]", show_default=False
        ),
    ] = None,
    announce: Annotated[
        Literal["strict", "first_click", "start"], typer.Option(help="When items enter the catalogue")
    ] = "strict",
    sessions: Annotated[
        str | None,
        typer.Option(help="Make bursts users of their own, cut at such gaps, like 30m", show_default=False),
    ] = None,
    protocol: Annotated[
        Literal["prequential", "leave-one-out"],
        typer.Option(help="Click by click, or each user's last item as papers do (student and teacher)"),
    ] = "prequential",
    through: Annotated[
        Literal["offline", "kafka"],
        typer.Option(help="Ask in this process, or a real worker and learner through a broker, in lock step"),
    ] = "offline",
    without: Annotated[
        str | None,
        typer.Option(help="Comma-separated fields of the items to leave out, like tags", show_default=False),
    ] = None,
    learn: Annotated[
        Literal["none", "ranker", "periodic"] | None,
        typer.Option(
            help="What learns after the split beside states and signals: nothing, the ranker, all at times "
            "(default: the ranker, every 250 lists; through kafka: nothing)",
            show_default=False,
        ),
    ] = None,
    release: Annotated[
        Path | None,
        typer.Option(
            help="Use the release in this folder, or keep the one trained here in it",
            show_default=False,
            file_okay=False,
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write the figures to this file as JSON", show_default=False)
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw quality over the stream to this PNG", show_default=False)
    ] = None,
    time_budget: Annotated[float, typer.Option(help="Minutes that training may take", min=0.05)] = 6.0,
    scenario: Scenario = None,
    shuffle_days: Annotated[
        bool,
        typer.Option(
            "--shuffle-days",
            help="With leave-one-out: draw the order of a user's events of one day by lot (by --seed), where "
            "the file's order within a day means nothing",
        ),
    ] = False,
) -> None:
    """Judge the system on recorded clicks: each is ranked before it is learned from."""
    from streams.replay import command
    from streams.replay.wishes import Wishes

    wishes = Wishes(
        interactions=interactions, items=items, columns=columns, without=_listed(without), split=split,
        seed=seed, seeds=seeds,
        announce=announce, sessions_ms=_milliseconds(sessions), systems=_listed(systems),
        learn=learn or ("none" if through == "kafka" or scenario is not None else "ranker"),
        through=through, release=release, time_budget=time_budget, report=report, plot=plot,
        shuffle_days=shuffle_days, scenario=scenario,
    )  # fmt: skip
    if protocol == "leave-one-out":
        command.run_leave_one_out(wishes)
    else:
        command.run(settings, wishes)


def _listed(text: str | None) -> list[str]:
    return text.split(",") if text else []


def _milliseconds(text: str | None) -> int | None:
    """A length of time such as 90s, 30m or 2h."""
    if text is None:
        return None
    number, unit = text[:-1], text[-1:]
    if unit not in _UNIT_MS or not number.isdigit() or int(number) == 0:
        raise typer.BadParameter(
            f"expected a time like 90s, 30m or 2h, got {text!r}", param_hint="--sessions"
        )
    return int(number) * _UNIT_MS[unit]
