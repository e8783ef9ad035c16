"""The release that the learner goes by: its settings of signals, its scale of values, its items.

Owns which release that is (the live one, as `Roles` has it; with --release the given one until something is
live), its announcement where nothing is live, and the change to one that goes live later, beside the clicks.
Knows no clicks.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import structlog

from learner.data.catalogue import Catalogue
from learner.release.bundle import Bundle, ReleaseError
from learner.release.files import bundle_sha256, read_release
from learner.release.live import LiveRelease, try_models
from learner.signals.settings import SignalSettings
from streams.releases.roles import Roles
from streams.releases.store import StoreError, StoreUnreachable, cache_of, fetch
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
        self._changed = asyncio.Event()

    def apply(self, record: ReleaseRecord) -> None:
        """Takes the next record of topic `releases`."""
        before = self.roles.live
        self.roles.apply(record)
        if self.roles.live is not before:
            self._changed.set()

    async def load(self) -> None:
        """The release to begin with. Raises ReleaseError or StoreError, which name the damaged file."""
        given = self.settings.release
        live = self.roles.live
        if live is not None and not (given and self.settings.pin):
            await self._take(await self._fetched(live))
            return
        if given is None:
            log.warning(
                "no release is live: signals begin with the default settings",
                mend="train one with `nextclick train` and start the learner with --release DIR",
            )
            return
        await self._take(Path(given))

    async def announce(self, delivery: Delivery, topic: str) -> None:
        """Makes the given release live where nothing is."""
        if self.release is None or self.roles.live is not None or self.settings.release is None:
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
        """How fast signals forget, as the release was trained."""
        if self.release is None:
            return SignalSettings()
        return SignalSettings.from_dict(self.release.manifest.signals)

    def scale(self) -> Callable[[int, float], float]:
        """Values (kind, value) on the release's scale; 0 without a release."""
        if self.release is None:
            return lambda _kind, _value: 0.0
        return self.release.normalised_value

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


def _read(directory: Path) -> Bundle:
    bundle = read_release(directory)
    try_models(bundle, directory)
    return bundle
