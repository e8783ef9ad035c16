"""Commands that make and judge models: train a release, replay recorded clicks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.options import takes_settings

if TYPE_CHECKING:
    from streams.settings import Settings

Interactions = Annotated[
    Path, typer.Option(help="CSV or Parquet of user_id, item_id, timestamp, …", exists=True, dir_okay=False)
]
Items = Annotated[
    Path | None,
    typer.Option(help="CSV or Parquet of item_id, title, …", exists=True, dir_okay=False, show_default=False),
]


@takes_settings("repeat_consumption", "log_level", kafka=False)
def train(
    settings: "Settings",
    interactions: Interactions,
    out: Annotated[Path, typer.Option(help="Folder to write the release to", file_okay=False)],
    items: Items = None,
    to: Annotated[
        float, typer.Option(help="Share of the events, oldest first, to train on", min=0.001, max=1.0)
    ] = 1.0,
    time_budget: Annotated[float, typer.Option(help="Minutes that training may take", min=0.05)] = 6.0,
    seed: Annotated[int, typer.Option(help="Seed of everything random")] = 0,
) -> None:
    """Make a release from recorded clicks.

    A release holds the student, the ranker, item vectors and their index.
    """
    from streams import train_command

    train_command.run(
        settings, interactions=interactions, items=items, out=out, to=to, time_budget=time_budget, seed=seed
    )


@takes_settings("repeat_consumption", "diversity", "log_level", kafka=True)
def replay(
    settings: "Settings",
    interactions: Interactions,
    items: Items = None,
    split: Annotated[float, typer.Option(help="Share of the events that trains", min=0.0, max=1.0)] = 0.8,
    seed: Annotated[int, typer.Option(help="Seed of ties and training")] = 0,
    systems: Annotated[
        str | None, typer.Option(help="Comma-separated systems [default: all]", show_default=False)
    ] = None,
    announce: Annotated[
        str, typer.Option(help="When items enter the catalogue: strict, first_click or start")
    ] = "strict",
    report: Annotated[
        Path | None, typer.Option(help="Write the figures to this file as JSON", show_default=False)
    ] = None,
    time_budget: Annotated[float, typer.Option(help="Minutes that training may take", min=0.05)] = 6.0,
) -> None:
    """Judge the system on recorded clicks.

    Each click is ranked before it is learned from.
    """
    from streams import replay_command

    replay_command.run(
        settings, interactions=interactions, items=items, split=split, seed=seed, systems=systems,
        announce=announce, report=report, time_budget=time_budget,
    )  # fmt: skip
