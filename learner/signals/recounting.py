"""What becomes of signals when the weights of events change: the learner counts again, workers wait for it.

Owns which records belong together: those that were counted with the same weights. Sums of different ones are
never mixed. The learner sends all items first and then how far it has come (`FRONTIER`), so that record ends
what was before it. Knows no Kafka and no clicks.
"""

from learner.data.event_weights import EventWeights
from learner.signals.record import FRONTIER, SignalError, SignalRecord, decode, later, numbered
from learner.signals.state import Signals


class Restored:
    """A learner's signals as it finds them: what was counted with other weights is to be counted again.

    outdated: items whose last record was counted otherwise; offsets: clicks that such records have counted,
    by partition
    """

    def __init__(self, signals: Signals) -> None:
        self.signals = signals
        self.outdated: set[int] = set()
        self.offsets: dict[int, int] = {}

    def apply(self, item_id: str, value: bytes) -> None:
        """Takes the next record; raises SignalError as `Signals.apply`."""
        record = decode(item_id, value)
        if record.event_weights == self.signals.settings.event_weights:
            self.outdated.discard(self.signals.take(record))
            if item_id == FRONTIER:  # everything has been sent since: older records only wait for compaction
                self.offsets = {}
            return
        self.offsets = later(self.offsets, numbered(record))
        if item_id != FRONTIER:
            self.outdated.add(self.signals.take_vector(record))

    def begin(self) -> None:
        """All records have been read: each outdated one is to be sent anew, also of items without clicks."""
        self.signals.touched |= self.outdated


class Followed:
    """A worker's signals: all records that it ranks with were counted with the same weights.

    After a change it knows what it knew until the last record has come; in the memory of two meanwhile.
    """

    def __init__(self, signals: Signals) -> None:
        self.signals = signals
        self._weights: EventWeights | None = None  # None: nothing has come yet
        self._next: Signals | None = None
        self._next_weights: EventWeights = {}

    def apply(self, item_id: str, value: bytes) -> int:
        """Takes the next record, as `Signals.apply`."""
        record = decode(item_id, value)
        if self._weights is None:
            _weigh(self.signals, record)
            self._weights = record.event_weights
        if record.event_weights != self._weights:
            return self._set_aside(record)
        if item_id == FRONTIER:  # the learner went back to these weights before it had sent all of the others
            self._next = None
        return self.signals.take(record)

    def _set_aside(self, record: SignalRecord) -> int:
        if self._next is None or self._next_weights != record.event_weights:
            own = self.signals
            newer = Signals(own.settings, own.catalogue, on_vector=own.on_vector)
            _weigh(newer, record)
            self._next = newer
            self._next_weights = record.event_weights
        item = self._next.take(record)
        if record.item_id == FRONTIER:
            self.signals.become(self._next)
            self._weights, self._next = self._next_weights, None
        return item


def _weigh(signals: Signals, record: SignalRecord) -> None:
    try:
        signals.weigh(record.event_weights)
    except ValueError as error:
        raise SignalError(f"signals record of {record.item_id!r}: {error}") from None
