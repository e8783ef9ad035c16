"""`nextclick train`: files in, a release out, with progress.

Owns the command's words on the screen. The training itself is `learner.training.train`; the hot path that
makes its lists is `collecting.collect`.
"""

import os
import time
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console

from learner.data.catalogue import Item
from learner.data.dataset import Interactions
from learner.data.pair import read_pair
from learner.release.files import amend, read_manifest
from learner.text.cache import TextCache
from learner.training.crew import cores
from streams.runtime.progress import bars
from streams.settings import Settings
from streams.training import encoders
from streams.training.makers import QUICK
from streams.training.tracking import noting, tracked

REPEATS = {"yes": True, "no": False, "auto": None}
QUICK_MINUTES = 0.35  # of training; to read the files and write the release takes a few seconds more
MOST_HELD_BACK = 0.2


class TrainError(Exception):
    """Training cannot begin: says what is missing and what to do."""


class NotInstalled(TrainError):  # noqa: N818 (it says what is the matter)
    """What trains is no part of this installation."""

    exit_code = os.EX_CONFIG  # 78: a start again would end in the same way


@dataclass(frozen=True)
class Recorded:
    """Files to learn from: the first `to` of the events in `interactions`, and records of `items` if any.

    columns: what `--columns` says of their names
    held_back: so many of the newest of these events are left out, a fifth of them at most
    """

    interactions: Path
    items: Path | None
    to: float
    columns: str | None = None
    held_back: int = 0

    def read(self, seed: int) -> tuple[Interactions, list[Item]]:
        """The events in order of time, those of one time in an order that `seed` draws; and the items."""
        events, records = read_pair(self.interactions, self.items, self.columns)
        part, _ = events.in_order(seed).split(self.to)
        held_back = min(self.held_back, int(MOST_HELD_BACK * len(part)))
        return part.at(slice(0, len(part) - held_back)), records


def run(
    settings: Settings,
    recorded: Recorded,
    *,
    out: Path,
    time_budget: float,
    seed: int,
    tuned: Path | None = None,
    logs: Path | None = None,
    quick: bool = False,
) -> None:
    """Trains on what is recorded and writes the release to `out`.

    The budget counts from here: what is loaded and reading the files are part of it. `tuned` is a file
    of `nextclick tune`; curves go where the settings say, or to the folder `logs`, for TensorBoard. A `quick`
    release says that it is one: a learner trains a better one as soon as it can.
    """
    started = time.monotonic()
    try:
        if find_spec("torch") is None:  # which the jobs of a training load, and this process does not
            raise ModuleNotFoundError(name="torch")
        from learner.training.options import TrainingOptions
        from learner.training.settings import TrainingSettings, TrainingSettingsError
        from learner.training.train import train_release
    except ModuleNotFoundError as error:
        raise NotInstalled(
            f"training needs the extra `learner` ({error.name} is missing): pip install 'nextclick[learner]'"
        ) from None
    from streams.recorded.collecting import collect

    if out.exists() and not (out / "manifest.json").exists() and any(out.iterdir()):
        raise TrainError(f"{out} holds something that is no release; name a new folder with --out")
    console = Console(stderr=True)
    try:
        chosen = TrainingSettings.read(tuned) if tuned is not None else None
    except TrainingSettingsError as error:
        raise TrainError(str(error)) from None
    reader = encoders.text_server(settings)
    if logs is not None:
        settings = settings.model_copy(update={"tracker": "tensorboard", "tracker_dir": logs})
    before = time.monotonic()
    tracker = tracked(settings, f"train-{out.resolve().name}")
    started += time.monotonic() - before  # MLflow takes seconds, which a hasty training has not
    part, records = recorded.read(seed)
    console.print(
        f"{len(part):,} events, {len(set(part.user.tolist())):,} users, {len(records):,} announced items"
    )
    options = TrainingOptions(
        budget_minutes=max(time_budget - (time.monotonic() - started) / 60, 0.5 * time_budget),
        seed=seed,
        repeat_consumption=REPEATS[settings.repeat_consumption],
        choice=encoders.chosen(settings),
        reader=reader,
        cache=TextCache(settings.cache_dir / "texts"),
        event_weights=settings.event_weights,
        settings=chosen,
        noted=noting(tracker),
        processes=min(cores(), 4),
    )
    with closing(tracker), bars(console) as tell:
        release = train_release(part, records, out, collect, options, tell)
    if quick:
        amend(out, training=read_manifest(out).training | {QUICK: True})
    if reader is not None:
        console.print(f"texts at {settings.encoder_url}: {reader.spent}")
    console.print(f"release [bold]{release}[/] in {out} after {time.monotonic() - started:.0f} s")
