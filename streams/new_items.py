"""Gives items that are newer than the release a vector from their text, sent with their signals.

Owns which items need one and the encoder, which is loaded when the first of them comes: it needs torch
and seconds, and a shop without new items needs neither. Knows no broker.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from learner.catalogue import Catalogue
from learner.signals import Signals

if TYPE_CHECKING:
    from learner.release import LiveRelease

log = structlog.get_logger()

_AT_ONCE = 64  # items encoded in one go: a new item waits for at most that many others


class NewItems:
    """`changed()` is called when items have got vectors. Without a release there is nothing to compare to."""

    def __init__(
        self,
        catalogue: Catalogue,
        signals: Signals,
        release: "LiveRelease | None",
        changed: Callable[[], None],
    ) -> None:
        self.catalogue = catalogue
        self.signals = signals
        self.release = release
        self.encoded = 0
        self._in_release = catalogue.size  # the release's items joined first
        self._changed = changed
        self._waiting: dict[int, None] = {}
        self._some = asyncio.Event()

    def announced(self, item: int) -> None:
        """An item was announced, anew or changed."""
        if self.release is not None and item >= self._in_release:
            self._waiting[item] = None
            self._some.set()

    async def run(self) -> None:
        """Encodes what is announced, in a thread of its own, until cancelled."""
        while True:
            await self._some.wait()
            self._some.clear()
