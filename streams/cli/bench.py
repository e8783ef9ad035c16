"""Commands that measure a running system from outside."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.options import takes_settings

if TYPE_CHECKING:
    from streams.settings import Settings

bench = typer.Typer(help="Measure a running system: freshness, swap, http.", no_args_is_help=True)

Report = Annotated[Path | None, typer.Option("--report", help="JSON file to write", show_default=False)]


@bench.command()
@takes_settings("data_dir", "release_store")
def freshness(
    settings: "Settings",
    samples: Annotated[int, typer.Option(min=2, help="Trials of each kind")] = 100,
    report: Report = None,
) -> None:
    """How soon a click, an item, a withdrawal and a release show in lists.

    Needs worker and learner at work, clicks loaded, and no other traffic. Announces copies of the live
    release.
    """
    from streams.operate import freshness as measuring

    with _spinner() as tick:
        found = measuring.freshness(settings, samples, tick)
    _tell(found, report)


@bench.command()
@takes_settings("data_dir", "release_store")
def swap(
    settings: "Settings",
    rate: Annotated[float, typer.Option(min=1, help="Clicks a second")] = 1000.0,
    swaps: Annotated[int, typer.Option(min=1, help="How often the live release is swapped")] = 20,
    every: Annotated[float, typer.Option(min=0.5, help="Seconds between two swaps")] = 5.0,
    report: Report = None,
) -> None:
    """Whether anyone notices when the live release is swapped under load.

    Needs worker and learner at work and clicks loaded. Announces copies of the live release. Memory is
    that of the workers on this machine.
    """
    from streams.operate import swaps as measuring
    from streams.operate.processes import workers_here

    with _spinner() as tick:
        found = measuring.swaps(settings, rate, swaps, every, workers_here(settings.prefix), tick)
    _tell(found, report)


@bench.command()
@takes_settings("data_dir")
def http(
    settings: "Settings",
    rate: Annotated[float, typer.Option(min=1, help="Held lists a second")] = 1500.0,
    seconds: Annotated[float, typer.Option(min=1, help="How long each kind of load lasts")] = 30.0,
    computed: Annotated[float, typer.Option(min=1, help="Computed lists a second")] = 100.0,
    clicks: Annotated[float, typer.Option(min=100, help="Clicks a second, 100 in a body")] = 5000.0,
    users: Annotated[int, typer.Option(min=1, help="Whose lists are read, at most")] = 1000,
    samples: Annotated[int, typer.Option(min=1, help="Clicks whose lists are awaited on a stream")] = 100,
    url: Annotated[str, typer.Option(help="Of the api; by default on this machine, on api_port")] = "",
    key: Annotated[str, typer.Option(envvar="NEXTCLICK_KEY", help="Where the api asks for one")] = "",
    report: Report = None,
) -> None:
    """What an api gives: lists, clicks, and a click to its list on a stream.

    Needs worker and api at work and clicks loaded. Requests go out when they are due, however long
    answers take. Sends clicks of users of its own. Memory is the api's, where it runs on this machine.
    """
    import numpy as np

    from streams.operate.bench_http import Plan, over_http
    from streams.operate.http_load import Target
    from streams.operate.probe import BenchError

    try:
        target = Target(url or f"http://{settings.api_host}:{settings.api_port}", key)
    except ValueError as error:
        raise BenchError(str(error)) from error
    plan = Plan(rate, seconds, computed, clicks, users, samples)
    with _spinner() as tick:
        found = over_http(settings, target, plan, np.random.default_rng(0), tick)
    _tell(found, report)


class _spinner:  # noqa: N801 (used like a function)
    """A line on the terminal that says what is measured now."""

    def __enter__(self) -> Any:
        from rich.console import Console

        self._status = Console(stderr=True).status("asking for a first list")
        self._status.start()
        return lambda what: self._status.update(f"measuring {what}")

    def __exit__(self, *exc: object) -> None:
        self._status.stop()


def _tell(found: dict[str, Any], report: Path | None) -> None:
    typer.echo(json.dumps(found, indent=2))
    if report is not None:
        report.write_text(json.dumps(found, indent=2) + "\n")
