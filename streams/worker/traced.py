"""Spans of the records that are traced: where the time of a click or a request went in this worker.

Owns which records are, the names of their spans and what these tell. What they tell leaves the machine, so it
is places and counts: no user, no item, no event. Costs nothing where no traces are set, and next to nothing
for a record that is not traced. The hot path knows of it only that it marks its stages.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from streams.figures.traceparent import HEADER, Parent, parent_among
from streams.figures.tracer import Attributes, Tracer, header_of
from streams.hot_path.world import Mark, Outcome, unmarked
from streams.transport.batches import Batch
from streams.wire.contract import Request
from streams.wire.intake import Arrival
from streams.worker.assignment import Parcel

MOST_OF_SLICE = 16  # whoever sends records may ask for traces; a flood of them must not slow the lists
_MOST_STAGES = 32  # of a round, which has some six

Arrived = Callable[[Parcel], None]


@dataclass(frozen=True, slots=True)
class Noted:
    """Of a record that is traced: whose trace goes on, and when its slice of so many records was decoded."""

    parent: Parent | None
    topic: str
    begun_ns: int
    ended_ns: int
    records: int


class Untraced:
    """What is asked where no traces are set."""

    def decoded(self, batch: Batch, good: Sequence[tuple[str, Arrival]], begun_ns: int) -> None:
        """A slice has been decoded since then; `good` are the arrivals among its records, in their order."""

    def round(self, arrivals: Sequence[Arrival]) -> Mark:  # noqa: ARG002
        """A round begins: what is to be told of its stages."""
        return unmarked

    def packed(
        self, parcels: Iterable[Parcel], outcomes: Sequence[Outcome], mark: Mark, arrived: Arrived,
    ) -> tuple[Iterable[Parcel], Arrived]:  # fmt: skip
        """What is to be delivered of a round, and called as each parcel is acknowledged."""
        del outcomes, mark
        return parcels, arrived


UNTRACED = Untraced()


class Stages:
    """When the stages of a round were; each begins where the one before ended."""

    def __init__(self, clock: Callable[[], int] = time.time_ns) -> None:
        self._clock = clock
        self.begun_ns = self.ended_ns = clock()
        self.passed: list[tuple[str, int, int]] = []

    def __call__(self, stage: str) -> None:
        """It is over now. One after another of the same name are one."""
        begun, self.ended_ns = self.ended_ns, self._clock()
        if self.passed and (self.passed[-1][0] == stage or len(self.passed) == _MOST_STAGES):
            stage, begun, _ = self.passed.pop()
        self.passed.append((stage, begun, self.ended_ns))


class Traces(Untraced):
    """Spans by this tracer."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def decoded(self, batch: Batch, good: Sequence[tuple[str, Arrival]], begun_ns: int) -> None:
        """Notes which of the arrivals are traced."""
        ended_ns, noted, records = time.time_ns(), 0, iter(batch.records)
        for _, arrival in good:
            record = next(each for each in records if each.offset == arrival.offset)
            parent = parent_among(record.headers)
            if self._tracer.keeps(parent):
                arrival.trace = Noted(parent, batch.topic, begun_ns, ended_ns, len(batch.records))
                noted += 1
                if noted == MOST_OF_SLICE:
                    return

    def round(self, arrivals: Sequence[Arrival]) -> Mark:
        """Stages where one of the arrivals is traced."""
        return Stages() if any(arrival.trace is not None for arrival in arrivals) else unmarked

    def packed(
        self, parcels: Iterable[Parcel], outcomes: Sequence[Outcome], mark: Mark, arrived: Arrived
    ) -> tuple[Iterable[Parcel], Arrived]:
        """Gives traced lists the header by which whoever reads them goes on."""
        if not isinstance(mark, Stages):
            return parcels, arrived
        by_partition = {parcel.partition: parcel for parcel in parcels}
        made: Counter[int] = Counter()  # lists of each parcel, which stand in the outcomes' order
        under_way: defaultdict[int, list[_Answer]] = defaultdict(list)
        lists = sum(outcome.recommendation is not None for outcome in outcomes)
        for outcome in outcomes:
            partition, listed = outcome.arrival.partition, outcome.recommendation is not None
            noted = outcome.arrival.trace
            if isinstance(noted, Noted):
                answer = _Answer(self._tracer, noted, outcome, mark, lists)
                if listed:
                    outbox, place = by_partition[partition].lists, made[partition]
                    outbox[place] = outbox[place]._replace(headers=[(HEADER, answer.header())])
                    under_way[partition].append(answer)
                else:
                    answer.end(mark.ended_ns)
            made[partition] += listed

        def acknowledged(parcel: Parcel) -> None:
            arrived(parcel)
            for answer in under_way.get(parcel.partition, ()):
                answer.end(time.time_ns())

        return by_partition.values(), acknowledged


class _Answer:
    """The spans of one record. Those of its stages are made last: the list need not wait for them."""

    def __init__(self, tracer: Tracer, noted: Noted, outcome: Outcome, stages: Stages, lists: int) -> None:
        self._tracer, self._noted, self._stages, self._lists = tracer, noted, stages, lists
        arrival, made = outcome.arrival, outcome.recommendation
        self._place: Attributes = {
            "messaging.system": "kafka",
            "messaging.destination.name": noted.topic,
            "messaging.destination.partition.id": str(arrival.partition),
            "messaging.kafka.offset": arrival.offset,
        }
        told: Attributes = {"nextclick.fate": outcome.fate.value, "nextclick.hurried": outcome.hurried}
        if made is not None:
            told = {**told, "nextclick.release": made.release}
        kind = "request" if isinstance(arrival.message, Request) else "click"
        self._whole = tracer.begin(
            f"answer {kind}", "consumer", noted.parent, noted.begun_ns, {**self._place, **told}
        )
        self._published: Callable[[int], None] | None = None

    def header(self) -> bytes:
        """Begins the list's way to the broker; returns what it carries."""
        publish = self._tracer.begin("publish", "producer", self._whole, self._stages.ended_ns)
        self._published = publish.end
        return header_of(publish)

    def end(self, now_ns: int) -> None:
        """All of it is done."""
        noted, stages = self._noted, self._stages
        self._pass("decode", noted.begun_ns, noted.ended_ns, {"nextclick.records": noted.records})
        self._pass("wait", noted.ended_ns, stages.begun_ns)
        for name, begun_ns, ended_ns in stages.passed:
            self._pass(name, begun_ns, ended_ns, {"nextclick.lists": self._lists})
        if self._published is not None:
            self._published(now_ns)
        self._whole.end(now_ns)

    def _pass(self, name: str, begun_ns: int, ended_ns: int, told: Attributes | None = None) -> None:
        self._tracer.passed(name, "internal", self._whole, begun_ns, max(begun_ns, ended_ns), told or {})
