"""Who speaks on the topic `figures`, and what they said last.

Owns which process is gone, when counters have begun anew, and rates. Pure: time is an argument. Ages are by
the broker's clock, which all records carry, so that nobody's own clock matters.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from streams.wire.contract import UNREADABLE
from streams.wire.figures import FiguresRecord, Histogram, decode_figures

_ORDER = ("worker", "learner", "trainer", "api")
GONE_MS = 10_000.0  # of silence
RATE_MS = 10_000.0  # that rates are over, or what there is of it


@dataclass
class Speaker:
    """A process that speaks. said: its records of late with their times by the broker, oldest first."""

    key: str
    said: deque[tuple[int, FiguresRecord]] = field(default_factory=deque)

    @property
    def last(self) -> FiguresRecord:
        """What it said last."""
        return self.said[-1][1]

    @property
    def heard_ms(self) -> int:
        """When, by the broker's clock."""
        return self.said[-1][0]

    @property
    def rates(self) -> dict[str, float]:
        """What its counters rise by in a second; of one record nothing is known."""
        (first_ms, first), (last_ms, last) = self.said[0], self.said[-1]
        if first_ms == last_ms:
            return {}
        seconds = (last_ms - first_ms) / 1000
        before = first.counters
        return {
            name: max(0.0, value - before.get(name, 0)) / seconds for name, value in last.counters.items()
        }

    def recent(self, name: str) -> Histogram | None:
        """What was observed between the first and the last of these records; of one all that it knows."""
        last, first = self.last.histograms.get(name), self.said[0][1].histograms.get(name)
        if last is None or first is None or first is last or first.le != last.le:
            return last
        return Histogram(last.le, [now - before for now, before in zip(last.n, first.n, strict=True)])

    def hear(self, record: FiguresRecord, at_ms: int) -> None:
        """Takes a record; with another `started` the process is a new one, and its counters begin anew."""
        if self.said and (record.started, record.pid) != (self.last.started, self.last.pid):
            if record.started < self.last.started:
                return  # the last words of the one before
            self.said.clear()
        if self.said and record.seq <= self.last.seq:
            return
        self.said.append((at_ms, record))
        while at_ms - self.said[0][0] > RATE_MS:
            self.said.popleft()


class Heard:
    """All of them. `now_s`: any clock that goes on, in seconds."""

    def __init__(self) -> None:
        self._speakers: dict[str, Speaker] = {}
        self._newest_ms, self._newest_s = 0, 0.0

    def hear(self, key: bytes | None, value: bytes | None, at_ms: int, now_s: float) -> None:
        """Takes a record of the topic, of this time by the broker. What cannot be read is passed over."""
        try:
            record = decode_figures(value or b"")
        except UNREADABLE:
            return
        if at_ms > self._newest_ms:
            self._newest_ms, self._newest_s = at_ms, now_s
        name = (key or b"").decode(errors="replace") or f"{record.process}-{record.host}-{record.pid}"
        self._speakers.setdefault(name, Speaker(name)).hear(record, at_ms)
        self._drop(now_s)

    def now_ms(self, now_s: float) -> float:
        """What time it is by the broker's clock."""
        return self._newest_ms + (now_s - self._newest_s) * 1000

    def living(self, now_s: float) -> Iterable[Speaker]:
        """Those who are not gone, workers first, each kind by its keys."""
        self._drop(now_s)
        return sorted(self._speakers.values(), key=lambda each: (_place(each.last.process), each.key))

    def _drop(self, now_s: float) -> None:
        now_ms = self.now_ms(now_s)
        self._speakers = {
            key: each for key, each in self._speakers.items() if now_ms - each.heard_ms < GONE_MS
        }


def _place(process: str) -> int:
    return _ORDER.index(process) if process in _ORDER else len(_ORDER)
