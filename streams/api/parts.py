"""What the handlers share: one object of this process, made at its start.

Owns the wiring: which topic feeds what.
"""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from aiokafka import TopicPartition
from litestar import Request

from streams.api.brokers import Brokers
from streams.api.catalogue import Catalogue, field_of
from streams.api.clicks import Intake
from streams.api.figures import Measured
from streams.api.impressions import Impressions
from streams.api.keys import Keys
from streams.api.lists import ItemOut, Lists
from streams.api.live_release import LiveItems
from streams.api.problems import Away
from streams.api.steering import Steering
from streams.api.tracing import Traces
from streams.figures.reader import FiguresReader
from streams.figures.tracer import open_tracer
from streams.runtime.ending import ended
from streams.settings import Settings
from streams.transport.topics import Names

_READ_SECONDS = 1.0
_TURNS = 64


class Slot(Protocol):
    """An open stream's."""

    def wake(self) -> None:
        """Ends its wait."""


class Parts:
    """All of it; `start` and `stop` run with the server. needs_key: as `streams.api.keys` has it."""

    def __init__(self, settings: Settings, needs_key: bool = False) -> None:
        names = Names(settings.prefix)
        self.settings, self.names = settings, names
        self.measured = Measured()
        self.traces = Traces(open_tracer(settings, "api"))
        self._following: asyncio.Task[None] | None = None
        self.on_refused: Callable[[], None] = lambda: None  # the server's end
        self.status = FiguresReader(settings)
        self._beside: list[asyncio.Task[None]] = []
        self.closing = asyncio.Event()  # streams end themselves then
        self.slots: set[Slot] = set()  # of open streams
        self.keys = Keys(settings, needs_key)
        self.steering = Steering(names.scenarios)
        name = re.sub(r"[^A-Za-z0-9._-]", "_", settings.prefix) or "_"
        self.catalogue = Catalogue(settings.data_dir / "api" / f"catalogue-{name}.sqlite3")
        self.live = LiveItems(settings, self.catalogue)
        self.intake = Intake(settings)
        self.lists = Lists(settings, self.steering, self.intake.observe)
        self.impressions = Impressions(settings, self.intake.now_ms)
        self.turns = [asyncio.Lock() for _ in range(_TURNS)]  # of writers of one thing
        self.brokers = Brokers(
            settings,
            {
                names.recommendations: self.traces.of_lists(self.lists.on_record),
                names.scenarios: self.steering.on_scenario,
                names.items: self._on_item,
                names.releases: self.live.on_record,
                names.keys: self.keys.on_record,
            },
            on_stretch=self.catalogue.flush,
            on_start=self._begin,
            on_reached=self._reached,
            on_refused=lambda: self.on_refused(),
        )
        self.lists.asking.brokers, self.lists.count = self.brokers, self.measured.lists.add
        self.measured.register(self)

    @property
    def is_ready(self) -> bool:
        """Whether the broker answers and what lists need is read."""
        return self.brokers.answering and self.brokers.caught_up.is_set()

    def needs_broker(self) -> None:
        """Raises Away where the broker does not answer now."""
        if not self.brokers.answering:
            raise Away("the broker does not answer; this process goes on by itself once it does", 1)

    async def start(self) -> None:
        """At the server's start."""
        self.impressions.brokers = self.brokers
        self.brokers.start()
        self._following = asyncio.create_task(self.live.follow(self.brokers.caught_up))
        self._beside = [asyncio.create_task(each) for each in (self.measured.say(self), self._hear())]

    async def stop(self) -> None:
        """At its end."""
        self.close_streams()
        await ended(each for each in (self._following, *self._beside) if each is not None)
        await self.brokers.stop()
        self.catalogue.close()

    async def has_read(self, topic: str, partition: int, offset: int) -> None:
        """Waits until this process knows a record that it wrote, so that its next answer does too."""
        until = time.monotonic() + _READ_SECONDS
        while self.brokers.positions.get((topic, partition), 0) <= offset and time.monotonic() < until:
            await asyncio.sleep(0.002)

    def close_streams(self) -> None:
        """Open streams end."""
        self.closing.set()
        for slot in tuple(self.slots):
            slot.wake()

    def add_fields(self, items: list[ItemOut], names: list[str]) -> None:
        """Fields of items as the catalogue's owner last told them."""
        if not names:
            return
        for each in items:
            entry = self.catalogue.get(each.item_id)
            item = None if entry is None else entry.item
            told = {} if item is None else {name: field_of(item, name) for name in names}
            each.fields = {name: value for name, value in told.items() if value is not None}

    async def _hear(self) -> None:
        """Reads what all processes say of themselves, once their topic is there."""
        await self.brokers.prepared()
        await self.status.run()

    def _on_item(self, record: Any) -> None:
        self.steering.on_item(record)
        self.catalogue.on_record(record)

    def _begin(self, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """The catalogue's file goes on where it was; what was read of topics that were made anew is void."""
        anew, names = self.brokers.anew, self.names
        if anew & {names.clicks, names.recommendations}:
            self.lists.forget()
            self.impressions.forget()
        if names.scenarios in anew:
            self.steering.forget_rules()
        if names.releases in anew:
            self.live.forget()
        self.keys.begin()
        items = self.brokers.topics.get(names.items)
        identity = "" if items is None else items.identity
        places = [place for place in ends if place.topic == names.items]
        begin = {place: self.catalogue.begin(ends[place], identity) for place in places}
        self.steering.withdrawn.clear()
        self.steering.withdrawn.update(self.catalogue.withdrawn())
        return begin

    def _reached(self, topic: str) -> None:
        if topic == self.names.keys:
            self.keys.reached()


def here(request: Request[Any, Any, Any]) -> Parts:
    """The parts of the process that this request came to."""
    parts: Parts = request.app.state.parts
    return parts
