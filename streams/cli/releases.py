"""Commands for releases: which there are, what is in them, and which one is live."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from streams.cli.options import takes_settings

if TYPE_CHECKING:
    from streams.settings import Settings

releases = typer.Typer(
    help="Releases: list, show, diff, events, add, promote, rollback, pin, verify.", no_args_is_help=True
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Release = Annotated[str, typer.Argument(help="Id of a release", show_default=False)]
ReleaseOrFolder = Annotated[str, typer.Argument(help="Id of a release, or a folder", show_default=False)]
Reason = Annotated[str, typer.Option(help="Why, for the record")]

_STYLE = {"live": "bold green", "canary": "yellow", "candidate": "cyan", "quarantined": "red"}


@releases.command("list")
@takes_settings("data_dir", "release_store")
def list_releases(settings: "Settings", as_json: AsJson = False) -> None:
    """Show all releases with their roles and why.

    The last changed comes last.
    """
    from streams.releases.by_hand import overview

    found = overview(settings)
    if as_json:
        typer.echo(json.dumps([listed.shown() for listed in found], indent=2))
        return
    if not found:
        typer.echo("no releases; enter one with `nextclick releases add DIR --as live`")
        return
    from rich.table import Table

    from streams.runtime import terminal

    table = Table("release", "role", "decided", "at", "items", "reason", box=None)
    for listed in found:
        record, manifest = listed.record, listed.manifest
        table.add_row(
            listed.release, listed.role, record.decision if record else "",
            _time(record.at) if record else "", f"{manifest.items:,}" if manifest else "?",
            listed.trouble or (record.reason if record else ""), style=_STYLE.get(listed.role, "dim"),
        )  # fmt: skip
    terminal.console().print(table, soft_wrap=False)


@releases.command("show")
@takes_settings("data_dir", "release_store")
def show(settings: "Settings", release: Release, as_json: AsJson = False) -> None:
    """Show all that is known of one release."""
    from streams.releases.by_hand import look_up

    told = look_up(settings, release).shown()
    manifest = told.get("manifest") or {}
    if as_json:
        typer.echo(json.dumps(told, indent=2))
        return
    for name in ("release", "role", "decision", "reason", "url", "sha256", "trouble"):
        if told.get(name):
            typer.echo(f"{name:<12}{told[name]}")
    for name in ("items", "parents", "data", "dims", "encoder", "metrics", "training"):
        if manifest.get(name):
            typer.echo(f"{name:<12}{json.dumps(manifest[name])}")
    for name, value in (told.get("evidence") or {}).items():
        typer.echo(f"  {name:<20}{json.dumps(value)}")


@releases.command("diff")
@takes_settings("data_dir", "release_store")
def diff(
    settings: "Settings", first: ReleaseOrFolder, second: ReleaseOrFolder, as_json: AsJson = False
) -> None:
    """Show what distinguishes two releases."""
    from streams.operate.releases import difference

    told = difference(settings, first, second)
    if as_json:
        typer.echo(json.dumps(told, indent=2))
        return
    typer.echo(" → ".join(told["releases"]))
    for name, (before, after) in told["manifest"].items():
        typer.echo(f"{name:<40}{json.dumps(before)} → {json.dumps(after)}")
    for word, items in told["items"].items():
        some = ", ".join(items[:10]) + (" …" if len(items) > 10 else "")
        typer.echo(f"items {word:<34}{len(items):,}{': ' + some if items else ''}")


@releases.command("events")
@takes_settings("data_dir")
def list_events(
    settings: "Settings",
    last: Annotated[int, typer.Option(min=1, help="How many of the newest")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show what has happened to releases: trained, judged, decided, swapped, failed, drifted.

    The newest comes last. Swaps are those of the workers with this data folder.
    """
    import msgspec

    from streams.releases.events import told

    found = told(settings)[-last:]
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(found), indent=2))
        return
    from rich.table import Table

    from streams.runtime import terminal

    table = Table("at", "what", "release", "why", box=None)
    for event in found:
        table.add_row(_time(event.at), event.kind, event.release, event.reason)
    terminal.console().print(table, soft_wrap=False)


@releases.command("add")
@takes_settings("data_dir", "release_store", "canary_share")
def add_release(
    settings: "Settings",
    folder: Annotated[Path, typer.Argument(help="Folder of a release", exists=True, file_okay=False)],
    role: Annotated[
        Literal["candidate", "canary", "live"],
        typer.Option("--as", help="Its role: a candidate is judged by the learner's gate"),
    ] = "candidate",
    reason: Reason = "by hand",
) -> None:
    """Enter a bundle into the store and announce it."""
    from streams.operate.releases import add

    record = add(settings, folder, role, reason)
    typer.echo(f"{record.release} is {record.role} now, in {record.url}")


@releases.command("promote")
@takes_settings("data_dir", "release_store")
def promote_release(settings: "Settings", release: Release, reason: Reason = "by hand") -> None:
    """Make a release live."""
    from streams.releases.by_hand import promote_by_hand

    promote_by_hand(settings, release, reason)
    typer.echo(f"{release} is live now")


@releases.command("rollback")
@takes_settings("data_dir", "release_store")
def rollback(
    settings: "Settings",
    release: Annotated[
        str | None, typer.Argument(help="Default: the canary, else the live one", show_default=False)
    ] = None,
    reason: Reason = "by hand",
) -> None:
    """Take a release back.

    Where it is live, the one that was live before it is live again.
    """
    from streams.releases.by_hand import roll_back
    from streams.releases.topic import roles_now

    taken = roll_back(settings, release, reason)
    live = roles_now(settings).live
    typer.echo(f"{taken.release} was {taken.role} and is taken back; live is {live.release if live else '-'}")


@releases.command("pin")
@takes_settings("data_dir", "release_store")
def pin_release(
    settings: "Settings",
    release: Annotated[str | None, typer.Argument(help="Default: the live one", show_default=False)] = None,
    off: Annotated[bool, typer.Option("--off", help="Let go of the pinned release.")] = False,
) -> None:
    """Hold a release live against everything automatic."""
    from streams.releases.by_hand import pin

    record = pin(settings, release, off=off)
    typer.echo(f"{record.release} is live and {'no longer pinned' if off else 'pinned'}")


@releases.command("verify")
@takes_settings("data_dir", "release_store")
def verify_releases(
    settings: "Settings",
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RELEASE|DIR]...", help="Default: all that were announced", show_default=False
        ),
    ] = None,
) -> None:
    """Check files and models as a worker does.

    The exit code is 1 when something fails, else 0.
    """
    from learner.release.bundle import ReleaseError
    from streams.operate.releases import folder_of, verify
    from streams.releases.by_hand import ReleasesError
    from streams.releases.store import StoreError
    from streams.releases.topic import roles_now

    failed = False
    for name in names or list(roles_now(settings).records):
        try:
            typer.echo(f"  ok  {verify(folder_of(settings, name))}")
        except (ReleaseError, ReleasesError, StoreError) as error:
            failed = True
            typer.echo(f"fail  {name}: {error}")
    if failed:
        raise typer.Exit(1)


def _time(at_ms: int) -> str:
    from datetime import datetime

    return datetime.fromtimestamp(at_ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")
