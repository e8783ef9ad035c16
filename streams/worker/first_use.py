"""Filters and fields that a list wants for the first time: read beside the rounds, a slice at a time.

Owns who waits for what: whoever asks with a new filter waits alone, with all that stands in the same line.
What scenarios want comes before what requests bring along, and of that only so much may wait. At small
catalogues nobody waits: a mask is built in the round that wants it. Makes no mask and no list.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

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
# Of what requests bring along. A mask takes 0.1 s at 60,000 items and two at a million, and nobody waits for
# the answer for a minute. Records that wait count as pending, and too many of them keep out everybody's.
MOST_NEEDS = 64
MOST_IN_LINE = 64  # a user's records behind the one that is to wait
MOST_PARKED = 2048
TOO_MANY = (
    "too many new filters at once: each is looked up in all items before its first list; send the request "
    "again later, or use the same filters again"
)


class Need(NamedTuple):
    """What one list wants that is not there: masks, and columns of fields that tilts and caps read."""

    filters: tuple[Filter, ...]
    fields: tuple[str, ...]


_Waiting = dict[Need, dict[str, Pending[Arrival]]]  # by user (or whose turn it is) the head of the line


class FirstUse:
    """`lock`: the one under which the catalogue changes and rounds are made. `wall_s` tells Unix time."""

    def __init__(
        self, rounds: Rounds[Arrival], lock: asyncio.Lock, wall_s: Callable[[], float] = time.time
    ) -> None:
        self._rounds = rounds
        self._lock = lock
        self._wall_s = wall_s
        self._of_scenarios: _Waiting = {}
        self._of_requests: _Waiting = {}
        self._given_up: set[Pending[Arrival]] = set()
        self._turned_down: list[Pending[Arrival]] = []
        self._some = asyncio.Event()

    def __len__(self) -> int:
        """How many users wait."""
        return sum(len(users) for each in (self._of_scenarios, self._of_requests) for users in each.values())

    def fit(self, taken: Sequence[Pending[Arrival]], world: World) -> Sequence[Pending[Arrival]]:
        """Those of a round that want nothing which is not there.

        The others go back and wait, or are `turned_down` where too many do.
        """
        if world.catalogue.size <= BUILT_IN_A_ROUND:
            return taken
        fit: list[Pending[Arrival]] = []
        parked: dict[str, list[Pending[Arrival]]] = {}
        for record in taken:
            if record.user in parked:
                parked[record.user].append(record)
            elif record in self._given_up:
                self._given_up.discard(record)
                self._turned_down.append(record)
            # Once: should its mask have gone again, the round builds it.
            elif not record.waited and (need := _missing(record.payload, world)) is not None:
                if self._takes(record, need):
                    record.waited = True
                    parked[record.user] = [record]
                else:
                    self._turned_down.append(record)
            else:
                fit.append(record)
        for user, records in parked.items():
            self._rounds.park(user, records)
        if parked:
            self._relieve()
            self._some.set()
        return fit

    def turned_down(self) -> list[Pending[Arrival]]:
        """Requests that get no list, each once; whoever takes them has them done."""
        some, self._turned_down = self._turned_down, []
        return some

    def clear(self) -> None:
        """Forgets who waits: their partitions are given away."""
        for each in (self._of_scenarios, self._of_requests, self._given_up, self._turned_down):
            each.clear()

    async def run(self, masks: Masks) -> None:
        """Reads what is waited for: scenarios' before requests', and those first that have waited longest.

        Until cancelled.
        """
        while True:
            await self._some.wait()
            while waiting := self._of_scenarios or self._of_requests:
                need = next(iter(waiting))
                self._let_expired_go()
                if need in waiting and await self._build(need, masks, waiting):
                    for user in waiting.pop(need, ()):
                        self._rounds.unpark(user)
            self._some.clear()

    async def _build(self, need: Need, masks: Masks, waiting: _Waiting) -> bool:
        """False where it has been left, for something else comes first or nobody waits any more."""
        parts: list[Callable[[], bool]] = [partial(masks.build_some, each, _ITEMS) for each in need.filters]
        if need.fields:
            parts.insert(0, partial(masks.fields.read, need.fields, _ITEMS))
        for part in parts:
            built = False
            while not built:
                async with self._lock:
                    end = time.perf_counter() + _STRETCH_S
                    while not (built := part()):  # until then `ready` says too much
                        if time.perf_counter() > end:
                            break
                await asyncio.sleep(0)  # a round, or a stretch of items
                self._relieve()
                if need not in waiting or (waiting is self._of_requests and self._of_scenarios):
                    return False
        return True

    def _takes(self, record: Pending[Arrival], need: Need) -> bool:
        """Whether a record may wait; it does then."""
        waiting = self._of_scenarios
        if _brings_rules(record.payload):
            waiting = self._of_requests
            many = need not in waiting and len(waiting) >= MOST_NEEDS
            if many or self._rounds.line(record.user) > MOST_IN_LINE:
                return False
        waiting.setdefault(need, {})[record.user] = record
        return True

    def _let_expired_go(self) -> None:
        """Those whose answers nobody waits for are dropped by the next round; nothing is read for them."""
        now_ms = self._wall_s() * 1000
        for waiting in (self._of_scenarios, self._of_requests):
            for need, users in list(waiting.items()):
                for user, record in list(users.items()):
                    expires_at = getattr(record.payload.message, "expires_at", None)
                    if expires_at is not None and expires_at < now_ms:
                        self._leave(waiting, need, user)

    def _relieve(self) -> None:
        """Gives up requests, those with the longest lines behind them, where lines have grown too long."""
        while self._rounds.parked > MOST_PARKED and self._of_requests:
            need, user = max(
                ((need, user) for need, users in self._of_requests.items() for user in users),
                key=lambda each: self._rounds.line(each[1]),
            )
            self._given_up.add(self._of_requests[need][user])
            self._leave(self._of_requests, need, user)

    def _leave(self, waiting: _Waiting, need: Need, user: str) -> None:
        del waiting[need][user]
        if not waiting[need]:
            del waiting[need]
        self._rounds.unpark(user)


def _brings_rules(arrival: Arrival) -> bool:
    message = arrival.message
    return isinstance(message, Request) and (
        message.filter is not None or message.rules is not None or message.query is not None
    )


def _missing(arrival: Arrival, world: World) -> Need | None:
    """What the list that an arrival calls for wants and is not there; None where all is."""
    message, steering = arrival.message, world.steering
    given = steering.given
    if not (given or _brings_rules(arrival)) or not calls_for_list(arrival):
        return None
    assert isinstance(message, Click | Request)
    if message.scenario is not None and message.scenario not in given:  # it is counted with the list
        message = msgspec.structs.replace(message, scenario=DEFAULT)
    want = wanted(message, steering, world.policy)
    filters: tuple[Filter, ...] = ()
    fields: tuple[str, ...] = ()
    if want.filter is not None and not steering.masks.ready(want.filter):
        filters = (want.filter,)
    if (want.rules.tilts or want.rules.caps) and not steering.fields.ready(want.rules.fields, _ITEMS):
        fields = want.rules.fields
    return Need(filters, fields) if filters or fields else None
