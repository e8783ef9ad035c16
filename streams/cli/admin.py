"""Commands that look after an installation: topics, settings, the contract's schema, doctor, dead letters."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.options import takes_settings
from streams.runtime.terminal import many

if TYPE_CHECKING:
    from streams.settings import Settings

topics = typer.Typer(help="The topics: create, describe, repair, grow.", no_args_is_help=True)
dead_letters = typer.Typer(help="Records that could not be used: list, retry.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@topics.command("create")
@takes_settings("partitions")
def create_topics(settings: "Settings") -> None:
    """Create the topics that do not exist yet.

    Safe to repeat; the first worker or learner does the same.
    """
    from streams.transport import clients
    from streams.transport.topics import check, create_missing

    with clients.admin(settings) as admin:
        created = create_missing(admin, settings)
        shared = check(admin, settings)
    for name in created:
        typer.echo(f"created {name}")
    typer.echo(f"all topics are there; {shared} partitions of clicks, requests and user-states")


@topics.command("describe")
@takes_settings()
def describe_topics(settings: "Settings", as_json: AsJson = False) -> None:
    """Show partitions, cleanup and retention."""
    from rich.table import Table

    from streams.runtime import terminal
    from streams.transport import clients
    from streams.transport.topics import describe, plan

    with clients.admin(settings) as admin:
        described = describe(admin, settings)
    planned = {topic.name: topic for topic in plan(settings)}
    if as_json:
        shown = [
            {"topic": each.name, "partitions": each.partitions}
            | {key: each.configs.get(key) for key in planned[each.name].configs}
            for each in described
        ]
        typer.echo(json.dumps(shown, indent=2))
        return
    table = Table("topic", "partitions", "cleanup", "kept", box=None)
    for each in described:
        configs = planned[each.name].configs | each.configs
        cleanup = configs["cleanup.policy"]
        kept = "the latest of each key" if cleanup == "compact" else _days(configs["retention.ms"])
        partitions = str(each.partitions) if each.partitions else f"missing ({planned[each.name].partitions})"
        table.add_row(each.name, partitions, cleanup, kept, style="" if each.partitions else "yellow")
    terminal.console().print(table, soft_wrap=False)


@topics.command("repair")
@takes_settings()
def repair_topics(settings: "Settings") -> None:
    """Make numbers of partitions equal again, and raise limits that are too low.

    Grows clicks, requests and user-states to the largest of them and moves the states of users who then
    belong elsewhere. Stop the workers first.
    """
    from streams.operate.topics_repair import repair
    from streams.transport import clients

    with clients.admin(settings) as admin:
        for line in repair(admin, settings):
            typer.echo(line)


@topics.command("grow")
@takes_settings()
def grow_topics(
    settings: "Settings",
    partitions: Annotated[
        int, typer.Option("--partitions", min=1, max=10_000, help="How many the topics by user shall have")
    ],
) -> None:
    """Give the topics keyed by user more partitions.

    While everything runs: workers notice within 20 s, end the work in hand, and begin again by themselves
    once states are moved. What is sent meanwhile waits in Kafka.
    """
    from streams.operate.topics_repair import grow
    from streams.transport import clients

    with clients.admin(settings) as admin:
        for line in grow(admin, settings, partitions):
            typer.echo(line)


def schema(
    topic: Annotated[
        str | None, typer.Option(help="Only the records of this topic, such as clicks", show_default=False)
    ] = None,
) -> None:
    """Print the wire contract as JSON Schema.

    One document with a property for each topic, whose value is a record's value.
    """
    from streams.wire import schema as contract

    if topic is None:
        typer.echo(json.dumps(contract.document(), indent=2))
    elif topic in contract.TOPICS:
        typer.echo(json.dumps(contract.of_topic(topic), indent=2))
    else:
        raise typer.BadParameter(
            f"expected one of {', '.join(contract.TOPICS)}, got {topic!r}", param_hint="--topic"
        )


@takes_settings("data_dir")
def show_settings(
    settings: "Settings",
    as_json: AsJson = False,
    explain: Annotated[bool, typer.Option("--explain", help="Also say what each setting is.")] = False,
) -> None:
    """Print the settings in force and their origin.

    Secrets are masked.
    """
    shown, origins = settings.shown(), settings.provenance
    if as_json:
        both = {name: {"value": value, "from": origins[name]} for name, value in shown.items()}
        typer.echo(json.dumps(both, indent=2))
        return
    from streams.runtime import terminal

    console = terminal.console()
    width = max(map(len, shown.values()))
    for name, value in shown.items():
        style = "dim" if origins[name] == "default" else "bold"
        what = f"  # {type(settings).model_fields[name].description}" if explain else ""
        console.print(f"{name:<22}{value:<{width}}  {origins[name]}{what}", style=style)


@takes_settings("release", "data_dir")
def doctor(settings: "Settings", as_json: AsJson = False) -> None:
    """Check that all is in order, and say what to do.

    Looks at versions, brokers, topics, release, workers, signals, disk and clock. The exit
    code is 1 when something fails, else 0.
    """
    from rich.text import Text

    from streams.operate.doctor import examine
    from streams.runtime import terminal

    console = terminal.console()
    style = {"ok": "green", "warn": "yellow", "fail": "bold red"}
    failed = False
    for finding in examine(settings):
        failed |= finding.status == "fail"
        if as_json:
            typer.echo(json.dumps(vars(finding)))
            continue
        line = Text(f"{finding.status:>4}", style=style[finding.status])
        line.append(f"  {finding.subject:<12} ", style="default bold")
        console.print(line.append(finding.detail, style="default not bold"))
        if finding.remedy:
            console.print(f"{'':19}→ {finding.remedy}")
    if failed:
        raise typer.Exit(1)


@takes_settings()
def forget(
    settings: "Settings",
    user: Annotated[str, typer.Argument(help="The user's id", show_default=False)],
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the worker's word")] = 10.0,
) -> None:
    """Forget a user: state and the learner's memory go.

    What the user does later begins anew. It does not reach the user's clicks, which lie in the topic until
    their retention ends (retention_days); the history for training, which keeps them up to history_days;
    the lists that were sent, for seven days; and what was counted of items, which names nobody.
    """
    from streams.operate.forget import forget

    if forget(settings, user, timeout):
        typer.echo(f"forgotten: {user}")
    else:
        typer.echo(f"no worker has answered yet: the next one that reads the clicks of {user} forgets them")


@dead_letters.command("list")
@takes_settings()
def list_letters(
    settings: "Settings",
    as_json: AsJson = False,
    everything: Annotated[bool, typer.Option("--all", help="Also those that were retried.")] = False,
    topic: Annotated[
        str | None, typer.Option(help="Only those from this topic, such as clicks", show_default=False)
    ] = None,
) -> None:
    """Show the records that could not be used.

    Oldest first, with the reason and where each came from.
    """
    from streams.runtime import terminal
    from streams.transport.letters import Retried, read_letters

    console = terminal.console()
    count = 0
    for letter in read_letters(settings, Retried(settings)):
        if (letter.retried and not everything) or (topic and letter.topic != settings.prefix + topic):
            continue
        count += 1
        if as_json:
            typer.echo(terminal.shown_json(json.dumps(letter.shown(), ensure_ascii=False)))
            continue
        value = letter.shown()["value"]
        mark = "  (retried)" if letter.retried else ""
        console.print(
            f"{letter.place[1]:>6}  {letter.at}  {letter.topic}[{letter.source[0]}]@{letter.source[1]}{mark}",
            style="bold",
        )  # fmt: skip
        console.print(f"        {letter.error}", style="red")
        console.print(f"        {_short(value)}", style="dim")
    if not as_json:
        typer.echo(many(count, "letter") if count else "no dead letters")


@dead_letters.command("retry")
@takes_settings()
def retry_letters(
    settings: "Settings",
    offset: Annotated[
        list[int] | None,
        typer.Option(
            help="Only the letter with this number in `dead-letters list`; may be given several times",
            show_default=False,
        ),
    ] = None,
    topic: Annotated[
        str | None, typer.Option(help="Only those from this topic, such as clicks", show_default=False)
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Also those that were retried before.")] = False,
) -> None:
    """Send refused records to where they came from.

    Unchanged, and each once, unless --again.
    """
    from streams.transport.letters import LettersError, Retried, read_letters, retry

    retried = Retried(settings)
    chosen = [
        letter
        for letter in read_letters(settings, retried)
        if (again or not letter.retried)
        and (offset is None or letter.place[1] in offset)
        and (topic is None or letter.topic == settings.prefix + topic)
    ]
    if missing := set(offset or ()) - {letter.place[1] for letter in chosen}:
        raise LettersError(
            f"no letter {min(missing)} waits to be retried; see `nextclick dead-letters list --all`, "
            "and --again for those that were retried before"
        )
    count = retry(settings, chosen, retried)
    typer.echo(f"sent {many(count, 'record')} again" if count else "nothing to retry")


def _days(retention_ms: str) -> str:
    days = int(retention_ms) / 86_400_000
    return "for ever" if days < 0 else f"{days:g} days"


def _short(text: str | None, limit: int = 300) -> str:
    if text is None:
        return "(empty value)"
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text):,} characters)"
