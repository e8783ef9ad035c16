"""Commands for scenarios: where lists are shown, and the rules that they obey there."""

import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from streams.cli.options import WithIds, takes_settings

if TYPE_CHECKING:
    from streams.settings import Settings
    from streams.wire.contract import Rules

scenarios = typer.Typer(help="Scenarios and their rules: list, show, put, try, delete.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(help="The scenario's name", show_default=False)]
_SEVERAL = "; may be given several times"


def _rule(kind: Any, flag: str, text: str, **options: Any) -> Any:
    return Annotated[kind | None, typer.Option(flag, help=text, show_default=False, **options)]


# Flags that say rules, by the name of the rule.
RULES: dict[str, Any] = {
    "file": _rule(Path, "--file", "Rules as JSON; - reads them from the standard input"),
    "k": _rule(int, "--k", "Items in a list", min=1),
    "filter": _rule(str, "--filter", "What items must pass: 'price<20, -brand:\"Acme\"', or JSON"),
    "boost": _rule(list[str], "--boost", "FILTER*FACTOR: the odds of such items rise" + _SEVERAL),
    "bury": _rule(list[str], "--bury", "FILTER*FACTOR, below 1: their odds fall" + _SEVERAL),
    "caps": _rule(list[str], "--cap", "FIELD=MOST: so many with one value" + _SEVERAL),
    "pin": _rule(list[str], "--pin", "ITEM=PLACE, counted from 1" + _SEVERAL),
    "block": _rule(list[str], "--block", "An item that is in no list" + _SEVERAL),
    "shown_cap": _rule(str, "--shown-cap", "TIMES/HOURS: shown so often without a click, it stays away"),
    "consumed": _rule(Literal["out", "back", "settings"], "--consumed", "What becomes of consumed items"),
    "back_after_days": _rule(float, "--back-after-days", "When consumed items come back"),
    "fill": _rule(list[str], "--fill", "popular or new: what fills up" + _SEVERAL),
    "diversity": _rule(float, "--diversity", "How much items that resemble each other are avoided"),
    "exploration": _rule(float, "--exploration", "Chance of one item from below the list"),
    "policy": _rule(str, "--policy", "The label that its lists carry"),
    "note": _rule(str, "--note", "What the rules are for"),
    "without": _rule(list[str], "--without", "A rule to take away, such as filter" + _SEVERAL),
}


def _takes_rules(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command the flags of `RULES`; it gets those that were given as `said`."""

    def run(*positional: Any, **given: Any) -> Any:
        said = {name: value for name in RULES if (value := given.pop(name)) is not None}
        return command(*positional, said=said, **given)

    own = [each for each in inspect.signature(command).parameters.values() if each.name != "said"]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in RULES.items()
    ]
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
    return run


@scenarios.command("list")
@takes_settings()
def list_scenarios(settings: "Settings", as_json: AsJson = False) -> None:
    """Show the scenarios and what their rules do."""
    from rich.table import Table

    from streams.operate.scenarios import standing
    from streams.runtime import terminal

    found = standing(settings)
    if as_json:
        for each in found.values():
            typer.echo(terminal.shown_json(json.dumps(each.shown(), ensure_ascii=False)))
        return
    if not found:
        typer.echo("no scenario has rules; `nextclick scenarios put NAME --k 6` gives one some")
        return
    table = Table("scenario", "rules", "sets", "note", box=None)
    for each in found.values():
        sets = ", ".join(name for name in each.shown()["rules"] if name not in ("scenario", "note", "v"))
        wrong = "the newest record is broken" if each.broken else ""
        note = "" if each.rules is None else each.rules.note
        at = "-" if each.offset is None else str(each.offset)
        table.add_row(each.name, at, sets, "; ".join(filter(None, (wrong, note))))
    terminal.console().print(table, soft_wrap=False)


@scenarios.command("show", cls=WithIds)
@takes_settings()
def show(settings: "Settings", name: Name) -> None:
    """Show a scenario's rules as JSON.

    As `put --file` takes them.
    """
    from streams.operate.scenarios import standing_of
    from streams.runtime import terminal

    found = standing_of(settings, name)
    if found.broken:
        typer.echo(f"warning: the newest record cannot be used: {found.broken}", err=True)
    typer.echo(terminal.shown_json(json.dumps(found.shown()["rules"], indent=2, ensure_ascii=False)))


@scenarios.command("put", cls=WithIds)
@takes_settings()
@_takes_rules
def put(
    settings: "Settings",
    name: Annotated[
        str | None,
        typer.Argument(help="The scenario's name, or a file NAME.json that says it", show_default=False),
    ] = None,
    anew: Annotated[bool, typer.Option("--anew", help="Forget the rules that it has now.")] = False,
    said: dict[str, Any] | None = None,
) -> None:
    """Give a scenario rules, which are in force a moment later.

    Flags change single rules and leave the others; a file (or the standard input) says them all.
    """
    from streams.operate import scenarios as operate

    name, rules, before = _wanted(settings, name, said or {}, anew=anew)
    _review(settings, rules)
    lines = operate.changes(before, rules)
    if before is not None and not lines:
        typer.echo(f"{name}: nothing changes")
        return
    offset = operate.put(settings, name, rules)
    typer.echo(f"{name}: rules {offset}")
    for line in lines:
        typer.echo(f"  {line}")


@scenarios.command("try", cls=WithIds)
@takes_settings()
@_takes_rules
def try_(
    settings: "Settings",
    name: Annotated[
        str | None,
        typer.Argument(help="The scenario's name, or a file NAME.json that says it", show_default=False),
    ] = None,
    user: Annotated[
        str | None, typer.Option(help="Whose list; else a stranger's", show_default=False)
    ] = None,
    anew: Annotated[bool, typer.Option("--anew", help="Without the rules that it has now.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the answer", min=0.1)] = 10.0,
    said: dict[str, Any] | None = None,
) -> None:  # fmt: skip
    """Show a list under rules that are not in force.

    Nothing changes. The column `now` has each item's place in the list as it is.
    """
    from streams.cli.showing import print_list
    from streams.operate import asking, watching
    from streams.runtime import terminal

    name, rules, _ = _wanted(settings, name, said or {}, anew=anew)
    asked = [
        asking.request(user, scenario=name, rules=rules),
        asking.request(user, scenario=name, k=rules.k),
    ]
    tried, now = asking.ask_all(settings, asked, timeout)
    if as_json:
        typer.echo(terminal.shown_json(tried.raw.decode()))
        return
    _review(settings, rules)
    before = {item.item_id: place for place, item in enumerate(now.recommendation.items, 1)}
    print_list(terminal.console(), tried, watching.Titles.read(settings), before)


@scenarios.command("delete", cls=WithIds)
@takes_settings()
def delete(settings: "Settings", name: Name) -> None:
    """Take a scenario's rules away.

    Its lists go by the rules of `default` then, and those of `default` by the settings.
    """
    from streams.operate.scenarios import delete

    delete(settings, name)
    typer.echo(f"{name} has no rules any more")


def _review(settings: "Settings", rules: "Rules") -> None:
    """Says what the rules take, and what is strange about them."""
    from streams.operate.rules_review import Review
    from streams.traffic.catalogue import entries

    known = entries(settings).values()
    review = Review(
        (entry.item for entry in known if entry.available and entry.item is not None),
        {entry.item_id for entry in known if not entry.available},
    )
    for line in review.notes(rules):
        typer.echo(line, err=True)
    for line in review.warnings(rules):
        typer.echo(f"warning: {line}", err=True)


def _wanted(
    settings: "Settings", name: str | None, said: dict[str, Any], *, anew: bool
) -> "tuple[str, Rules, Rules | None]":
    """The scenario, the rules that it is to have, and those that it has."""
    import msgspec

    from streams.operate import asking
    from streams.operate.scenarios import standing
    from streams.wire.contract import Rules

    file = said.pop("file", None)
    if file is None and name is not None and (name == "-" or name.endswith(".json")):
        file, name = Path(name), None
    source = "the standard input" if file is None or str(file) == "-" else str(file)
    text = b""
    if str(file) == "-" or (file is None and not said and not sys.stdin.isatty()):
        text = sys.stdin.buffer.read()
    elif file is not None:
        text = file.read_bytes()
    base = None
    if text.strip() or file is not None:
        base = asking.rules_in(text, source)
        if name is not None and base.scenario not in (None, name):
            raise typer.BadParameter(f"{source} is about {base.scenario!r}, not {name!r}")
        name = name or base.scenario
    if name is None:
        raise typer.BadParameter("name the scenario, or a file that says it: `nextclick scenarios put cart`")
    known = standing(settings).get(name)
    before = known.rules if known is not None else None
    if base is None:
        if not said:
            raise typer.BadParameter("say a rule, such as --k 6 or --filter 'price<20', or give --file FILE")
        base = Rules() if anew or before is None else before
    changed = msgspec.structs.replace(base, scenario=name, **_rules_said(said))
    return name, asking.rules_in(msgspec.json.encode(changed), "the rules"), before


def _rules_said(said: dict[str, Any]) -> dict[str, Any]:
    """What flags say, as fields of `Rules`."""
    from streams.operate.asking import filter_of
    from streams.wire.contract import Rules

    found = dict(said)
    for name in found.pop("without", ()):
        if name not in Rules.__struct_fields__ or name in ("scenario", "v"):
            raise typer.BadParameter(f"there is no rule {name!r}", param_hint="--without")
        found[name] = Rules.__struct_defaults__[Rules.__struct_fields__.index(name)]
        if callable(getattr(found[name], "factory", None)):
            found[name] = found[name].factory()
    if "filter" in said:
        found["filter"] = filter_of(said["filter"])
    for name in ("boost", "bury"):
        if name in said:
            parts = [_split(each, "*", f"--{name}", "FILTER*FACTOR") for each in said[name]]
            found[name] = [
                {"filter": filter_of(text, f"--{name}"), "factor": _number(factor, f"--{name}")}
                for text, factor in parts
            ]
    for name, flag, keys, form in (
        ("caps", "--cap", ("field", "most"), "FIELD=MOST"),
        ("pin", "--pin", ("item_id", "position"), "ITEM=PLACE"),
    ):
        if name in said:
            parts = [_split(each, "=", flag, form) for each in said[name]]
            found[name] = [
                dict(zip(keys, (first, _number(last, flag)), strict=True)) for first, last in parts
            ]
    if "shown_cap" in said:
        times, hours = _split(said["shown_cap"], "/", "--shown-cap", "TIMES/HOURS")
        found["shown_cap"] = {
            "times": _number(times, "--shown-cap"),
            "hours": _number(hours.removesuffix("h"), "--shown-cap"),
        }
    return found


def _split(text: str, by: str, flag: str, form: str) -> tuple[str, str]:
    first, found, last = text.rpartition(by)
    if not found or not first.strip():
        raise typer.BadParameter(f"expected {form}, got {text!r}", param_hint=flag)
    return first.strip(), last.strip()


def _number(text: str, flag: str) -> float | int:
    try:
        number = float(text)
    except ValueError:
        raise typer.BadParameter(f"expected a number, got {text!r}", param_hint=flag) from None
    return int(number) if number.is_integer() else number
