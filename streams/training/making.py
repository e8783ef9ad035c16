"""A training, from the clicks that are kept to a bundle in the outbox.

Owns which clicks and items a release is made from, and what is noted where that fails. `makers` make it;
when, `trainer` says.
"""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import structlog

from learner.data.catalogue import Item
from learner.data.dataset import Interactions
from learner.data.history import recent_and_replayed
from learner.release.bundle import Manifest, ReleaseError
from learner.release.files import amend, read_manifest, read_release
from streams.releases.store import StoreError, StoreUnreachable, cache_of, fetch
from streams.settings import Settings
from streams.training.encoder_stage import EncoderStage, figures_of
from streams.training.encoders import reading_with
from streams.training.figures import Measured
from streams.training.kept import MOST_CLICKS, KeptClicks
from streams.training.makers import Kind, Make
from streams.training.tracking import TRACKED, name_of_run, noting, tracked_or_not
from streams.training.wire import Wire
from streams.wire.contract import ReleaseRecord

log = structlog.get_logger()

HELD_BACK = 0.2  # at most, of the clicks: the newest ones, which the gate asks about


@dataclass(frozen=True)
class Due:
    """Which kind of training is due, and why; `unhurried`: whether an encoder may be adapted before it."""

    kind: Kind
    reason: str
    unhurried: bool = False


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


@dataclass(frozen=True)
class _Beside:
    """The live release that a training begins from."""

    folder: Path
    manifest: Manifest
    items: Sequence[Item]


class Making:
    """`folder`: for work under way; finished bundles go to the folder `outbox`."""

    def __init__(
        self, settings: Settings, wire: Wire, kept: KeptClicks, makers: Mapping[Kind, Make],
        folder: Path, outbox: Path, wall_ms: Callable[[], int], measured: Measured | None = None,
    ) -> None:  # fmt: skip
        self._measured = measured or Measured()
        self._settings, self._wire, self._kept, self._makers = settings, wire, kept, makers
        self._folder, self._outbox, self._wall_ms = folder, outbox, wall_ms
        self.encoders = EncoderStage(settings, folder, wall_ms, self._measured)
        for path in folder.glob(".*"):  # work of a trainer that was killed
            shutil.rmtree(path, ignore_errors=True)

    def make(self, due: Due, live: ReleaseRecord | None) -> str:
        """Trains on all kept clicks but the newest, and leaves the bundle in the outbox; "" where it waits.

        One that fails is noted, so that it is not tried again at once.
        """
        try:
            beside = self._beside(live)
        except StoreUnreachable as error:
            log.warning("the training waits for the store of the live release", error=str(error))
            return ""
        kind: Kind = "full" if beside is None else due.kind
        log.info("training begins", kind=kind, reason=due.reason)
        begun, used = time.perf_counter(), time.process_time()
        # An alarm that comes while this trains is about clicks that it does not know.
        began_ms = self._wall_ms()
        full_ms = self._kept.past(live).full_ms
        self._kept.keep()
        run = _Run(kind, began_ms, self._kept.records, self._folder / f".{self._wall_ms()}")
        self._kept.note_attempt(full_ms or began_ms)
        try:
            material, encoder = self._material(beside), None
            if due.unhurried and run.kind == "full" and beside is not None:
                encoder = self.encoders.encoder(material.data, material.items, beside.manifest.encoder)
                used = time.process_time()
            with self._measured.training(run.kind):
                release = self._made(run, material, encoder)
            cpu_seconds = round(time.process_time() - used, 1)
            told = {
                "kind": run.kind, "why": due.reason, "cpu_seconds": cpu_seconds, "began_ms": began_ms,
                "records": run.records,
            }  # fmt: skip
            if encoder is not None:
                told["adapted"] = figures_of(encoder)
            if self._settings.tracker != "none":
                told[TRACKED] = name_of_run(run.kind, run.began_ms)
            training = read_manifest(run.work).training | told
            parents = [] if beside is None else [beside.manifest.release]
            amend(run.work, parents=parents, training=training)
        except Exception:
            self._kept.note_training(run.kind, began_ms, run.records)
            shutil.rmtree(run.work, ignore_errors=True)
            raise
        run.work.rename(self._outbox / release)
        if encoder is not None:
            self.encoders.tried()
        log.info(
            "training done", release=release, kind=run.kind, clicks=len(material.data),
            held_back=material.held_back, seconds=round(time.perf_counter() - begun, 1),
            cpu_seconds=cpu_seconds,
        )  # fmt: skip
        return f"trained {release}"

    def _made(self, run: _Run, material: _Material, encoder: Path | None) -> str:
        """The release's id. A ranker that cannot be refreshed alone is trained with all else."""
        settings = self._settings if encoder is None else reading_with(self._settings, encoder)

        def make() -> str:
            maker, name = self._makers[run.kind], name_of_run(run.kind, run.began_ms)
            with closing(tracked_or_not(self._settings, name)) as tracker:
                return maker(
                    settings, material.data, material.items, material.live, run.work, noting(tracker)
                )

        try:
            return make()
        except ReleaseError as error:
            if run.kind == "full":
                raise
            log.info("the ranker alone cannot be refreshed; all is trained", error=str(error))
            run.kind = "full"
            return make()

    def _beside(self, live: ReleaseRecord | None) -> _Beside | None:
        """The live release, None where there is none or it cannot be read: then all is trained without it.

        Raises StoreUnreachable: one that may be read later must not be forgotten.
        """
        if live is None:
            return None
        try:
            folder = fetch(live.url, live.sha256, cache_of(self._settings))
            bundle = read_release(folder)
        except StoreUnreachable:
            raise
        except (StoreError, ReleaseError) as error:
            log.error(
                "the live release cannot be read: all is trained without it", release=live.release,
                error=str(error), mend="put its folder back; else what is trained now replaces it",
            )  # fmt: skip
            return None
        return _Beside(folder, bundle.manifest, bundle.items)

    def _material(self, live: _Beside | None) -> _Material:
        settings, kept = self._settings, self._kept.newest()
        held_back = 0 if live is None else min(settings.gate_clicks, int(HELD_BACK * len(kept)))
        data = recent_and_replayed(kept.at(slice(0, len(kept) - held_back)), MOST_CLICKS)
        known, folder = ((), None) if live is None else (live.items, live.folder)
        return _Material(data, held_back, self._items(known, data, kept), folder)

    def _items(self, live: Sequence[Item], data: Interactions, kept: Interactions) -> list[Item]:
        """Records of the items that the release shall hold.

        The `live` release's that are not idle as all `kept` clicks tell, and the announced ones. One that was
        withdrawn leaves. Whatever was clicked in `data` stays, since histories name it; a withdrawn one as
        not available.
        """
        found: dict[str, Item] = {}
        clicked = {data.item_ids[number] for number in set(data.item.tolist())}
        if live:
            known = {item.item_id: item for item in live}
            gone = self._kept.idle(known.keys() - clicked, kept)
            found = {name: item for name, item in known.items() if name not in gone}
        found |= {name: said.item for name, said in self._wire.items().items()}
        return [item for item in found.values() if item.available or item.item_id in clicked]
