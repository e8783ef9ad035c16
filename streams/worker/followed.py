"""Items and signals as they come: what they change in the catalogue, the signals and the indexes.

Owns the meaning of their records and the verdict on bad ones. Called under the worker's lock, between two
rounds; all releases in memory follow. Knows no roles and no users.
"""

from collections.abc import Callable

import numpy as np
import structlog
from aiokafka import ConsumerRecord
from numpy.typing import NDArray

from learner.data.catalogue import Item
from learner.signals import recounting
from learner.signals.record import FRONTIER, SignalError
from streams.hot_path.live import give, renew
from streams.hot_path.serving import Serving
from streams.transport.last_good import LastGood, Unknown
from streams.wire.clock import Clock
from streams.wire.contract import UNREADABLE, decode_item, decode_tombstone, encode
from streams.worker.expiry import Expiry
from streams.worker.release_loader import Loader
from streams.worker.silence import Silence

log = structlog.get_logger()

Refuse = Callable[[ConsumerRecord, str], None]


class Followed:
    """`on_item` and `on_signal` take the topics' records, `settle` follows each stretch of them.

    `items`: that topic's name. `refuse(record, error)` is told of bad ones, and `last_good` knows of which
    items a good one is to be written again. `idle_days`: how long an item that nobody announces lives without
    a click. `loader` learns what changes while it loads a release, `silence` when the learner speaks.
    """

    def __init__(
        self,
        items: str,
        serving: Serving,
        clock: Clock,
        idle_days: float,
        refuse: Refuse,
        loader: Loader,
        silence: Silence,
    ) -> None:
        self.last_good = LastGood(items, self._good)
        self._serving = serving
        self._catalogue, self._signals = serving.world.catalogue, serving.world.signals
        self._signals.on_vector = self._on_vector
        self._counted = recounting.Followed(self._signals)
        self._clock = clock
        self._idle_days = idle_days
        self._expiry = Expiry(idle_days, self._catalogue, self._signals)
        self._refuse = refuse
        self._loader = loader
        self._silence = silence
        self._changed: set[int] = set()  # items, since the indexes followed last

    def on_item(self, record: ConsumerRecord) -> None:
        """The catalogue's owner's word on an item."""
        catalogue = self._catalogue
        try:
            item = None if record.value is None else decode_item(record.value)
            item_id = decode_tombstone(record.key) if item is None else item.item_id
        except UNREADABLE as error:
            self._refuse(record, str(error))
            self.last_good.broke(record)
            return
        if self.last_good.is_late(record) and self._differs(item_id, item):
            self.last_good.broke(record)
            return
        self.last_good.came(record)
        if item is None:
            self._changed.add(catalogue.withdraw(item_id))
            return
        number = catalogue.announce(item) if item.available else catalogue.withdraw(item.item_id)
        for live in self._serving.loaded:
            renew(live.release, catalogue, number)
        self._changed.add(number)

    def on_signal(self, record: ConsumerRecord) -> None:
        """The learner's word on an item, or on how far it has come."""
        if record.value is None:
            return
        item_id = record.key.decode(errors="replace") if record.key else FRONTIER
        try:
            item = self._counted.apply(item_id, record.value)
        except SignalError as error:
            self._refuse(record, str(error))
            return
        if item >= 0 and self._expiry.is_back(item):
            self._catalogue.revive(item)
            self._changed.add(item)
        if item_id == FRONTIER:
            self._silence.end()
            self._clock.hear(self._signals.now_ms)

    def settle(self) -> None:
        """After a stretch of records: the indexes follow once for all of them."""
        self._signals.follow()
        for live in self._serving.loaded:
            live.follow(self._changed)
        self._loader.note(self._changed)
        self._changed.clear()

    def expire(self) -> None:
        """Takes idle items out of the lists."""
        idle = self._expiry.due()
        if len(idle):
            self._catalogue.expire(idle)
            self._changed.update(idle.tolist())
            self.settle()
            log.info("idle items have left", items=len(idle), days=self._idle_days)

    def _differs(self, item_id: str, item: Item | None) -> bool:
        try:
            said = self._said(item_id)
        except Unknown:
            return True
        return said != (item if item is not None and item.available else None)

    def _said(self, item_id: str) -> Item | None:
        """What the owner says of an item; None where it is withdrawn. Raises Unknown where nothing is."""
        catalogue = self._catalogue
        number = catalogue.index.get(item_id)
        if number is None or not catalogue.spoken[number]:
            raise Unknown(f"the catalogue's owner has said nothing of {item_id}")
        if not catalogue.available[number] and not catalogue.expired[number]:
            return None
        if number not in catalogue.records:
            raise Unknown(f"nobody has described {item_id}")
        return catalogue.records[number]

    def _good(self, key: bytes) -> bytes | None:
        item = self._said(key.decode(errors="replace"))
        return None if item is None else encode(item)

    def _on_vector(
        self, item: int, vector: NDArray[np.float32], content: NDArray[np.float32], space: str
    ) -> None:
        served = [live.release for live in self._serving.loaded]
        # A learner of before does not say by which release it reads: it goes by the live one.
        reader = next(
            (each for each in served if each.space == space),
            None if space else self._serving.world.live.release,
        )
        for live in self._serving.loaded:
            release = live.release
            release.ensure(self._catalogue)
            if len(content):
                # The vector may be another student's: the learner takes up a new release later than this
                # worker, or earlier. What it reads by a release that is not served it reads again soon.
                if reader is not None and len(content) == reader.manifest.dims.content:
                    own = release.content_of(content, reader)
                    if own is not None:
                        give(release, self._catalogue, item, own)
            elif live is self._serving.world.live and len(vector) == release.vector_size:
                release.set_vector(item, vector, content)
        self._changed.add(item)
