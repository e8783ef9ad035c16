"""The release that the learner goes by: its settings of signals, its scale of values, its items.

Owns which release that is (the live one, as `Roles` has it; with --release the given one until something is
live; where the live one cannot be read, the next best), its announcement where nothing is live, and the
change to one that goes live later, beside the clicks. Knows no clicks.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import structlog

from learner.data.catalogue import Catalogue
from learner.data.inputs import normalise_value
from learner.release.bundle import Bundle, Manifest, ReleaseError
from learner.release.files import bundle_sha256, read_release
from learner.release.live import LiveRelease, try_models
from learner.signals.settings import SignalSettings
from streams.releases.roles import Roles
from streams.releases.store import StoreError, StoreUnreachable, cache_of, fetch, manifest_at
from streams.settings import Settings
from streams.transport.delivery import Delivery, Outgoing, acknowledged
from streams.wire.contract import ReleaseRecord, encode

log = structlog.get_logger()

RETRY_SECONDS = 5.0  # until a store that does not answer is asked again
_AT_ONCE = 250  # items that join between two turns for clicks: some milliseconds


class ReleaseInUse:
    """`release` is None where nothing is live and none was given. `roles`: what `apply` has been told."""

    def __init__(self, settings: Settings, catalogue: Catalogue) -> None:
        self.settings = settings
        self.catalogue = catalogue
        self.release: LiveRelease | None = None
        self.roles = Roles()
        self._manifest: Manifest | None = None  # of `release`, or of a live one that cannot be read
        self._changed = asyncio.Event()

    def apply(self, record: ReleaseRecord) -> None:
        """Takes the next record of topic `releases`."""
        before = self.roles.live
        self.roles.apply(record)
        if self.roles.live is not before:
            self._changed.set()

    async def load(self) -> None:
        """The release to begin with: the live one, or with nothing live (or `pin`) the given one.

        A live release that cannot be read stops no learner: it goes by the one before, or by the given one,
        or else by what the live one's manifest says; only where there is none of these, and a store does not
        answer, it waits for the store. Raises ReleaseError or StoreError, which name the file, where the
        given one is damaged and nothing is live.
        """
        given = self.settings.release
        while (live := self.roles.live) is not None and not (given and self.settings.pin):
            self._changed.clear()
            if await self._begin(live):
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), RETRY_SECONDS)
        if given is not None:
            await self._take(Path(given))
            return
        log.warning(
            "no release is live: signals begin with the default settings",
            mend="train one with `nextclick train` and start the learner with --release DIR",
        )

    async def _begin(self, live: ReleaseRecord) -> bool:
        """Whether there is something to go by while `live` is live."""
        error = await self._tried(live)
        if error is None:
            return True
        others: list[ReleaseRecord | Path] = [*reversed(self.roles.before)]
        if self.settings.release is not None:
            others.append(Path(self.settings.release))
        found = False
        for other in others:
            found = found or await self._tried(other) is None
        if isinstance(error, StoreUnreachable):
            if found:
                self._changed.set()  # `follow` asks for the live one again
                log.warning("the live release does not come; another one begins", error=str(error))
            else:
                log.warning("waiting for the live release", error=str(error), seconds=RETRY_SECONDS)
            return found
        if not found:
            self._manifest = await self._manifest_of(live)
        log.error(
            "the live release cannot be read; signals are counted by another one, or by its manifest alone",
            error=str(error),
            mend="mend it and promote it again, or enter another one with `nextclick releases add`",
        )
        return True

    async def _tried(self, other: ReleaseRecord | Path) -> Exception | None:
        """Takes the announced release or that in a folder; returns what is wrong with it."""
        try:
            await self._take(other if isinstance(other, Path) else await self._fetched(other))
        except (ReleaseError, StoreError, OSError) as error:
            return error
        return None

    async def _manifest_of(self, record: ReleaseRecord) -> Manifest | None:
        try:
            return await asyncio.to_thread(manifest_at, record.url, record.sha256, cache_of(self.settings))
        except (ReleaseError, StoreError, OSError):
            return None

    async def announce(self, delivery: Delivery, topic: str) -> None:
        """Makes the given release live where nothing is; one that is quarantined stays so after a restart."""
        if self.release is None or self.roles.live is not None or self.settings.release is None:
            return
        known = self.roles.records.get(self.release.id)
        if known is not None and known.role == "quarantined":
            log.error(
                "no release is live: the given one is quarantined", release=known.release,
                reason=known.reason,
                mend="start with another --release, or make this one live by `nextclick releases promote`",
            )  # fmt: skip
            return
        directory = Path(self.settings.release).resolve()
        record = ReleaseRecord(
            release=self.release.id,
            url=str(directory),
            sha256=bundle_sha256(directory),
            role="live",
            at=int(time.time() * 1000),
            decision="first",
            reason="nothing was live when the learner started with this release",
        )
        await acknowledged(await delivery.send(topic, [Outgoing(record.release.encode(), encode(record))]))
        log.info("release announced as live", release=record.release, directory=str(directory))

    async def follow(self, taken: Callable[[LiveRelease], Awaitable[None]]) -> None:
        """Takes up each release that goes live from now on, until cancelled; `taken` is told of it.

        A store that does not answer is asked again; a damaged release is passed over.
        """
        while True:
            await self._changed.wait()
            self._changed.clear()
            record = self.roles.live
            if record is None or self.settings.pin or (self.release and self.release.id == record.release):
                continue
            try:
                await self._take(await self._fetched(record))
            except StoreUnreachable as error:
                log.warning("release not taken up yet; the one before goes on", error=str(error))
                await asyncio.sleep(RETRY_SECONDS)
                self._changed.set()
                continue
            except (ReleaseError, StoreError) as error:
                log.error("release not taken up; the one before goes on", error=str(error))
                continue
            assert self.release is not None
            log.info("release taken up", release=record.release)
            await taken(self.release)

    def signal_settings(self) -> SignalSettings:
        """How fast signals forget, as the release was trained; how much events weigh is the setting."""
        found = (
            SignalSettings() if self._manifest is None else SignalSettings.from_dict(self._manifest.signals)
        )
        return replace(found, event_weights=self.settings.event_weights)

    def scale(self) -> Callable[[int, float], float]:
        """Values (kind, value) on the release's scale; 0 without a release."""
        if self.release is not None:
            return self.release.normalised_value
        if self._manifest is not None:
            return partial(normalise_value, scale=self._manifest.value_scale)
        return lambda _kind, _value: 0.0

    def repeats(self) -> bool:
        """Whether items come again in this data: the setting, or what the release says that is in use now."""
        if self.settings.repeats is not None:
            return self.settings.repeats
        return self._manifest is not None and self._manifest.repeat_consumption

    async def _fetched(self, record: ReleaseRecord) -> Path:
        return await asyncio.to_thread(fetch, record.url, record.sha256, cache_of(self.settings))

    async def _take(self, directory: Path) -> None:
        """Clicks are counted meanwhile: of a large release only its items' joining is seen by their loop."""
        bundle = await asyncio.to_thread(_read, directory)
        parts = [np.zeros(0, np.int64)]
        for at in range(0, len(bundle.items), _AT_ONCE):
            parts.append(self.catalogue.admit_all(bundle.items[at : at + _AT_ONCE]))
            await asyncio.sleep(0)
        self.release = await asyncio.to_thread(
            LiveRelease, bundle, self.catalogue, numbers=np.concatenate(parts), folder=directory
        )
        self._manifest = self.release.manifest


def _read(directory: Path) -> Bundle:
    bundle = read_release(directory)
    try_models(bundle, directory)
    return bundle
