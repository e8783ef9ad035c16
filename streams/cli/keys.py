"""Commands for keys: who may ask over HTTP, and for what."""

import time
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from streams.cli.options import WithIds, takes_settings

if TYPE_CHECKING:
    from streams.settings import Settings

keys = typer.Typer(help="Keys for HTTP: add, list, revoke.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(help="The key's name", show_default=False)]


@keys.command("add")
@takes_settings()
def add(
    settings: "Settings",
    name: Name,
    scope: Annotated[
        Literal["public", "read", "write", "admin"],
        typer.Option(
            help="public: for browsers, sends clicks and reads lists; read: reads everything; write: also "
            "sends clicks and items; admin: everything",
            show_default=False,
        ),
    ],
    origin: Annotated[
        list[str] | None,
        typer.Option(
            "--origin",
            help="Pages that may use a public key, such as https://shop.example; may be given several times",
            show_default=False,
        ),
    ] = None,
    expires: Annotated[
        float | None, typer.Option(help="Days until it is not taken any more", show_default=False, min=0.001)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, this once.

    A public key comes with a secret, for your server alone: it makes the users' tokens.
    """
    import json

    from streams.operate.keys import add as made

    new = made(settings, name, scope, origin or [], expires, int(time.time() * 1000))
    if as_json:
        told = {"name": name, "scope": scope, "key": new.key, "origins": new.record.origins}
        told |= {"secret": new.secret} if new.secret else {}
        typer.echo(json.dumps(told | {"expires_at": new.record.expires_at}))
        return
    typer.echo(new.key)
    if new.secret:
        typer.echo(new.secret)
        typer.echo(
            "the first line is the key, for your pages; the second one its secret, for your server alone, "
            "which gives each user a token:\n"
            "  Python: hmac.new(SECRET.encode(), user_id.encode(), 'sha256').hexdigest()\n"
            "  Node:   crypto.createHmac('sha256', SECRET).update(user_id).digest('hex')",
            err=True,
        )
        if not new.record.origins:
            typer.echo("no page may use it: --origin says which may", err=True)
    typer.echo("this is not shown again; send the key as `Authorization: Bearer KEY`", err=True)


@keys.command("list")
@takes_settings()
def list_keys(settings: "Settings", as_json: AsJson = False) -> None:
    """Show the keys that there are; never their texts, which nobody keeps."""
    import json

    from rich.table import Table

    from streams.operate.keys import listed
    from streams.runtime import terminal

    found, now_ms = listed(settings), int(time.time() * 1000)
    if as_json:
        told = [
            {
                "name": each.name, "scope": each.scope, "origins": each.origins,
                "created_at": each.created_at, "expires_at": each.expires_at,
                "in_force": each.in_force(now_ms),
            }
            for each in found
        ]  # fmt: skip
        typer.echo(json.dumps(told))
        return
    if not found:
        typer.echo("no keys; `nextclick keys add NAME --scope read` makes one")
        return
    table = Table("key", "scope", "made", "expires", "origins", box=None)
    for each in found:
        ends = "never" if each.expires_at is None else _day(each.expires_at)
        ends += "" if each.in_force(now_ms) else " (expired)"
        table.add_row(each.name, each.scope, _day(each.created_at), ends, ", ".join(each.origins))
    terminal.console().print(table, soft_wrap=False)


@keys.command("revoke", cls=WithIds)
@takes_settings()
def revoke(settings: "Settings", name: Name) -> None:
    """Take a key out of force, within a second everywhere."""
    from streams.operate.keys import revoke as revoked

    left = revoked(settings, name)
    typer.echo(f"{name} is revoked")
    if not left:
        typer.echo(
            "no key is left: an api on 127.0.0.1 is open to all of this machine again, others answer nobody"
        )


def _day(at_ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at_ms / 1000))
