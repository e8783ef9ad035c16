"""Flags that many commands share, and how they become settings.

Owns the text of `--help` for settings that have a flag. A command takes `settings` as its first
argument and is decorated with `takes_settings`, which adds `--bootstrap-servers`, `--prefix`, `--clock`,
`--config` and `--set`, and a flag for each further setting it names. Imports nothing heavy: `--help` must
be instant, so the settings themselves are loaded when the command runs.
"""

import functools
import inspect
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand

EVERYWHERE = ("bootstrap_servers", "prefix", "clock")


def _flag(kind: Any, text: str, *names: str, **options: Any) -> Any:
    return Annotated[kind | None, typer.Option(*names, help=text, show_default=False, **options)]


FLAGS: dict[str, Any] = {
    "bootstrap_servers": _flag(str, "Kafka brokers, HOST:PORT[,HOST:PORT…]", "--bootstrap-servers"),
    "prefix": _flag(str, "What every topic's name begins with", "--prefix"),
    "clock": _flag(
        Literal["wall", "stream"], "What now is: the wall clock, or the newest event time", "--clock"
    ),
    "data_dir": _flag(Path, "Folder of everything kept on this machine", "--data-dir"),
    "log_level": _flag(Literal["debug", "info", "warning", "error"], "Least level logged", "--log-level"),
    "partitions": _flag(int, "Partitions of the topics keyed by user, when created", "--partitions"),
    "release": _flag(str, "Release to begin with [default: the live one announced]", "--release"),
    "pin": _flag(bool, "Stay with this release whatever is announced", "--pin/--no-pin"),
    "slot": _flag(int, "This worker's place in the group [default: the lowest free here]", "--slot"),
    "k": _flag(int, "Items in a list", "--k"),
    "exploration": _flag(
        float, "Chance that an unknown user is shown one item from below the list", "--exploration"
    ),
    "diversity": _flag(float, "How much a list avoids items that resemble each other", "--diversity"),
    "repeat_consumption": _flag(
        Literal["yes", "no", "auto"], "Whether consumed items may come again", "--repeat-consumption"
    ),
    "signals_interval_ms": _flag(
        int, "Longest wait between a click and its signals, ms", "--signals-interval-ms"
    ),
    "release_store": _flag(
        str, "Folder or URL that releases are kept in [default: .nextclick/releases]", "--store"
    ),
    "learn": _flag(
        Literal["periodic", "ranker", "none"], "What is trained: all in time, the ranker, nothing", "--learn"
    ),
    "train_every_minutes": _flag(
        float, "Minutes from one full training to the next", "--train-every-minutes"
    ),
    "train_after_clicks": _flag(
        int, "New clicks after which the ranker learns from their lists", "--train-after-clicks"
    ),
    "train_minutes": _flag(float, "Processor time of a full training, minutes", "--train-minutes"),
    "canary_share": _flag(float, "Share of the users that get a new release first", "--canary-share"),
    "canary_minutes": _flag(float, "How long a canary waits for certainty", "--canary-minutes"),
    "encoder_model": _flag(
        str, "What reads texts: a package, folder, hub name, or model at --encoder-url", "--encoder"
    ),
    "encoder_url": _flag(str, "Address that reads texts as OpenAI's API does", "--encoder-url"),
    "encoder_pooling": _flag(
        Literal["mean", "cls", "last", "max"], "How tokens' vectors become one", "--pooling"
    ),
    "encoder_item_prompt": _flag(str, "What stands before items' texts", "--item-prompt"),
    "encoder_query_prompt": _flag(str, "What stands before queries", "--query-prompt"),
    "api_host": _flag(str, "Address to listen on", "--host"),
    "api_port": _flag(int, "Port to listen on, 0 for any", "--port"),
    "trust_user_ids": _flag(
        bool, "Take a public key's word for who the user is", "--trust-user-ids/--check-user-ids"
    ),
    "api_cache_mb": _flag(float, "Memory of the lists that are held, MB", "--cache-mb"),
    "broker_port": _flag(int, "Port to listen on, 0 for any", "--port"),
    "broker_heap": _flag(str, "Java heap, such as 192m", "--heap"),
    "broker_data": _flag(Path, "Folder of the broker's data [default: .nextclick/broker]", "--data"),
}

Config = Annotated[
    Path | None,
    typer.Option("--config", help="Settings file [default: nextclick.toml]", show_default=False),
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any other setting, such as sasl_mechanism=PLAIN",
        show_default=False,
    ),
]


class WithIds(TyperCommand):
    """A command whose arguments are ids, which may begin with a minus: "-1" is a user, "--kk" a slip."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Moves such ids behind the options, where a minus means nothing."""
        takes_value = {
            name: not getattr(option, "is_flag", False)
            for option in self.get_params(ctx)
            for name in option.opts
            if option.param_type_name == "option"  # an id may be called as its argument is
        }
        options: list[str] = []
        ids: list[str] = []
        words = iter(args)
        for word in words:
            if word == "--":
                ids += words
            elif word.startswith("--") or word in takes_value:
                options.append(word)
                if takes_value.get(word) and (value := next(words, None)) is not None:
                    options.append(value)
            else:
                ids.append(word)
        return super().parse_args(ctx, [*options, *(["--", *ids] if ids else [])])


def takes_settings(*names: str, kafka: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command `settings`, built from the flags of `names` and those every command has.

    `kafka=False` leaves out the flags of commands that talk to Kafka.
    """
    flagged = (*(EVERYWHERE if kafka else ()), *names)

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        def run(**given: Any) -> Any:
            from streams.runtime import logs
            from streams.settings import SECRETS, load_settings, strange_variables

            flags = {name: given.pop(name) for name in flagged}
            config, sets = given.pop("config"), given.pop("sets") or []
            named = {name: value for name, value in flags.items() if value is not None}
            settings = load_settings(config, **(_pairs(sets, SECRETS) | named))  # a flag beats --set
            logs.set_up(settings.log_level)
            for warning in strange_variables():
                typer.echo(f"warning: {warning}", err=True)
            return command(settings, **given)

        functools.update_wrapper(run, command)
        own = list(inspect.signature(command).parameters.values())[1:]
        shared = [*((name, FLAGS[name]) for name in flagged), ("config", Config), ("sets", Sets)]
        added = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
            for name, kind in shared
        ]
        run.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in (*own, *added)}
        return run

    return decorate


def _pairs(sets: list[str], secrets: Collection[str]) -> dict[str, str]:
    pairs = dict(each.partition("=")[::2] for each in sets)
    if wrong := [each for each in sets if "=" not in each]:
        raise typer.BadParameter(f"expected NAME=VALUE, got {wrong[0]!r}", param_hint="--set")
    for name in pairs.keys() & set(secrets):
        raise typer.BadParameter(
            f"everybody on this machine can read a command line: give {name} as NEXTCLICK_{name.upper()}, or "
            f"name a file that holds it with {name}_file",
            param_hint="--set",
        )
    return pairs
