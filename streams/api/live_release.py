"""The live release's items, for the catalogue: those that nobody announced are known from there alone.

Owns following the topic `releases` and reading the bundle, beside the requests.
"""

import asyncio
from typing import Any

import structlog

from learner.data.catalogue import Item
from learner.release.files import read_release
from streams.api.catalogue import Catalogue
from streams.releases.roles import Roles
from streams.releases.store import cache_of, fetch
from streams.settings import Settings
from streams.wire.contract import UNREADABLE, ReleaseRecord, decode_release

log = structlog.get_logger()

_AGAIN_SECONDS = 5.0


class LiveItems:
    """`on_record` takes the records of `releases`; `follow` runs as long as the process."""

    def __init__(self, settings: Settings, catalogue: Catalogue) -> None:
        self.roles = Roles()
        self._settings, self._catalogue = settings, catalogue
        self._changed = asyncio.Event()

    def on_record(self, record: Any) -> None:
        """A decision; a broken one changes nothing."""
        if record.value is None:
            return
        try:
            self.roles.apply(decode_release(record.value))
        except UNREADABLE:
            return
        self._changed.set()

    def forget(self) -> None:
        """The topic was made anew."""
        self.roles = Roles()

    async def follow(self, caught_up: asyncio.Event) -> None:
        """Reads the live release's items whenever another one is live."""
        await caught_up.wait()
        told = ""
        while True:
            live = self.roles.live
            self._changed.clear()
            if live is None or live.release == self._catalogue.released:
                await self._changed.wait()
                continue
            try:
                await asyncio.to_thread(self._read, live)
            except Exception as error:  # of store, bundle or SQLite: the next one is read
                if told != live.release:  # once for each
                    told = live.release
                    log.warning("the live release's items are not known here", release=told, why=str(error))
                await asyncio.sleep(_AGAIN_SECONDS)

    def _read(self, live: ReleaseRecord) -> None:
        folder = fetch(live.url, live.sha256, cache_of(self._settings))
        items: list[Item] = list(read_release(folder).items)
        self._catalogue.put_released(live.release, items)
