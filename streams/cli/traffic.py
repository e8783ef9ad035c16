"""Commands that send clicks, and what is known of users: load, play, user."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.models import Columns, Interactions, Items
from streams.cli.options import takes_settings
from streams.runtime.terminal import many

if TYPE_CHECKING:
    from learner.data.catalogue import Item
    from streams.settings import Settings

LoadedInteractions = Annotated[
    Path | None,
    typer.Option(
        "--interactions", help="CSV or Parquet of user_id, item_id, timestamp, …", show_default=False,
        exists=True, dir_okay=False,
    ),
]  # fmt: skip
Start = Annotated[
    str | None,
    typer.Option("--from", help="First click: a fraction such as 0.8, or an ISO time", show_default=False),
]
Stop = Annotated[
    str | None,
    typer.Option("--to", help="First click left out: a fraction, or an ISO time", show_default=False),
]
Seed = Annotated[int, typer.Option(help="Seed of the order of clicks with the same time")]


@takes_settings("data_dir")
def load(
    settings: "Settings",
    interactions: LoadedInteractions = None,
    items: Items = None,
    columns: Columns = None,
    start: Start = None,
    stop: Stop = None,
    again: Annotated[
        bool, typer.Option("--again", help="Send what was sent before too; most of it counts twice.")
    ] = False,
    unseen: Annotated[
        bool,
        typer.Option("--unseen", help="Send what the topic does not hold, though it has lost old clicks."),
    ] = False,
    withdraw_others: Annotated[
        bool, typer.Option("--withdraw-others", help="Withdraw items that --items does not name.")
    ] = False,
    seed: Seed = 0,
) -> None:
    """Send the past: a file's clicks as history, and items.

    History changes states and signals as any click and triggers no list. Clicks that were
    loaded before are recognised and not sent again, whatever the file is called and
    wherever they stand in it.
    """
    from streams.recorded.clicks import RecordedClicks
    from streams.traffic import loading
    from streams.traffic.admissible import check

    if interactions is None and items is None:
        raise typer.BadParameter("give --interactions FILE, --items FILE, or both")
    if withdraw_others and items is None:
        raise typer.BadParameter("--withdraw-others needs --items, the whole catalogue")
    if interactions is None:
        from learner.data.dataset import columns_named, load_items

        records = load_items(items, columns_named(columns)) if items is not None else []
        _announce(settings, items, records, withdraw_others=withdraw_others)
        return
    clicks = RecordedClicks(interactions, seed, columns, items)
    part = clicks.part(start, stop)
    check(settings, clicks, part)  # before items are sent
    _announce(settings, items, clicks.announced, withdraw_others=withdraw_others)
    with _progress("history", len(part)) as progress:
        loaded = loading.load(settings, clicks, part, again=again, unseen=unseen, progress=progress, say=_say)
    topic = f"{settings.prefix}clicks"
    if loaded.known and not loaded.sent:
        all_were = ("the click", "was") if loaded.known == 1 else (f"all {loaded.known:,} clicks", "were")
        typer.echo(f"nothing new: {all_were[0]} of {interactions} {all_were[1]} sent to {topic} before")
        return
    others = "1 other was" if loaded.known == 1 else f"{loaded.known:,} others were"
    before = f"; {others} sent before" if loaded.known else ""
    typer.echo(f"loaded {many(loaded.sent, 'click')} into {topic}{before}")


@takes_settings()
def play(
    settings: "Settings",
    interactions: Interactions,
    items: Items = None,
    columns: Columns = None,
    speed: Annotated[
        float | None, typer.Option(help="Times the recorded speed", min=1e-9, show_default=False)
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            help="Clicks a second, 0 for as fast as it goes [default: 100]", min=0.0, show_default=False
        ),
    ] = None,
    start: Start = None,
    stop: Stop = None,
    patient: Annotated[
        bool,
        typer.Option("--patient", help="No user clicks again before the last click's list has come."),
    ] = False,
    seed: Seed = 0,
) -> None:
    """Send a file's clicks as live traffic.

    In time order, at any pace. They keep their recorded times, so run workers and learner with
    --clock stream.
    """
    from streams.recorded.clicks import RecordedClicks
    from streams.traffic import playing
    from streams.traffic.admissible import check

    if speed is not None and rate is not None:
        raise typer.BadParameter("give --speed or --rate, not both")
    pace = playing.Pace(speed=speed, rate=100.0 if speed is None and rate is None else rate)
    clicks = RecordedClicks(interactions, seed, columns, items)
    part = clicks.part(start, stop)
    check(settings, clicks, part)
    _announce(settings, items, clicks.announced)
    with _progress("live clicks", len(part)) as progress:
        sent = playing.play(settings, clicks, part, pace, progress, patient=patient)
    typer.echo(f"played {many(sent, 'click')} into {settings.prefix}clicks")


@takes_settings()
def user(
    settings: "Settings",
    user: Annotated[str, typer.Argument(help="The user's id")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what is known of a user.

    History, consumed items, applied offset, release and (with --json) the hidden state.
    """
    from datetime import UTC, datetime

    import msgspec
    from rich.table import Table
    from rich.text import Text

    from streams.operate import watching
    from streams.runtime import terminal

    known = watching.known_of(settings, user)
    if as_json:
        typer.echo(
            terminal.shown_json(msgspec.json.encode(known).decode())
        )  # a value beyond float32 becomes null
        return
    titles = watching.Titles.read(settings)
    console = terminal.console()
    applied = known["applied"]
    console.print(
        Text(user, style="bold").append(
            f": {known['events']:,} events, {len(known['consumed']):,} items consumed", style="not bold"
        )
    )
    if known["merged_into"] is not None:
        console.print(f"merged into {known['merged_into']!r}: for a day clicks and requests are that user's")
    console.print(
        f"applied up to offset {applied['offset']} of partition {applied['partition']}, "
        f"hidden state ({len(known['hidden'])} numbers) of release {known['release'] or '-'}"
    )
    table = Table("when", "event", "item", "value", box=None)
    for event in reversed(known["history"][-20:]):
        when = datetime.fromtimestamp(event["timestamp"] / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        value = "" if event["value"] is None else f"{event['value']:g}"
        table.add_row(when, event["event"], titles.of(event["item_id"]), value)
    console.print(table, soft_wrap=False)
    if len(known["history"]) > 20:
        console.print(f"… and {len(known['history']) - 20} earlier ones (--json shows them)")


def _announce(
    settings: "Settings", items: Path | None, records: "list[Item]", *, withdraw_others: bool = False
) -> None:
    if items is None:
        return
    from streams.traffic import catalogue

    if withdraw_others and not records:  # an export that failed
        raise typer.BadParameter(f"{items} names no item: --withdraw-others would withdraw all there are")
    with _progress("items", len(records)) as progress:
        sent = catalogue.send_items(settings, records, progress, _say)
    typer.echo(f"announced {many(sent, 'item')}")
    if not (others := catalogue.missing_from(settings, records)):
        return
    named = ", ".join(others[:5]) + (", …" if len(others) > 5 else "")
    if withdraw_others:
        catalogue.withdraw(settings, others)
        are = "is" if len(others) == 1 else "are"
        typer.echo(f"withdrew {many(len(others), 'item')} that {are} not in {items}: {named}")
        return
    items_are = (
        "1 item known from before is" if len(others) == 1 else f"{len(others):,} items known from before are"
    )
    typer.echo(f"{items_are} not in {items}: {named}; --withdraw-others withdraws them")


def _say(line: str) -> None:
    """What a person should know beside the result."""
    typer.echo(line, err=True)


@contextmanager
def _progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yields what is told how many of `total` are done."""
    from streams.runtime.progress import bars

    began = time.monotonic()
    with bars() as tell:

        def done(count: int) -> None:
            rate = count / max(time.monotonic() - began, 0.001)
            tell(what, count / max(total, 1), f"{count:,} of {total:,}, {rate:,.0f}/s")

        done(0)
        yield done
