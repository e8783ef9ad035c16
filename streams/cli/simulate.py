"""Commands that play worlds which nobody has recorded."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.options import takes_settings

if TYPE_CHECKING:
    from streams.settings import Settings

simulate = typer.Typer(help="Play a world that changes: drift.", no_args_is_help=True)


@simulate.callback()
def _simulate() -> None:
    """Play a world that changes."""


@simulate.command()
@takes_settings("k", kafka=False)
def drift(
    settings: "Settings",
    interactions: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="CSV or Parquet of clicks")],
    items: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="CSV or Parquet of items", show_default=False),
    ] = None,
    split: Annotated[float, typer.Option(help="Share of the clicks that the release is trained on")] = 0.5,
    at: Annotated[float, typer.Option("--drift", help="Where in the stream the world changes")] = 0.65,
    seed: Annotated[int, typer.Option(help="The first seed")] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds")] = 3,
    time_budget: Annotated[float, typer.Option(help="Minutes for each training; two a seed")] = 3.0,
    report: Annotated[Path | None, typer.Option(help="JSON file to write", show_default=False)] = None,
    plot: Annotated[Path | None, typer.Option(help="PNG file to write", show_default=False)] = None,
) -> None:
    """Recorded clicks in a world that changes in mid-stream.

    Users of two genres swap tastes, half of the items go on under other names. Compares a frozen system,
    one that learns users' states, one that also keeps signals, one that also refreshes its ranker and
    trains everything anew at times, and an oracle that has lived in the new world all along.
    """
    from streams.replay import simulate as command

    wishes = command.Wishes(
        interactions=interactions, items=items, split=split, drift=at, seed=seed, seeds=seeds,
        time_budget=time_budget, report=report, plot=plot,
    )  # fmt: skip
    command.run(settings, wishes)
