"""Impressions that this process tells of by itself: one for each list that it hands out to a user.

Owns that a list counts once, however often it is handed out: here by its id, and between processes by the
event's id, of which workers take one. Nobody waits for them. Only where the setting `impressions` is `auto`.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from streams.api.brokers import Brokers, NotAcknowledged
from streams.api.lists import ListOut
from streams.settings import Settings
from streams.transport.topics import Names
from streams.wire.contract import Click, encode

MOST_KNOWN = 50_000  # lists that were told of, some 8 MB; one that is forgotten is told of again
MOST_WAITING = 5_000  # on their way; of more nobody is told, while a broker is away


class Impressions:
    """`shown` is called with each list as it goes out; `now_ms` says what time events have."""

    def __init__(self, settings: Settings, now_ms: Callable[[], int]) -> None:
        self.brokers: Brokers | None = None
        self.is_on = settings.impressions == "auto"
        self._topic, self._now_ms = Names(settings.prefix).clicks, now_ms
        self._known: OrderedDict[str, None] = OrderedDict()
        self._waiting: set[asyncio.Task[None]] = set()

    def forget(self) -> None:
        """Ids of lists begin anew."""
        self._known.clear()

    def shown(self, out: ListOut) -> ListOut:
        """The list goes out."""
        if not self.is_on or not isinstance(out.user_id, str) or not out.items:
            return out
        name = out.recommendation_id
        if name in self._known or len(self._waiting) >= MOST_WAITING:
            return out
        self._known[name] = None
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        click = Click(
            event_id=f"shown-{name}", user_id=out.user_id, event="impression", timestamp=self._now_ms(),
            scenario=out.scenario, recommendation_id=name, items=tuple(each.item_id for each in out.items),
        )  # fmt: skip
        task = asyncio.create_task(self._send(name, click))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)
        return out

    async def _send(self, name: str, click: Click) -> None:
        try:
            if self.brokers is not None:
                await self.brokers.send(self._topic, click.user_id.encode(), encode(click))
        except NotAcknowledged:
            self._known.pop(name, None)  # the next time it is handed out
