"""Filters that a list wants for the first time: their masks are built beside the rounds, a slice at a time.

Owns who waits for which mask: whoever asks with a new filter waits alone, with all that stands in the same
line. At small catalogues nobody waits: a mask is built in the round that wants it. Makes no mask and no list.
"""

import asyncio
import time
from collections.abc import Sequence

import msgspec

from learner.filters.language import Filter
from learner.filters.masks import Masks
from streams.hot_path.recommend import calls_for_list
from streams.hot_path.wanted import wanted
from streams.hot_path.world import World
from streams.wire.contract import Click, Request
from streams.wire.intake import Arrival
from streams.wire.steering import DEFAULT
from streams.worker.rounds import Pending, Rounds

BUILT_IN_A_ROUND = 20_000  # items of a catalogue, up to which a mask takes some 20 ms at most
# Rounds wait for each stretch. Reading a field takes 2 µs an item, all else next to nothing.
_STRETCH_S = 0.004
_ITEMS = 1_000  # looked at between two looks at the time


class FirstUse:
    """`lock`: the one under which the catalogue changes and rounds are made."""

    def __init__(self, rounds: Rounds[Arrival], lock: asyncio.Lock) -> None:
        self._rounds = rounds
        self._lock = lock
        self._filters: dict[str, list[Filter]] = {}  # by user (or whose turn it is) who waits for them
        self._some = asyncio.Event()

    def __len__(self) -> int:
        """How many users wait."""
        return len(self._filters)

    def fit(self, taken: Sequence[Pending[Arrival]], world: World) -> Sequence[Pending[Arrival]]:
        """Those of a round that want no mask which is not there; the others go back and wait."""
        if world.catalogue.size <= BUILT_IN_A_ROUND:
            return taken
        fit: list[Pending[Arrival]] = []
        parked: dict[str, list[Pending[Arrival]]] = {}
        for record in taken:
            if record.user in parked:
                parked[record.user].append(record)
            elif not record.waited and (missing := _missing(record.payload, world)):
                parked[record.user] = [record]
                self._filters[record.user] = missing
                record.waited = True  # once: should its mask have gone again, the round builds it
            else:
                fit.append(record)
        for user, records in parked.items():
            self._rounds.park(user, records)
        if parked:
            self._some.set()
        return fit

    def clear(self) -> None:
        """Forgets who waits: their partitions are given away."""
        self._filters.clear()

    async def run(self, masks: Masks) -> None:
        """Builds what is waited for, those who have waited longest first; until cancelled."""
        while True:
            await self._some.wait()
            while self._filters:
                user = next(iter(self._filters))
                for filter_ in self._filters[user]:
                    await self._build(filter_, masks)
                if self._filters.pop(user, None) is not None:
                    self._rounds.unpark(user)
            self._some.clear()

    async def _build(self, filter_: Filter, masks: Masks) -> None:
        built = False
        while not built:
            async with self._lock:
                end = time.perf_counter() + _STRETCH_S
                while not (built := masks.build_some(filter_, _ITEMS)):  # until then `ready` says too much
                    if time.perf_counter() > end:
                        break
            await asyncio.sleep(0)  # a round, or a stretch of items


def _missing(arrival: Arrival, world: World) -> list[Filter]:
    """Filters of the list that an arrival calls for which have no mask yet."""
    message, steering = arrival.message, world.steering
    given = steering.given
    own = isinstance(message, Request) and (message.filter is not None or message.rules is not None)
    if not (own or given) or not calls_for_list(arrival):
        return []
    assert isinstance(message, Click | Request)
    if message.scenario is not None and message.scenario not in given:  # it is counted with the list
        message = msgspec.structs.replace(message, scenario=DEFAULT)
    want = wanted(message, steering, world.policy)
    filters = [tilt.filter for tilt in want.rules.tilts]
    if want.filter is not None:
        filters.append(want.filter)
    return [filter_ for filter_ in dict.fromkeys(filters) if not steering.masks.ready(filter_)]
