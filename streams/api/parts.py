"""What the handlers share: one object of this process, made at its start.

Owns the wiring: which topic feeds what.
"""

import asyncio
from typing import Any

from litestar import Request

from streams.api.brokers import Brokers
from streams.api.clicks import Intake
from streams.api.lists import Lists
from streams.api.problems import Away
from streams.api.steering import Steering
from streams.settings import Settings
from streams.transport.topics import Names


class Parts:
    """All of it; `start` and `stop` run with the server."""

    def __init__(self, settings: Settings) -> None:
        names = Names(settings.prefix)
        self.settings, self.names = settings, names
        self.closing = asyncio.Event()  # streams end themselves then
        self.steering = Steering(names.scenarios)
        self.intake = Intake(settings)
        self.lists = Lists(settings, self.steering, self.intake.observe)
        self.brokers = Brokers(
            settings,
            {
                names.recommendations: self.lists.on_record,
                names.scenarios: self.steering.on_scenario,
                names.items: self.steering.on_item,
            },
        )
        self.lists.brokers = self.brokers

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
        self.brokers.start()

    async def stop(self) -> None:
        """At its end."""
        self.closing.set()
        await self.brokers.stop()


def here(request: Request[Any, Any, Any]) -> Parts:
    """The parts of the process that this request came to."""
    parts: Parts = request.app.state.parts
    return parts
