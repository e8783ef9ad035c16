"""The command that begins anew."""

from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.options import takes_settings

if TYPE_CHECKING:
    from streams.settings import Settings


@takes_settings("data_dir")
def reset(
    settings: "Settings",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Begin anew: delete all clicks, items and states.

    Shows what there is and asks first. Releases stay in their store.
    """
    from streams.traffic import resetting

    found = resetting.remains(settings)
    if found.empty:
        typer.echo(f"nothing to reset: no topics with the prefix {settings.prefix}, nothing kept here")
        return
    typer.echo(f"This deletes at {settings.bootstrap_servers}, for good:")
    for name, count in found.records.items():
        typer.echo(f"  topic {name} with up to {count:,} records")
    for group in found.groups:
        typer.echo(f"  consumer group {group}")
    for folder in found.folders:
        typer.echo(f"  folder {folder}")
    if found.history:
        typer.echo(f"  history for training {found.history}")
    typer.echo(f"Releases in {settings.store_url} stay; none of them will be live.")
    if not yes:
        typer.confirm("Begin anew?", abort=True)
    resetting.reset(settings, found)
    typer.echo("done; start learner and worker with --release DIR, then `nextclick load`")
