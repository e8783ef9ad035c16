"""The command that runs everything on one machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.models import Columns
from streams.cli.options import takes_settings

if TYPE_CHECKING:
    from streams.settings import Settings


@takes_settings("api_host", "api_port", "data_dir", "log_level", "train_minutes", "canary_minutes")
def up(
    settings: "Settings",
    interactions: Annotated[
        Path | None,
        typer.Option(help="Old clicks to begin with: user_id, item_id, timestamp, …", show_default=False),
    ] = None,
    items: Annotated[
        Path | None, typer.Option(help="Their items: item_id, title, …", show_default=False)
    ] = None,
    columns: Columns = None,
    workers: Annotated[int, typer.Option(help="How many workers share the users", min=1, max=64)] = 1,
    broker_port: Annotated[
        int | None,
        typer.Option(
            help="Port of the broker, 0 for any [default: 9092]", min=0, max=65535, show_default=False
        ),
    ] = None,
) -> None:
    """Run everything on this machine, and keep it running.

    A broker (unless --bootstrap-servers names one), learner, workers and api. With --interactions it begins
    with a release trained in half a minute, and the learner makes a better one. Stops on Ctrl-C and SIGTERM;
    started again it goes on where it was.
    """
    from streams.settings import SettingsError
    from streams.up import process
    from streams.up.beginning import Files
    from streams.up.system import Wishes

    if items is not None and interactions is None:
        raise SettingsError("--items needs --interactions: a release is trained on clicks")
    if broker_port is not None:
        settings = settings.model_copy(update={"broker_port": broker_port})
    files = None if interactions is None else Files(interactions, items, columns)
    own = settings.provenance["bootstrap_servers"] == "default"
    process.run(settings, Wishes(files, workers, broker=own))
