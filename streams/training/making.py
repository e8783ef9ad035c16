"""A training, from the clicks that are kept to a bundle in the outbox.

Owns which clicks and items a release is made from, and what is noted where that fails. `makers` make it;
when, `trainer` says.
"""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from learner.data.catalogue import Item
from learner.data.dataset import Interactions
from learner.data.history import recent_and_replayed
from learner.release.bundle import ReleaseError
from learner.release.files import amend, read_manifest, read_release
from streams.releases.store import cache_of, fetch
from streams.settings import Settings
from streams.training.kept import MOST_CLICKS, KeptClicks
from streams.training.makers import Kind, Make
from streams.training.wire import Wire
from streams.wire.contract import ReleaseRecord

log = structlog.get_logger()

HELD_BACK = 0.2  # at most, of the clicks: the newest ones, which the gate asks about


@dataclass(frozen=True)
class Due:
    """Which kind of training is due, and why."""

    kind: Kind
    reason: str


@dataclass
class _Run:
    """A training under way. `kind`: what it is in the end; `records`: how many it knows of."""

    kind: Kind
    began_ms: int
    records: int
    work: Path


@dataclass(frozen=True)
class _Material:
    """What a release is made from; `live` is the folder of the live one."""

    data: Interactions
    held_back: int
    items: list[Item]
    live: Path | None


class Making:
    """`folder`: for work under way; finished bundles go to the folder `outbox`."""

    def __init__(
        self, settings: Settings, wire: Wire, kept: KeptClicks, makers: Mapping[Kind, Make],
        folder: Path, outbox: Path, wall_ms: Callable[[], int],
    ) -> None:  # fmt: skip
        self._settings, self._wire, self._kept, self._makers = settings, wire, kept, makers
        self._folder, self._outbox, self._wall_ms = folder, outbox, wall_ms
        for path in folder.glob(".*"):  # work of a trainer that was killed
            shutil.rmtree(path, ignore_errors=True)

    def make(self, due: Due, live: ReleaseRecord | None) -> str:
        """Trains on all kept clicks but the newest, and leaves the bundle in the outbox."""
        log.info("training begins", kind=due.kind, reason=due.reason)
        begun, used = time.perf_counter(), time.process_time()
        # An alarm that comes while this trains is about clicks that it does not know.
        began_ms = self._wall_ms()
        full_ms = self._kept.past(live).full_ms
        self._kept.keep()
        run = _Run(due.kind, began_ms, self._kept.records, self._folder / f".{self._wall_ms()}")
        self._kept.note_attempt(full_ms or began_ms)
        material = self._material(live)
        try:
            release = self._made(run, material)
            cpu_seconds = round(time.process_time() - used, 1)
            told = {
                "kind": run.kind, "why": due.reason, "cpu_seconds": cpu_seconds, "began_ms": began_ms,
                "records": run.records,
            }  # fmt: skip
            training = read_manifest(run.work).training | told
            amend(run.work, parents=[live.release] if live else [], training=training)
        except Exception:
            # Not at once again: what failed will mostly fail again.
            self._kept.note_training(run.kind, began_ms, run.records)
            shutil.rmtree(run.work, ignore_errors=True)
            raise
        run.work.rename(self._outbox / release)
        log.info(
            "training done", release=release, kind=run.kind, clicks=len(material.data),
            held_back=material.held_back, seconds=round(time.perf_counter() - begun, 1),
            cpu_seconds=cpu_seconds,
        )  # fmt: skip
        return f"trained {release}"

    def _made(self, run: _Run, material: _Material) -> str:
        """The release's id. A ranker that cannot be refreshed alone is trained with all else."""

        def make() -> str:
            maker = self._makers[run.kind]
            return maker(self._settings, material.data, material.items, material.live, run.work)

        try:
            return make()
        except ReleaseError as error:
            if run.kind == "full":
                raise
            log.info("the ranker alone cannot be refreshed; all is trained", error=str(error))
            run.kind = "full"
            return make()

    def _material(self, live: ReleaseRecord | None) -> _Material:
        settings, kept = self._settings, self._kept.newest()
        held_back = min(settings.gate_clicks, int(HELD_BACK * len(kept))) if live is not None else 0
        data = recent_and_replayed(kept.at(slice(0, len(kept) - held_back)), MOST_CLICKS)
        folder = None if live is None else fetch(live.url, live.sha256, cache_of(settings))
        return _Material(data, held_back, self._items(folder, data, kept), folder)

    def _items(self, live: Path | None, data: Interactions, kept: Interactions) -> list[Item]:
        """Records of the items that the release shall hold.

        The live release's that are not idle as all `kept` clicks tell, and the announced ones. One that was
        withdrawn leaves. Whatever was clicked in `data` stays, since histories name it; a withdrawn one as
        not available.
        """
        found: dict[str, Item] = {}
        clicked = {data.item_ids[number] for number in set(data.item.tolist())}
        if live is not None:
            known = {item.item_id: item for item in read_release(live).items}
            gone = self._kept.idle(known.keys() - clicked, kept)
            found = {name: item for name, item in known.items() if name not in gone}
        found |= {name: said.item for name, said in self._wire.items().items()}
        return [item for item in found.values() if item.available or item.item_id in clicked]
