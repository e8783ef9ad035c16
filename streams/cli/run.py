"""Commands that run until they are stopped: the broker, a worker, the learner, the demo."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.options import takes_settings

if TYPE_CHECKING:
    from streams.settings import Settings


@takes_settings("broker_port", "broker_heap", "broker_data", "data_dir", kafka=False)
def broker(
    settings: "Settings",
    prepare: Annotated[
        bool, typer.Option("--prepare", help="Only fetch and prepare what a start needs, then exit.")
    ] = False,
) -> None:
    """Run a real Apache Kafka on this machine.

    One node on 127.0.0.1 only; needs no Java. Stops on SIGTERM and Ctrl-C. Its data survive
    that, and kill -9.
    """
    import time

    from streams.broker import node as embedded

    if prepare:
        embedded.prepare(settings.cache_dir, settings.broker_jars, typer.echo, thoroughly=True)
        return
    started = time.monotonic()
    node = embedded.EmbeddedBroker.from_settings(settings, typer.echo)

    def ready() -> None:
        typer.echo(
            f"broker {node.bootstrap_servers} ready after {time.monotonic() - started:.1f} s, "
            f"data in {node.data}; stop with Ctrl-C"
        )

    embedded.serve(node, ready)
    typer.echo("broker stopped")


@takes_settings(
    "release", "pin", "slot", "k", "exploration", "diversity",
    "repeat_consumption", "data_dir", "log_level",
)  # fmt: skip
def worker(settings: "Settings") -> None:
    """Turn clicks and requests into recommendations.

    Start more of them, with the same command, to share the work.
    """
    from streams.worker import process

    process.run(settings)


@takes_settings(
    "release", "pin", "signals_interval_ms", "learn", "train_every_minutes", "train_after_clicks",
    "train_minutes", "canary_share", "canary_minutes", "release_store", "data_dir", "log_level",
)  # fmt: skip
def learner(settings: "Settings") -> None:
    """Learn from every click.

    Signals go to the workers at once, new releases in time. One learner for each prefix.
    """
    from streams.learning import process

    process.run(settings)


@takes_settings("api_host", "api_port", "api_cache_mb", "trust_user_ids", "data_dir", "log_level")
def api(settings: "Settings") -> None:
    """Serve lists, and take clicks, over HTTP.

    Start as many as are needed, each on a port of its own. /docs says what can be asked. An address that
    others can reach needs keys: `nextclick keys add`.
    """
    from streams.api import process

    process.run(settings)


@takes_settings("data_dir", "broker_port", "broker_heap", "log_level", kafka=False)
def demo(
    settings: "Settings",
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder with interactions.csv[.gz] and items.csv[.gz] [default: ml-100k, fetched once]",
            show_default=False,
        ),
    ] = None,
    speed: Annotated[
        float | None, typer.Option(help="Times the recorded speed at which clicks are played")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="Clicks a second, 0 for as fast as it goes", show_default=False)
    ] = None,
    time_budget: Annotated[
        float, typer.Option(help="Minutes of processor time that the better release may take")
    ] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="End when all clicks are played.")] = False,
    report: Annotated[
        Path | None, typer.Option(help="Write the figures to this file as JSON", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of training")] = 0,
    drift: Annotated[
        bool, typer.Option("--drift", help="Halfway users swap tastes, and half of the items are replaced.")
    ] = False,
) -> None:
    """See it all work on this machine.

    `nextclick up` on recorded clicks: a first release in half a minute, the past loaded meanwhile, and the
    rest played as live traffic while a better release is trained and comes in. Runs until Ctrl-C, or with
    --once to the end of the clicks.
    """
    from streams.demo import show

    wishes = show.Wishes(
        data=data,
        speed=speed,
        rate=rate,
        time_budget=time_budget,
        once=once,
        report=report,
        seed=seed,
        drift=drift,
    )
    show.run(settings, wishes)
