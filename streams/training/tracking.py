"""Where a training's curves go: nowhere, to TensorBoard, or to MLflow, as the setting `tracker` says.

Owns the small interface that trainings log through, the folder, how much of it stays, and that a tracker
which fails costs a line and no training. The libraries are known to `trackers` alone, which is imported when
somebody wants one of them.
"""

import math
import re
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import structlog

from learner.models.run import Note
from streams.settings import Settings, SettingsError

log = structlog.get_logger()

TRACKED = "tracked"  # in a manifest's `training`: the name of the run that has its curves
MOST_RUNS = 50  # of TensorBoard's folders, one a run: the newest stay
MOST_BYTES = 64_000_000  # of a file of MLflow's; then another one begins, and the one before stays beside it


class Tracker(Protocol):
    """Takes figures as they come."""

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Adds a point to each figure's curve."""

    def close(self) -> None:
        """Writes what is left; nothing is logged after it."""


class TrackerError(SettingsError):
    """A tracker that cannot be had: says what is missing and what to do."""


def tracked(settings: Settings, run: str, wall_s: Callable[[], float] = time.time) -> Tracker:
    """The tracker that the settings name, for a run of this name; one that there is already goes on.

    Raises TrackerError where its library is missing or fails, or its folder cannot be written.
    """
    if settings.tracker == "none":
        return Untracked()
    from streams.training import trackers

    folder = settings.tracked_dir
    run = re.sub(r"[^\w.-]", "_", run)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if settings.tracker == "tensorboard":
            _forget_oldest(folder / "tensorboard", MOST_RUNS - 1, run)
            return Careful(trackers.TensorBoard(folder / "tensorboard" / run, wall_s))
        return Careful(trackers.MLflow(mlflow_file(folder, wall_s()), run, wall_s))
    except ModuleNotFoundError as error:
        raise TrackerError(
            f"tracker = {settings.tracker} needs a library ({error.name} is missing): "
            f"pip install 'nextclick[{settings.tracker}]', or set tracker to none"
        ) from None
    except OSError as error:
        raise TrackerError(f"tracker_dir: {folder} cannot be written: {error.strerror or error}") from None
    except (
        Exception
    ) as error:  # of whichever library: a damaged file, one of another version, one that is locked
        what = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise TrackerError(
            f"tracker = {settings.tracker} cannot be opened in {folder}: {what}; move its files away, "
            "or set tracker to none"
        ) from None


def tracked_or_not(settings: Settings, run: str) -> Tracker:
    """The same where nobody sits before it: what is wrong costs a line in the log, and no training."""
    try:
        return tracked(settings, run)
    except TrackerError as error:
        log.warning("curves are not kept", run=run, error=str(error))
        return Untracked()


def name_of_run(kind: str, began_ms: int) -> str:
    """What a training's run is called: what it was, and when it began (UTC)."""
    return f"{kind}-{datetime.fromtimestamp(began_ms / 1000, UTC):%Y%m%d-%H%M%S}"


def track_judged(settings: Settings, run: str, evidence: Mapping[str, Any]) -> None:
    """Adds what the gate has found out of a candidate to its training's run, by the number of answers."""
    found: dict[str, float] = {}
    for name, value in evidence.items():
        if isinstance(value, list):
            sides = ("low", "high") if name.startswith("ci") else ("candidate", "live")
            found |= {f"gate/{name}/{side}": each for side, each in zip(sides, value, strict=False)}
        elif isinstance(value, int | float):
            found[f"gate/{name}"] = value
    with closing(tracked_or_not(settings, run)) as tracker:
        tracker.log(int(evidence.get("answers", 0)), found)


def noting(tracker: Tracker) -> Note | None:
    """The tracker as trainings take it, a point at a time."""
    if isinstance(tracker, Untracked):
        return None
    return lambda curve, value, step: tracker.log(step, {curve: value})


class Untracked:
    """Keeps nothing."""

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class Careful:
    """Another tracker until it first fails, as on a full disk; figures that are no numbers are left out."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker: Tracker = tracker

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """As the other one."""
        finite = {name: float(value) for name, value in figures.items() if math.isfinite(value)}
        self._try(lambda: self._tracker.log(step, finite))

    def close(self) -> None:
        """As the other one."""
        self._try(self._tracker.close)
        self._tracker = Untracked()

    def _try(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # of whichever library
            self._tracker = Untracked()
            what = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            log.warning("curves are not kept any further", error=what)


def mlflow_file(folder: Path, now_s: float) -> Path:
    """The file that MLflow writes to: the newest, or another one where that is full. Two stay.

    None is moved: MLflow keeps its connection to a file of this name as long as the process lives.
    """
    files = sorted(folder.glob("mlflow-*.sqlite"))
    if not files or files[-1].stat().st_size > MOST_BYTES:
        files.append(folder / f"mlflow-{datetime.fromtimestamp(now_s, UTC):%Y%m%d-%H%M%S}.sqlite")
    for old in files[:-2]:
        old.unlink(missing_ok=True)
    return files[-1]


def _forget_oldest(folder: Path, most: int, spared: str) -> None:
    """Leaves the folders of the `most` newest runs beside the one that is to go on."""
    if folder.is_dir():
        runs = [path for path in folder.iterdir() if path.is_dir() and path.name != spared]
        for path in sorted(runs, key=lambda path: path.stat().st_mtime)[: max(len(runs) - most, 0)]:
            shutil.rmtree(path, ignore_errors=True)
