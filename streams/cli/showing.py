"""How lists look in a terminal: a line as they come, a table for one that was asked for.

Owns the wording of reasons where a list has none of its own.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from streams.operate.watching import Shown, Titles
    from streams.wire.contract import ListedItem, Profile, Reason, Understood

_REASONS = {
    "for_you": "for you", "popular": "popular now", "new": "new", "explore": "to explore",
    "matches_query": "matches the query",
}  # fmt: skip
_EVENTS = 5  # of a profile's history


def reason(told: "Reason", titles: "Titles") -> str:
    """Why an item is in a list, in a few words."""
    if told.kind == "because_clicked":
        return "because of " + ", ".join(map(titles.of, told.items))
    if told.kind == "similar":
        return "like " + ", ".join(map(titles.of, told.items))
    return _REASONS.get(told.kind, told.kind)


def print_line(console: "Console", shown: "Shown", titles: "Titles") -> None:
    """A list as it comes."""
    from rich.text import Text

    made = shown.recommendation
    line = Text(made.user or "a stranger", style="bold cyan")
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
        why = reason(item.reason, titles)
        text.append("" if place == 0 else " · ", style="dim").append(titles.of(item.item_id), style="default")
        if why != previous:  # said once for neighbours that share it
            text.append(f" ({why})", style="dim")
        previous = why
    console.print(text if made.items else Text("  → nothing left to recommend", style="yellow"))


def print_list(
    console: "Console", shown: "Shown", titles: "Titles", before: dict[str, int] | None = None
) -> None:
    """A list that was asked for. `before`: places of items in the list that it is compared with."""
    from rich.table import Table
    from rich.text import Text

    made = shown.recommendation
    told = Text(made.user or "a stranger", style="bold")
    facts = [
        *([f"scenario {made.scenario}"] if made.scenario else []),
        *([f"rules {made.rules}"] if made.rules is not None else []),
        f"release {made.release}", f"after {shown.freshness_ms} ms",
    ]  # fmt: skip
    console.print(told.append(", " + ", ".join(facts), style="not bold"))
    fields = list(dict.fromkeys(name for item in made.items for name in item.fields or ()))
    ruled = any(item.reason.rule for item in made.items)
    table = Table(
        "", *(["now"] if before is not None else []), "item", "why", *(["rule"] if ruled else []), *fields,
        "score", "source", box=None,
    )  # fmt: skip
    for place, item in enumerate(made.items, 1):
        table.add_row(
            str(place),
            *([str(before.get(item.item_id, "-"))] if before is not None else []),
            _named(item.item_id, titles),
            item.reason.text or reason(item.reason, titles),
            *([item.reason.rule] if ruled else []),
            *(_value(item, name) for name in fields),
            f"{item.score:.3f}",
            item.source,
        )
    if made.items:
        console.print(table, soft_wrap=False)
    else:
        console.print(Text("nothing can be listed", style="yellow"))
    if made.unknown:
        console.print(Text(f"cannot be listed: {', '.join(made.unknown)}", style="yellow"))
    if made.understood:
        console.print(Text(understood(made.understood), style="dim"))
    if made.profile:
        _print_profile(console, made.profile, titles)


def understood(read: "Understood") -> str:
    """How a query was read, in a line."""
    import json

    said = [f"looked for {read.text!r}" if read.text else "no words looked for"]
    if read.filter is not None:
        said.append(f"filter {json.dumps(read.filter, ensure_ascii=False)}")
    if read.years is not None:
        said.append("years " + "-".join("" if year is None else str(year) for year in read.years))
    if read.without:
        said.append("without " + ", ".join(read.without))
    if read.dropped:
        said.append("no filter: " + ", ".join(read.dropped))
    return "; ".join(said)


def _print_profile(console: "Console", profile: "Profile", titles: "Titles") -> None:
    from rich.text import Text

    lines = [f"{profile.events:,} events, {profile.consumed:,} items consumed"]
    if profile.categories:
        likes = (f"{each.name} {each.weight:.0%}" for each in profile.categories[:_EVENTS])
        lines.append("likes " + ", ".join(likes))
    if profile.history:
        last = (f"{each.event} {titles.of(each.item_id)}" for each in profile.history[:_EVENTS])
        lines.append("last " + ", ".join(last))
    for line in lines:
        console.print(Text(line))


def _named(item_id: str, titles: "Titles") -> str:
    title = titles.of(item_id)
    return title if title == item_id else f"{title} ({item_id})"


def _value(item: "ListedItem", name: str) -> str:
    value: Any = (item.fields or {}).get(name)
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)
