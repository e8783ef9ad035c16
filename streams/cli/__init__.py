"""The command `nextclick`: one module for each group of commands, and how errors reach the user.

Owns the list of commands. What a command does lives outside this package; here stand its flags, its help
and what it prints. A command has an argument for each of its flags, many as they are: that is how typer takes
them. Anything heavy is imported inside the commands, so that `--help` is instant.
"""

import atexit
import errno
import gc
import logging
import os
import re
import sys
import tempfile
from operator import attrgetter
from pathlib import Path
from typing import NoReturn

import typer

from streams.cli import (
    admin,
    bench,
    encoder,
    items,
    kernels,
    keys,
    lists,
    models,
    plan,
    releases,
    reset,
    run,
    scenarios,
    simulate,
    top,
    traffic,
    up,
    users,
)
from streams.cli.options import WithIds
from streams.runtime import terminal

app = typer.Typer(
    name="nextclick",
    help="Recommendations that already know the last click.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,  # its imports alone take longer than all else that `--help` does
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)

app.command()(up.up)
app.command()(run.demo)
app.command()(run.broker)
app.command()(run.worker)
app.command()(run.learner)
app.command()(run.api)
app.command()(top.top)
app.command()(models.train)
app.command()(models.tune)
app.command()(models.replay)
app.command()(traffic.load)
app.command()(traffic.play)
app.command()(lists.watch)
app.command(cls=WithIds)(lists.recommend)
app.command(cls=WithIds)(lists.similar)
app.command(cls=WithIds)(lists.rank)
app.command(cls=WithIds)(traffic.user)
app.add_typer(items.items, name="items")
app.add_typer(scenarios.scenarios, name="scenarios")
app.add_typer(users.users, name="users")
app.add_typer(releases.releases, name="releases")
app.add_typer(keys.keys, name="keys")
app.add_typer(encoder.encoder, name="encoder")
app.add_typer(bench.bench, name="bench")
app.add_typer(simulate.simulate, name="simulate")
app.add_typer(admin.topics, name="topics")
app.add_typer(admin.dead_letters, name="dead-letters")
app.command()(admin.doctor)
app.command()(plan.plan)
app.command(cls=WithIds)(admin.forget)
app.command()(reset.reset)
app.command("settings")(admin.show_settings)
app.command()(admin.schema)
app.command("compile")(kernels.compile_kernels)


def _version(asked: bool) -> None:
    if asked:
        from streams import __version__

        typer.echo(f"nextclick {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: bool = typer.Option(
        False, "--version", help="Print the version and exit.", callback=_version, is_eager=True
    ),
) -> None:
    """Recommendations that already know the last click."""


def _last_look() -> None:
    """Spare the interpreter's last look through all objects for circles of them: half a second and more.

    The system takes back all of it anyway. But where PyTorch has loaded triton, its bindings (nanobind) would
    take what was left for leaks, and fill the screen with them.
    """
    if "triton" not in sys.modules:
        gc.freeze()


def main() -> None:
    """Run the command line; an error that the project itself defines is a message, not a traceback."""
    atexit.register(_last_look)
    terminal.replace_unknown()
    _at_home()
    if any("\udc80" <= character <= "\udcff" for word in sys.argv for character in word):
        _fail(
            "an argument holds bytes that are no text here: write it in the terminal's encoding, or set "
            "PYTHONUTF8=1",
            2,
        )
    for client in ("aiokafka", "kafka"):  # their warnings tell of retries, which is what retries are for
        logging.getLogger(client).setLevel(logging.ERROR)
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has enough (`nextclick watch | head`); nothing may be flushed into it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except ModuleNotFoundError as error:
        extra = _extra_with((error.name or "").partition(".")[0])
        if extra is None:
            raise
        _fail(
            f"this needs the extra `{extra}` ({error.name} is missing): pip install 'nextclick[{extra}]'",
            os.EX_CONFIG,
        )
    except OSError as error:
        if error.filename is None and error.errno not in _NO_ROOM:
            raise
        _fail(_of_machine(error), os.EX_CONFIG)
    except Exception as error:
        family = type(error).__module__.partition(".")[0]
        if family in ("aiokafka", "kafka") and "KafkaError" in map(
            attrgetter("__name__"), type(error).__mro__
        ):
            _fail(
                f"the brokers did not do what was asked: {type(error).__name__}: {error}; started again, "
                "this goes on where it ended",
                os.EX_TEMPFAIL,
            )
        if family not in ("streams", "indexer", "learner"):
            raise
        _fail(str(error), getattr(error, "exit_code", 1))


def _extra_with(module: str) -> str | None:
    """The extra of this package that brings a module; None where none does."""
    from importlib.metadata import requires

    for line in requires("nextclick") or ():
        name, extra = re.match(r"[\w.-]+", line), re.search(r"extra == \W(\w+)", line)
        if name and extra and name[0].replace("-", "_").lower() == module.lower() and extra[1] != "dev":
            return extra[1]
    return None


def _at_home() -> None:
    """Gives a user whom the machine knows no home for a temporary one: libraries look there as they load."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = str(Path(tempfile.gettempdir()) / f"nextclick-{os.getuid()}")


# A folder that cannot be used, or has no more room: the machine's or the settings' fault, not the program's.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def _of_machine(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename is not None else ""
    if isinstance(error, FileNotFoundError):
        return f"{where}{error.strerror}"
    return (
        f"{where}{error.strerror or error}; choose another folder with --data-dir (NEXTCLICK_DATA_DIR), and "
        "for what is downloaded or compiled with NEXTCLICK_CACHE_DIR and NUMBA_CACHE_DIR"
    )


def _fail(message: str, code: int) -> NoReturn:
    from rich.text import Text

    line = Text("error: ", style="bold red").append(message, style="default not bold")
    terminal.console(stderr=True).print(line)
    sys.exit(code)
