"""Commands for the catalogue: which items there are, and announcing or withdrawing some by hand."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.options import WithIds, takes_settings

if TYPE_CHECKING:
    from streams.settings import Settings
    from streams.traffic.catalogue import Entry

items = typer.Typer(help="Items: list, show, announce, withdraw.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ItemId = Annotated[str, typer.Argument(help="The item's id", show_default=False)]
Several = Annotated[list[str], typer.Argument(help="Ids of items", show_default=False)]


@items.command("list")
@takes_settings()
def list_items(
    settings: "Settings",
    as_json: AsJson = False,
    withdrawn: Annotated[bool, typer.Option("--withdrawn", help="Only those that were withdrawn.")] = False,
    limit: Annotated[int, typer.Option(help="At most so many, 0 for all", min=0)] = 100,
) -> None:
    """Show the items that may be recommended now.

    Those announced, and those of the live release where it can be read here.
    """
    from streams.runtime import terminal
    from streams.traffic.catalogue import entries

    known = entries(settings)
    found = [entry for entry in known.values() if entry.available is not withdrawn]
    shown = found[:limit] if limit else found
    if as_json:
        for entry in shown:
            typer.echo(terminal.shown_json(json.dumps(_described(entry), ensure_ascii=False)))
        return
    for entry in shown:
        title = " ".join(((entry.item.title if entry.item else None) or "").split())
        typer.echo(f"{terminal.on_a_line(entry.item_id)}\t{terminal.on_a_line(title)}")
    gone = sum(not entry.available for entry in known.values())
    more = f" ({len(found) - len(shown):,} more: --limit 0)" if len(shown) < len(found) else ""
    typer.echo(f"{len(known) - gone:,} items may be recommended, {gone:,} are withdrawn{more}")


@items.command("show", cls=WithIds)
@takes_settings()
def show(settings: "Settings", item: ItemId) -> None:
    """Show all that is said of one item, as JSON."""
    from streams.runtime import terminal
    from streams.traffic.catalogue import look_up

    entry = look_up(settings, item)
    if entry is None:
        typer.echo(
            f"nobody has announced {item!r}; `nextclick items list --limit 0` shows all, and "
            f"`nextclick items announce {item} --title …` announces it",
            err=True,
        )
        raise typer.Exit(1)
    typer.echo(terminal.shown_json(json.dumps(_described(entry), indent=2, ensure_ascii=False)))


@items.command("announce", cls=WithIds)
@takes_settings()
def announce(
    settings: "Settings",
    item: ItemId,
    title: Annotated[str | None, typer.Option(show_default=False)] = None,
    description: Annotated[str | None, typer.Option(show_default=False)] = None,
    category: Annotated[
        list[str] | None, typer.Option(help="May be given several times", show_default=False)
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="May be given several times", show_default=False)
    ] = None,
    price: Annotated[float | None, typer.Option(show_default=False)] = None,
) -> None:
    """Announce one item, or bring a withdrawn one back.

    What is not given stays as it was said before.
    """
    import msgspec

    from learner.data.catalogue import Item
    from streams.traffic.catalogue import look_up, send_items

    before = look_up(settings, item)
    given: dict[str, Any] = {
        "title": title, "description": description, "categories": category, "tags": tag, "price": price,
    }  # fmt: skip
    record = msgspec.structs.replace(
        (before.item if before and before.item else Item(item_id=item)),
        available=True,
        **{name: value for name, value in given.items() if value is not None},
    )
    send_items(settings, [record], say=lambda line: typer.echo(f"warning: {line}", err=True))
    typer.echo(f"announced {item}")


@items.command("withdraw", cls=WithIds)
@takes_settings()
def withdraw(settings: "Settings", item: Several) -> None:
    """Withdraw items: no list holds them until they are announced again.

    Their users' histories keep them.
    """
    from streams.traffic import catalogue

    known = catalogue.entries(settings)
    for each in item:
        if each not in known:
            typer.echo(f"warning: nobody has announced {each!r}; it is withdrawn all the same", err=True)
    count = catalogue.withdraw(settings, item)
    typer.echo(f"withdrew {count:,} {'item' if count == 1 else 'items'}")


def _described(entry: "Entry") -> dict[str, Any]:
    import msgspec

    told = msgspec.to_builtins(entry.item) if entry.item is not None else {"item_id": entry.item_id}
    return told | {"available": entry.available, "said_at": entry.at_ms, "said_by": entry.source}
