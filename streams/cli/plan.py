"""The command that says what a load needs."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.options import takes_settings

if TYPE_CHECKING:
    from streams.settings import Settings


@takes_settings("data_dir", "release", kafka=False)
def plan(
    settings: "Settings",
    clicks_per_second: Annotated[float, typer.Option(min=0.01, help="Clicks a second at the peak")] = 100.0,
    items: Annotated[int, typer.Option(min=1, help="Items in the catalogue")] = 10_000,
    users: Annotated[int, typer.Option(min=1, help="Users who are known")] = 100_000,
    reads_per_second: Annotated[float, typer.Option(min=0, help="Lists a second over HTTP")] = 0.0,
    replication: Annotated[int, typer.Option(min=1, max=9, help="Copies that brokers keep")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    as_values: Annotated[
        bool, typer.Option("--values", help="Print values for the chart in deploy/chart/.")
    ] = False,
    measure: Annotated[
        bool,
        typer.Option("--measure", help="Measure this machine with --release first: a minute on a quiet one."),
    ] = False,
) -> None:
    """Say what a load needs.

    Workers, partitions, memory, disk, network and cores, each with the reason. What a click costs was
    measured on another machine, unless --measure has measured this one.
    """
    import time

    from rich.table import Table

    from streams.operate import chart_values, sizing
    from streams.runtime import terminal

    if as_json and as_values:
        raise typer.BadParameter("--json and --values are two forms; choose one", param_hint="--values")
    if measure:
        from streams.operate import measuring

        if settings.release is None:
            raise typer.BadParameter(
                "--measure needs a release to measure with: a folder", param_hint="--release"
            )
        found = measuring.measure(
            Path(settings.release),
            time.strftime("%Y-%m-%d"),
            lambda words: typer.echo(f"{words} …", err=True),
        )
        typer.echo(f"measured: {sizing.write(settings.data_dir, found)}", err=True)
    constants = sizing.known_constants(settings.data_dir)
    load = sizing.Load(clicks_per_second, items, users, reads_per_second, replication)
    figures = sizing.plan(load, settings, constants)
    if as_values:
        typer.echo(
            f"# nextclick plan --clicks-per-second {clicks_per_second:g} --items {items} --users {users}"
            + (f" --reads-per-second {reads_per_second:g}" if reads_per_second else "")
            + f" --replication {replication} --values"
        )
        values = chart_values.chart_values(figures, constants, replication)
        typer.echo("\n".join(chart_values.as_yaml(values)))
        return
    if as_json:
        typer.echo(json.dumps(sizing.told(load, figures, constants), indent=2))
        return
    console = terminal.console()
    table = Table(box=None, pad_edge=False, show_header=False)
    before = ""
    for figure in figures:
        table.add_row(figure.of if figure.of != before else "", figure.what, sizing.shown(figure), figure.why)
        before = figure.of
    console.print(table)
    console.print(f"\nrests on ({constants.machine}, {constants.measured}):")
    origins = Table(box=None, pad_edge=False, show_header=False)
    for each in constants.by_name.values():
        origins.add_row(f"{each.value:,g} {each.unit}", each.what, each.origin)
    console.print(origins)
