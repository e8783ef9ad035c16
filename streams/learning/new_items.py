"""Gives items that are newer than the release a vector from their text, sent with their signals.

Owns which items need one, and the encoder, which is loaded when the first of them comes: it needs torch
and seconds, and a shop without new items needs neither. Knows no broker.
"""

import asyncio
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog
from numpy.typing import NDArray

from learner.data.catalogue import Catalogue, Item
from learner.release.live import LiveRelease
from learner.signals.state import Signals
from learner.text.card import ADDRESS, EncoderError

if TYPE_CHECKING:
    from learner.text.encoder import Encoder

log = structlog.get_logger()

_AT_ONCE = 64  # items encoded in one go: a new one waits for at most that many others
Floats = NDArray[np.float32]


class NewItems:
    """Vectors for announced items that the release lacks; `changed()` is called when some have got one."""

    def __init__(
        self, catalogue: Catalogue, changed: Callable[[], None],
        reader: "Callable[[], Encoder | None]" = lambda: None,
    ) -> None:  # fmt: skip
        """`reader` opens what reads at an address, for a release that was made with one."""
        self.catalogue = catalogue
        self._reader = reader
        self.encoded = 0
        self._changed = changed
        self._release: LiveRelease | None = None
        self._encoder: Any = None
        self._waiting: dict[int, None] = {}
        self._some = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="content")

    def compare_with(self, release: LiveRelease | None) -> None:
        """From now on items count as new where `release` does not hold them; all of those wait anew."""
        self._release, self._encoder = release, None
        self._waiting = {item: None for item in self.catalogue.records if self._is_new(item)}
        self._some.set()

    def announced(self, item: int) -> None:
        """The item's record came, for the first time or changed."""
        if self._is_new(item):
            self._waiting[item] = None
            self._some.set()

    def restored(self, item: int, vector: Floats, content: Floats, space: str) -> None:
        """A signals record brought the item's vector: one of this release's space is not made again."""
        release = self._release
        if release is None or space != release.space:
            return
        if len(vector) == release.vector_size and len(content) == release.manifest.dims.content:
            self._waiting.pop(item, None)

    async def begin(self, signals: Signals) -> None:
        """Encodes the first of those that wait by now, so that the encoder is loaded within the start."""
        if self._waiting and self._release is not None:
            await self._encode_some(signals)

    async def run(self, signals: Signals) -> None:
        """Encodes what waits, beside the learner's loop, until cancelled."""
        while True:
            await self._some.wait()
            self._some.clear()
            while self._waiting and self._release is not None:
                if not await self._encode_some(signals):
                    break

    async def _encode_some(self, signals: Signals) -> bool:
        """Encodes the next ones; whether it could."""
        items = list(itertools.islice(self._waiting, _AT_ONCE))
        for item in items:
            del self._waiting[item]
        items = [item for item in items if self.catalogue.available[item]]
        return not items or await self._encode(items, signals)

    async def _encode(self, items: list[int], signals: Signals) -> bool:
        release, records = self._release, [self.catalogue.records[item] for item in items]
        assert release is not None
        try:
            contents = await asyncio.get_running_loop().run_in_executor(
                self._thread, self._contents, release, records
            )
        except (ImportError, LookupError) as error:
            log.warning(
                "new items keep the mean vectors of their categories", error=str(error),
                mend="pip install 'nextclick[learner]' and restart the learner",
            )  # fmt: skip
            self._waiting.clear()
            return False
        if release is not self._release:
            return True  # another release came meanwhile: these items wait anew where it lacks them
        for item, record, content in zip(items, records, contents, strict=True):
            signals.set_vector(item, release.embed(content, record.categories), content, release.space)
        self.encoded += len(items)
        self._changed()
        return True

    def _contents(self, release: LiveRelease, records: list[Item]) -> Floats:
        """Content vectors (n, T), by the encoder that the release was made with."""
        from learner.text.content import ContentEncoder

        card = release.manifest.encoder
        try:
            if self._encoder is None:
                reader = self._reader() if card.source.startswith(ADDRESS) else None
                self._encoder = ContentEncoder.load(
                    card, release.encoder, reader=reader, folder=release.query_encoder
                )
            contents: Floats = self._encoder.encode(records)
        except EncoderError as error:
            if not card.source.startswith(ADDRESS):
                raise
            self._encoder = None  # the address is asked again for the next ones
            log.warning("texts of new items are read word by word", items=len(records), error=str(error))
            contents = ContentEncoder.load(card, release.encoder).encode(records)
        return contents

    def _is_new(self, item: int) -> bool:
        if self._release is None:
            return False
        own = self._release.own  # the learner gives this release no vectors: own means released
        return item >= len(own) or not own[item]
