"""`nextclick top`: what all processes say of themselves."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from streams.cli.options import takes_settings

if TYPE_CHECKING:
    from streams.settings import Settings

Sort = Literal["name", "rate", "lag", "freshness", "memory", "age"]


@takes_settings()
def top(
    settings: "Settings",
    once: Annotated[bool, typer.Option("--once", help="Show it a single time.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="As `/v1/status` of an api has it, a line each time.")
    ] = False,
    sort: Annotated[Sort, typer.Option(help="What lines are sorted by")] = "name",
    every: Annotated[float, typer.Option(min=0.1, help="Seconds from one look to the next")] = 1.0,
) -> None:
    """Watch workers, learner and apis.

    A line for each process, and their sum: rates and freshness of the last ten seconds, lag, memory. Ends
    with q or Ctrl-C. In a pipe it prints one table after the other.
    """
    from streams.operate import top as showing

    showing.run(settings, once=once, as_json=as_json, sort=sort, every_s=every)
