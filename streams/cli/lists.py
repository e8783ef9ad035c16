"""Commands that look at lists: watch, recommend, similar, rank."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.options import takes_settings

if TYPE_CHECKING:
    from streams.settings import Settings

Several = "; may be given several times"
AsJson = Annotated[bool, typer.Option("--json", help="Print the record.")]
Timeout = Annotated[float, typer.Option(help="Seconds to wait for the answer", min=0.1)]
K = Annotated[int | None, typer.Option("--k", help="Items to ask for", min=1, show_default=False)]
Scenario = Annotated[
    str | None, typer.Option(help="Where the list is shown: whose rules apply", show_default=False)
]
FilterText = Annotated[
    str | None,
    typer.Option(
        "--filter",
        help="What items must pass: 'price<20, -brand:\"Acme\"', or JSON",
        show_default=False,
    ),
]
FieldNames = Annotated[
    list[str] | None,
    typer.Option("--fields", help="Item fields to show, such as price,brand" + Several, show_default=False),
]
Excluded = Annotated[
    list[str] | None,
    typer.Option("--exclude", help="An item to leave out" + Several, show_default=False),
]
ForUser = Annotated[str | None, typer.Option("--user", help="Whose taste leads", show_default=False)]


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
    from streams.cli.showing import print_line
    from streams.operate import watching
    from streams.runtime import terminal

    titles = watching.Titles() if as_json else watching.Titles.read(settings)
    console = terminal.console()
    for shown in watching.lists(settings, titles, user=user, from_beginning=from_beginning):
        if as_json:
            print(terminal.shown_json(shown.raw.decode()), flush=True)
        else:
            print_line(console, shown, titles)


@takes_settings()
def recommend(
    settings: "Settings",
    user: Annotated[
        str | None, typer.Argument(help="The user's id; a stranger's list without one", show_default=False)
    ] = None,
    k: K = None,
    scenario: Scenario = None,
    filter_: FilterText = None,
    query: Annotated[
        str | None, typer.Option(help="What is looked for, in plain words", show_default=False)
    ] = None,
    exclude: Excluded = None,
    fields: FieldNames = None,
    similar_to: Annotated[
        str | None, typer.Option(help="An item that the others are to be like", show_default=False)
    ] = None,
    diversity: Annotated[
        float | None,
        typer.Option(
            help="How much items that resemble each other are avoided", min=0, max=1, show_default=False
        ),
    ] = None,
    interest: Annotated[
        list[str] | None,
        typer.Option(
            help="A word or item that stands in for clicks of a new user" + Several, show_default=False
        ),
    ] = None,
    if_clicked: Annotated[
        list[str] | None,
        typer.Option(
            help="The list as it would be had the user just clicked this item" + Several, show_default=False
        ),
    ] = None,
    rules: Annotated[
        Path | None,
        typer.Option(
            help="Rules for this list alone: JSON, as `scenarios put` takes it", show_default=False,
            exists=True, dir_okay=False,
        ),
    ] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Also what is known of the user.")] = False,
    as_json: AsJson = False,
    timeout: Timeout = 10.0,
) -> None:  # fmt: skip
    """Ask for a user's list now.

    Goes through the topic `requests` and waits for the answer of a worker.
    """
    from streams.operate.asking import rules_of

    _ask(
        settings, user, as_json, timeout, k=k, scenario=scenario, filter=filter_, query=query,
        exclude=exclude, fields=fields, similar_to=similar_to, diversity=diversity, interests=interest,
        if_clicked=if_clicked, rules=None if rules is None else rules_of(rules), profile=profile or None,
    )  # fmt: skip


@takes_settings()
def similar(
    settings: "Settings",
    item: Annotated[str, typer.Argument(help="The item's id", show_default=False)],
    user: ForUser = None,
    k: K = None,
    scenario: Scenario = None,
    filter_: FilterText = None,
    fields: FieldNames = None,
    as_json: AsJson = False,
    timeout: Timeout = 10.0,
) -> None:
    """Ask for items like one item.

    What is clicked with it, what follows it, and what its text resembles.
    """
    _ask(
        settings, user, as_json, timeout, similar_to=item, k=k, scenario=scenario, filter=filter_,
        fields=fields,
    )  # fmt: skip


@takes_settings()
def rank(
    settings: "Settings",
    item: Annotated[list[str], typer.Argument(help="Ids of items, at most 500", show_default=False)],
    user: ForUser = None,
    scenario: Scenario = None,
    fields: FieldNames = None,
    as_json: AsJson = False,
    timeout: Timeout = 10.0,
) -> None:
    """Put items of your own into a user's order.

    Exactly these; those that are unknown or withdrawn are named.
    """
    _ask(settings, user, as_json, timeout, rank=item, scenario=scenario, fields=fields)


def _ask(settings: "Settings", user: str | None, as_json: bool, timeout: float, **wanted: Any) -> None:
    from streams.cli.showing import print_list
    from streams.operate import asking, watching
    from streams.runtime import terminal

    if wanted.get("filter") is not None:
        wanted["filter"] = asking.filter_of(wanted["filter"])
    if wanted.get("fields"):
        wanted["fields"] = [
            name.strip() for part in wanted["fields"] for name in part.split(",") if name.strip()
        ]
    shown = asking.ask(settings, asking.request(user, **wanted), timeout)
    if as_json:
        typer.echo(terminal.shown_json(shown.raw.decode()))
    else:
        print_list(terminal.console(), shown, watching.Titles.read(settings))
