"""Commands that send clicks and look at lists: load, play, watch, recommend, user."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.models import Interactions, Items
from streams.cli.options import takes_settings

if TYPE_CHECKING:
    from streams.operate.watching import Shown, Titles
    from streams.settings import Settings

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
    interactions: Interactions,
    items: Items = None,
    start: Start = None,
    stop: Stop = None,
    again: Annotated[bool, typer.Option("--again", help="Send what was loaded before once more.")] = False,
    seed: Seed = 0,
) -> None:
    """Send the past: a file's clicks as history.

    History changes states and signals as any click and triggers no list. Goes on where an
    interrupted run ended, and refuses to send a complete file twice.
    """
    from streams.recorded.clicks import RecordedClicks
    from streams.traffic import loading

    _announce(settings, items)
    clicks = RecordedClicks(interactions, seed)
    part = clicks.part(start, stop)
    with _progress("history", len(part)) as progress:
        sent = loading.load(settings, clicks, part, again=again, progress=progress)
    typer.echo(f"loaded {sent:,} clicks into {settings.prefix}clicks")


@takes_settings()
def play(
    settings: "Settings",
    interactions: Interactions,
    items: Items = None,
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

    if speed is not None and rate is not None:
        raise typer.BadParameter("give --speed or --rate, not both")
    pace = playing.Pace(speed=speed, rate=100.0 if speed is None and rate is None else rate)
    _announce(settings, items)
    clicks = RecordedClicks(interactions, seed)
    part = clicks.part(start, stop)
    with _progress("live clicks", len(part)) as progress:
        sent = playing.play(settings, clicks, part, pace, progress, patient=patient)
    typer.echo(f"played {sent:,} clicks into {settings.prefix}clicks")


@takes_settings()
def watch(
    settings: "Settings",
    user: Annotated[str | None, typer.Option(help="Only this user's lists", show_default=False)] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One record a line, as it stands in the topic.")
    ] = False,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="All lists there are, first.")
    ] = False,
) -> None:
    """Follow the recommendations as they are made.

    Runs until Ctrl-C. Titles come from the topic `items`.
    """
    from rich.console import Console

    from streams.operate import watching

    titles = watching.Titles() if as_json else watching.Titles.read(settings)
    console = Console(highlight=False, soft_wrap=True)
    for shown in watching.lists(settings, titles, user=user, from_beginning=from_beginning):
        if as_json:
            print(shown.raw.decode(), flush=True)
        else:
            _print_line(console, shown, titles)


@takes_settings()
def recommend(
    settings: "Settings",
    user: Annotated[str, typer.Argument(help="The user's id")],
    k: Annotated[int | None, typer.Option("--k", help="Items to ask for", min=1, show_default=False)] = None,
    query: Annotated[
        str | None, typer.Option(help="What is looked for, in plain words", show_default=False)
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(help="An item to leave out; may be given several times", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the answer", min=0.1)] = 10.0,
) -> None:
    """Ask for a user's list now.

    Goes through the topic `requests` and waits for the answer of a worker.
    """
    from streams.operate import watching

    shown = watching.ask(settings, user, k=k, query=query, exclude=exclude, timeout_s=timeout)
    if as_json:
        typer.echo(shown.raw.decode())
    else:
        _print_table(shown, watching.Titles.read(settings))


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
    from rich.console import Console
    from rich.table import Table

    from streams.operate import watching

    known = watching.known_of(settings, user)
    if as_json:
        typer.echo(msgspec.json.encode(known).decode())  # a value beyond float32 becomes null
        return
    titles = watching.Titles.read(settings)
    console = Console(highlight=False)
    applied = known["applied"]
    console.print(f"[bold]{user}[/]: {known['events']:,} events, {len(known['consumed']):,} items consumed")
    console.print(
        f"applied up to offset {applied['offset']} of partition {applied['partition']}, "
        f"hidden state ({len(known['hidden'])} numbers) of release {known['release'] or '-'}"
    )
    table = Table("when", "event", "item", "value", box=None)
    for event in reversed(known["history"][-20:]):
        when = datetime.fromtimestamp(event["timestamp"] / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        value = "" if event["value"] is None else f"{event['value']:g}"
        table.add_row(when, event["event"], titles.of(event["item_id"]), value)
    console.print(table)
    if len(known["history"]) > 20:
        console.print(f"… and {len(known['history']) - 20} earlier ones (--json shows them)")


def _announce(settings: "Settings", items: Path | None) -> None:
    if items is None:
        return
    from learner.data.dataset import load_items
    from streams.traffic import loading

    records = load_items(items)
    with _progress("items", len(records)) as progress:
        sent = loading.send_items(settings, records, progress)
    typer.echo(f"announced {sent:,} items")


@contextmanager
def _progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on the terminal (nothing where there is none); yields what is told how many are done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    class Rate(TextColumn):
        def render(self, task):  # type: ignore[no-untyped-def]
            from rich.text import Text

            return Text(f"{task.speed or 0:,.0f}/s", style="dim")

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(""),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def _reason(kind: str, items: list[str], titles: "Titles") -> str:
    if kind == "because_clicked":
        return "because of " + ", ".join(map(titles.of, items))
    return {
        "for_you": "for you", "popular": "popular now", "new": "new", "explore": "to explore",
        "matches_query": "matches the query",
    }.get(kind, kind)  # fmt: skip


def _print_line(console, shown: "Shown", titles: "Titles") -> None:  # type: ignore[no-untyped-def]
    from rich.text import Text

    made = shown.recommendation
    line = Text(made.user_id, style="bold cyan")
    if made.trigger.kind == "click":
        line.append(f" clicked {titles.of(shown.clicked)}" if shown.clicked else " clicked", style="default")
    else:
        line.append(" asked", style="default")
    if shown.freshness_ms is not None:
        line.append(f"  {shown.freshness_ms} ms", style="dim")
    line.append(f"  {made.release}", style="dim")
    console.print(line)
    text = Text("  → ", style="green")
    previous = None
    for place, item in enumerate(made.items):
        reason = _reason(item.reason.kind, item.reason.items, titles)
        text.append("" if place == 0 else " · ", style="dim").append(titles.of(item.item_id), style="default")
        if reason != previous:  # said once for neighbours that share it
            text.append(f" ({reason})", style="dim")
        previous = reason
    console.print(text if made.items else Text("  → nothing left to recommend", style="yellow"))


def _print_table(shown: "Shown", titles: "Titles") -> None:
    from rich.console import Console
    from rich.table import Table

    made = shown.recommendation
    table = Table("", "item", "why", "score", "source", box=None)
    for place, item in enumerate(made.items, 1):
        why = _reason(item.reason.kind, item.reason.items, titles)
        table.add_row(str(place), titles.of(item.item_id), why, f"{item.score:.3f}", item.source)
    console = Console(highlight=False)
    console.print(f"[bold]{made.user_id}[/], release {made.release}, after {shown.freshness_ms} ms")
    console.print(table)
