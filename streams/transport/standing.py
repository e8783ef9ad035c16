"""Which rules are in force: the topic `scenarios` as workers take it, record by record.

Owns that a broken record leaves the last good rules of its name in force, and is told. What rules do is the
hot path's business.
"""

from dataclasses import dataclass
from typing import Any

import msgspec

from streams.transport.last_good import LastGood
from streams.wire.contract import UNREADABLE, Rules, decode_rules, decode_tombstone


@dataclass
class Standing:
    """A scenario's rules in force, with the offset and time (CreateTime, ms) of their record.

    `broken` says what is wrong with the newest record, where it cannot be used; `rules` are then those
    before, and None where there are none.
    """

    name: str
    rules: Rules | None
    offset: int | None = None
    at_ms: int | None = None
    broken: str = ""

    def shown(self) -> dict[str, Any]:
        """As plain values."""
        rules = {} if self.rules is None else msgspec.to_builtins(self.rules)
        told = {"scenario": self.name} | rules
        return {"rules": told, "offset": self.offset, "said_at": self.at_ms} | (
            {"broken": self.broken} if self.broken else {}
        )


class Standings:
    """All scenarios that somebody has defined: `found`, by name."""

    def __init__(self, topic: str) -> None:
        self.found: dict[str, Standing] = {}
        self._records = LastGood(topic, lambda _: None)

    def take(self, record: Any) -> None:
        """One record of the topic, as workers take it."""
        found, records = self.found, self._records
        try:
            name = decode_tombstone(record.key)
        except UNREADABLE:
            return
        if record.value is None:
            if records.is_late(record) and name in found and found[name].rules is not None:
                records.broke(record)
                return
            found.pop(name, None)
            records.came(record)
            return
        before = found.get(name)
        try:
            rules = decode_rules(record.value)
            if rules.scenario not in (None, name):
                raise msgspec.ValidationError(
                    f"scenario is {rules.scenario!r}, and the record's key {name!r}"
                )
        except UNREADABLE as error:
            found[name] = before or Standing(name, None)
            found[name].broken = str(error)
            records.broke(record)
            return
        if records.is_late(record) and (before is None or before.rules != rules):
            records.broke(record)
            return
        found[name] = Standing(name, rules, record.offset, record.timestamp)
        records.came(record)
