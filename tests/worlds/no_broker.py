"""The api's way to the broker with none behind it: a test says what becomes of each record."""

from collections.abc import Mapping, Sequence
from typing import Any

from streams.api.brokers import Brokers, NotAcknowledged
from streams.api.parts import Parts


class NoBroker(Brokers):
    """Subclasses say what `send` does; many records go one by one."""

    def __init__(self, parts: Parts, feeds: Mapping[str, Any] | None = None) -> None:
        super().__init__(parts.settings, dict(feeds or {}))
        parts.keys.reached()

    def start(self) -> None:
        """Nothing is connected."""

    async def read_up(self, topic: str) -> None:
        """All that was sent is read."""

    async def send_many(
        self, topic: str, records: Sequence[tuple[bytes, bytes | None]]
    ) -> list[tuple[int, int] | None]:
        """Where each record stands, None of one that was not acknowledged."""
        placed: list[tuple[int, int] | None] = []
        for key, value in records:
            try:
                placed.append(await self.send(topic, key, value))
            except NotAcknowledged:
                placed.append(None)
        return placed
