"""The command `nextclick`: one module for each group of commands, and how errors reach the user.

Owns the list of commands. What a command does lives outside this package; here stand its flags, its help
and what it prints. A command has an argument for each of its flags, many as they are: that is how typer takes
them. Anything heavy is imported inside the commands, so that `--help` is instant.
"""

import logging
import os
import sys

import typer

from streams.cli import admin, bench, kernels, models, releases, run, simulate, traffic

app = typer.Typer(
    name="nextclick",
    help="Recommendations that already know the last click.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # its imports alone take longer than all else that `--help` does
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)

app.command()(run.demo)
app.command()(run.broker)
app.command()(run.worker)
app.command()(run.learner)
app.command()(models.train)
app.command()(models.tune)
app.command()(models.replay)
app.command()(traffic.load)
app.command()(traffic.play)
app.command()(traffic.watch)
app.command()(traffic.recommend)
app.command()(traffic.user)
app.add_typer(releases.releases, name="releases")
app.add_typer(bench.bench, name="bench")
app.add_typer(simulate.simulate, name="simulate")
app.add_typer(admin.topics, name="topics")
app.add_typer(admin.dead_letters, name="dead-letters")
app.command()(admin.doctor)
app.command()(admin.forget)
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


def main() -> None:
    """Run the command line; an error that the project itself defines is a message, not a traceback."""
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
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("streams", "indexer", "learner"):
            raise
        from rich.console import Console
        from rich.text import Text

        Console(stderr=True).print(
            Text("error: ", style="bold red").append(str(error), style="default not bold"),
            soft_wrap=True,  # whoever reads a path in it may want to copy it whole
        )
        sys.exit(1)
