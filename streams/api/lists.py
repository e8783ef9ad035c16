"""Which list a read gets: a held one, one that is made for it, or an old one; and how long it waits.

Owns the deadlines, the sharing of strangers' lists, and what is said of a list (`served`, `behind`, `next`).
Knows no HTTP.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from streams.api.asking import Asking, failed
from streams.api.brokers import NotAcknowledged
from streams.api.cursors import Cursor, written
from streams.api.held import PLAIN, Held, HeldLists
from streams.api.problems import Away, Problem
from streams.api.steering import Steering
from streams.settings import Settings
from streams.transport.topics import Names
from streams.wire.contract import Profile, Reason, Request, Trigger, Understood, encode
from streams.wire.steering import DEFAULT

STRANGERS_SECONDS = 10.0
_MOST_SHARED = 1_000  # lists of strangers
# A click's own list is mostly there before this; only then is it asked for as well.
_COMING_SECONDS = 0.06
_LONGEST = 1_000  # items

Served = Literal["held", "computed", "stale"]


class ItemOut(msgspec.Struct):
    """One place of a list."""

    item_id: str
    score: float
    source: str
    reason: Reason
    fields: dict[str, Any] | UnsetType = UNSET


class ListOut(msgspec.Struct, kw_only=True):
    """A list as it goes out; it is read straight from a record of `recommendations`.

    served: held, computed for this read, or stale: older than it should be
    behind: true where it may not know the newest click; next: the cursor of what follows, null at the end
    """

    recommendation_id: str
    user_id: str | UnsetType = UNSET
    items: list[ItemOut]
    release: str
    policy: str
    rules: int | None = None
    scenario: str | None = None
    created_at: int
    trigger: Trigger
    served: Served = "held"
    behind: bool | UnsetType = UNSET
    next: str | None = None
    unknown: list[str] | UnsetType = UNSET
    profile: Profile | UnsetType = UNSET
    understood: Understood | UnsetType = UNSET


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A read. `request`: what a worker would be asked, without an id; `seen`: a token's place.

    cursor: of the page before; None of the first one. shown: what to call the list's scenario and filter in
    the next cursor stands in the request.
    """

    request: Request
    max_age_ms: int
    timeout_ms: int
    seen: tuple[int, int] | None = None
    cursor: Cursor | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it asks for nothing of its own, so that a held list answers it."""
        return self.request.user_id is not None and self.request == Request(
            request_id=self.request.request_id, user_id=self.request.user_id,
            scenario=self.request.scenario, k=self.request.k,
        )  # fmt: skip


decode_out = msgspec.json.Decoder(ListOut).decode


class Lists:
    """`get` answers reads; `held`, `steering` and `asking.brokers` are fed and run elsewhere."""

    def __init__(
        self, settings: Settings, steering: Steering, observe: Callable[[int, str], None] = lambda *_: None
    ) -> None:
        self.asking = Asking(Names(settings.prefix), steering)
        self.held = HeldLists(round(settings.api_cache_mb * 1e6), settings.max_age_ms, self.asking.answered)
        self.steering = steering
        self.newest_ms: int | None = None  # CreateTime of the newest list
        self.count: Callable[[str], None] = lambda _: None  # told of each list's `served`
        self._settings, self._observe = settings, observe
        self._shared: OrderedDict[bytes, tuple[float, asyncio.Task[bytes]]] = OrderedDict()

    def on_record(self, record: Any) -> None:
        """A record of `recommendations`."""
        told = self.held.on_record(record)
        if told is not None:
            self._observe(told.trigger.timestamp, told.user_id or "")
            self.newest_ms = max(record.timestamp, self.newest_ms or 0)

    async def get(self, wanted: Wanted) -> ListOut:
        """The list. Raises a Problem: 422 for what no worker would take, 503 where none came in time."""
        if wanted.request.user_id is None:
            value, served = await self._for_stranger(wanted)
            return self.told(value, wanted, served)
        need = self._need(wanted, wanted.request.user_id)
        if not wanted.is_plain:
            return self.told(await self._of_its_own(wanted, need), wanted, "computed")
        fit = self._fit(wanted, need)
        return fit if fit is not None else await self._compute(wanted, need)

    def newest(self, user_id: str, scenario: str | None) -> Held | None:
        """The user's newest list that is held, however old."""
        user = self.held.of(user_id, scenario or DEFAULT)
        return None if user is None else user.lists.get(scenario or DEFAULT)

    def forget(self) -> None:
        """The topics of clicks or lists were made anew: offsets, and what is held, mean nothing any more."""
        self.held.forget()
        self._shared.clear()

    def told(self, value: bytes, wanted: Wanted, served: Served, behind: bool = False) -> ListOut:
        """The list as it goes out."""
        out = decode_out(value)
        asked = wanted.request
        k = self.k_of(asked)
        is_full = len(out.items) >= k
        if served != "computed":
            out.items = self._listable(out.items, asked.scenario)
        elif self.steering.withdrawn:
            out.items = [each for each in out.items if each.item_id not in self.steering.withdrawn]
        out.served = served
        self.count(served)
        if behind:
            out.behind = True
        self.cut(out, k, wanted, is_full)
        return out

    def cut(self, out: ListOut, k: int, wanted: Wanted, is_full: bool) -> None:
        """At most k items, and the cursor of what follows them.

        is_full: whether there were k before some were left out; a list that was shorter is the end.
        """
        del out.items[k:]
        asked, out.next = wanted.request, None
        if is_full and out.items and asked.rank is None and asked.similar_to is None:
            before = wanted.cursor or Cursor(b"", asked.scenario, asked.filter, asked.query)
            out.next = written(before.beyond(item.item_id for item in out.items))

    def _need(self, wanted: Wanted, user_id: str) -> int:
        """The newest click of the user that is known, its offset; -1 where none is."""
        seen = -1
        if wanted.seen is not None:
            partition, offset = wanted.seen
            # Of another partition it is another user's click, of a batch: nothing to wait for.
            seen = offset if partition == self.asking.partition(user_id) else -1
        user = self.held.of(user_id, wanted.request.scenario or DEFAULT)
        return seen if user is None else max(seen, user.click)

    def _fit(self, wanted: Wanted, need: int) -> ListOut | None:
        """The held list, where it may be handed out as it is."""
        asked = wanted.request
        assert asked.user_id is not None
        found = self.newest(asked.user_id, asked.scenario)
        if found is None or found.knows < need or found.made_ms + wanted.max_age_ms < time.time() * 1000:
            return None
        if self.steering.is_past(found.rules, asked.scenario):
            return None
        out = self.told(found.value, wanted, "held")
        return out if len(out.items) >= self.k_of(asked) else None

    async def _compute(self, wanted: Wanted, need: int) -> ListOut:
        """A list that is made for this read, or what there is when the time is up."""
        asked = wanted.request
        assert asked.user_id is not None
        begun, timeout = time.monotonic(), wanted.timeout_ms / 1000
        found = self.newest(asked.user_id, asked.scenario)
        lacks = need > (-1 if found is None else found.knows)
        limit = min(self._settings.wait_ms / 1000, timeout) if lacks else timeout
        again = begun + (timeout if found is None else limit)
        making = self.asking.spawn(self._make_or_await(wanted, need, lacks, begun + timeout, again))
        try:
            value = await _within(making, limit)
            if value is None and lacks:
                if (found := self.newest(asked.user_id, asked.scenario)) is not None:
                    return self.told(found.value, wanted, self._age(found, wanted), behind=found.knows < need)
                value = await _within(making, timeout - (time.monotonic() - begun))
        except NotAcknowledged:
            value = None
        if value is not None:
            return value if isinstance(value, ListOut) else self.told(value, wanted, "computed")
        making.cancel()
        found = self.newest(asked.user_id, asked.scenario)
        if found is None:
            raise Away(
                f"no list was made within {wanted.timeout_ms} ms and none is held; is a worker running?"
            )
        return self.told(found.value, wanted, "stale", behind=found.knows < need)

    async def _make_or_await(
        self, wanted: Wanted, need: int, lacks: bool, until: float, again_until: float
    ) -> "bytes | ListOut":
        """A click's own list, where one is on its way and comes soon; else one by request."""
        asked = wanted.request
        assert asked.user_id is not None
        user = self.held.of(asked.user_id, asked.scenario or DEFAULT)
        coming = lacks and user is not None and user.coming == (asked.scenario or DEFAULT)
        soon = min(_COMING_SECONDS, (until - time.monotonic()) / 2)  # the rest is for asking
        if coming and await self._comes(asked.user_id, asked.scenario or DEFAULT, need, soon):
            fit = self._fit(wanted, need)
            if fit is not None:
                return fit
        # A list that is shorter than usual is of no use to the next reader.
        usual = self.k_of(Request(request_id="-", scenario=asked.scenario))
        prefix = f"{PLAIN}{need}-" if self.k_of(asked) >= usual else "api-"
        return await self.asking.made(asked, prefix, need, until, again_until)

    async def _comes(self, user_id: str, scenario: str, need: int, seconds: float) -> bool:
        there = asyncio.Event()

        def came(of: str, held: Held) -> None:
            if of == scenario and held.knows >= need:
                there.set()

        self.held.watch(user_id, came)
        try:
            found = self.newest(user_id, scenario)
            if found is None or found.knows < need:
                async with asyncio.timeout(seconds):
                    await there.wait()
            return True
        except TimeoutError:
            return False
        finally:
            self.held.unwatch(user_id, came)

    async def _of_its_own(self, wanted: Wanted, need: int) -> bytes:
        """Of a read that no held list answers. Raises a Problem."""
        try:
            until = time.monotonic() + wanted.timeout_ms / 1000
            return await self.asking.made(wanted.request, "api-", need, until)
        except (TimeoutError, NotAcknowledged) as error:
            raise _none_made(wanted) from error

    async def _for_stranger(self, wanted: Wanted) -> tuple[bytes, Served]:
        """All strangers who ask for the same get the same list for ten seconds."""
        asked = wanted.request
        same = asked == Request(
            request_id=asked.request_id, scenario=asked.scenario, filter=asked.filter, k=asked.k,
            fields=asked.fields,
        )  # fmt: skip
        if not same:
            return await self._of_its_own(wanted, -1), "computed"
        key = encode([asked.scenario or DEFAULT, asked.filter, self.k_of(asked), asked.fields])
        known, now = self._shared.get(key), time.monotonic()
        fresh = min(STRANGERS_SECONDS, wanted.max_age_ms / 1000)
        if (
            known is not None and known[1].done() and not failed(known[1])
            and now - known[0] < fresh and not self.asking.is_late(known[1].result(), asked)
        ):  # fmt: skip
            self._shared.move_to_end(key)
            return known[1].result(), "held"
        if known is None or known[1].done():
            patience_ms = max(wanted.timeout_ms, self._settings.timeout_ms)  # of all who will wait for it
            until, again = (now + each / 1000 for each in (patience_ms, wanted.timeout_ms))
            making = self.asking.spawn(self.asking.made(asked, "api-", -1, until, again))
            self._shared[key] = now, making
            while len(self._shared) > _MOST_SHARED:
                self._shared.popitem(last=False)
        else:
            making = known[1]
        try:
            async with asyncio.timeout(wanted.timeout_ms / 1000):
                return await asyncio.shield(making), "computed"
        except (Problem, TimeoutError, NotAcknowledged) as error:
            if known is not None and known[1].done() and not failed(known[1]):
                if making.done():
                    self._shared[key] = known
                return known[1].result(), "stale"
            if isinstance(error, Problem):
                raise
            raise _none_made(wanted) from error

    def _age(self, held: Held, wanted: Wanted) -> Served:
        return "held" if held.made_ms + wanted.max_age_ms >= time.time() * 1000 else "stale"

    def k_of(self, asked: Request) -> int:
        """How many items the list is to have at most."""
        if asked.rank is not None:
            return _LONGEST
        rules = asked.rules
        if rules is None and (standing := self.steering.of(asked.scenario)) is not None:
            rules = standing.rules
        return asked.k or (None if rules is None else rules.k) or self._settings.k

    def _listable(self, items: Iterable[ItemOut], scenario: str | None) -> list[ItemOut]:
        withdrawn, standing = self.steering.withdrawn, self.steering.of(scenario)
        blocked = standing.rules.block if standing is not None and standing.rules is not None else ()
        return [each for each in items if each.item_id not in withdrawn and each.item_id not in blocked]


async def _within(task: "asyncio.Task[Any]", seconds: float) -> Any:
    """What the task gives, or None where it takes longer: it goes on then."""
    done, _ = await asyncio.wait([task], timeout=max(0.0, seconds))
    if not done:
        return None
    try:
        return task.result()
    except TimeoutError:
        return None


def _none_made(wanted: Wanted) -> Away:
    return Away(f"no list was made within {wanted.timeout_ms} ms; is a worker running?")
