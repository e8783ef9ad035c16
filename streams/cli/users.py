"""Commands about one user: what is kept of the user, and a visitor who turns out to be the user."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.options import WithIds, takes_settings

if TYPE_CHECKING:
    from streams.settings import Settings

users = typer.Typer(help="One user's things: export, merge.", no_args_is_help=True)


@users.command("export", cls=WithIds)
@takes_settings("data_dir")
def export_user(
    settings: "Settings",
    user: Annotated[str, typer.Argument(help="The user's id", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(help="File to write instead of the terminal", show_default=False)
    ] = None,
) -> None:
    """Print all that is kept of a user, as JSON.

    State and history, clicks, requests and lists that the topics still hold, records that could not be used,
    clicks in the history for training; and where each is kept, and for how long.
    """
    import json
    import os

    from streams.operate.one_user import export
    from streams.runtime import terminal

    known = export(settings, user)
    text = json.dumps(known, ensure_ascii=False, indent=2, allow_nan=False)
    if out is None:
        typer.echo(terminal.shown_json(text))
        return
    with open(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123 (nobody else may read it)
        file.write(text + "\n")
    kept = known["training_history"].get("clicks", [])
    typer.echo(
        f"{out}: {len(known['clicks']):,} clicks, {len(known['lists']):,} lists, {len(kept):,} clicks kept "
        f"for training, {'a' if known['state'] else 'no'} state"
    )


@users.command("merge", cls=WithIds)
@takes_settings()
def merge_users(
    settings: "Settings",
    visitor: Annotated[
        str, typer.Argument(help="The id that the user had before logging in", show_default=False)
    ],
    user: Annotated[str, typer.Argument(help="The user's id", show_default=False)],
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the workers' word")] = 10.0,
) -> None:
    """Merge an anonymous visitor into a user.

    The user's history gets the visitor's events, in order of time, and the visitor's is emptied. For a day
    clicks and requests of the visitor are taken as the user's. There is no way back.
    """
    from streams.operate.merging import Come, merge

    come = merge(settings, visitor, user, timeout)
    if come is Come.DONE:
        typer.echo(f"merged: {visitor} is {user}")
    else:
        typer.echo(f"{come.value}; the rest follows when the workers read it")
