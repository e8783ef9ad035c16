"""What steers lists as this process knows it: the rules in force, and which items are withdrawn.

Owns reading them from their topics. Which list obeys them is `streams.api.lists`' business.
"""

from typing import Any

from streams.transport.standing import Standing, Standings
from streams.wire.contract import UNREADABLE, decode_item, decode_tombstone
from streams.wire.steering import DEFAULT


class Steering:
    """`on_scenario` and `on_item` take the records."""

    def __init__(self, scenarios: str) -> None:
        self._topic = scenarios
        self.standings = Standings(scenarios)
        self.withdrawn: set[str] = set()

    def on_scenario(self, record: Any) -> None:
        """A record of `scenarios`."""
        self.standings.take(record)

    def forget_rules(self) -> None:
        """The topic was made anew: what stood in it is in force no longer."""
        self.standings = Standings(self._topic)

    def on_item(self, record: Any) -> None:
        """A record of `items`; a broken one changes nothing."""
        try:
            if record.value is None:
                self.withdrawn.add(decode_tombstone(record.key))
                return
            item = decode_item(record.value)
        except UNREADABLE:
            return
        if item.available:
            self.withdrawn.discard(item.item_id)
        else:
            self.withdrawn.add(item.item_id)

    def of(self, scenario: str | None) -> Standing | None:
        """Whose rules a list of the scenario goes by: its own, else those of `default`, else none."""
        for name in (scenario, DEFAULT):
            found = self.standings.found.get(name or DEFAULT)
            if found is not None and found.rules is not None:
                return found
        return None

    def is_past(self, rules: int | None, scenario: str | None) -> bool:
        """Whether other rules hold than those of a list. `rules`: the offset of its, None without any.

        Those of a worker that is ahead of this process, of a later offset, are not past.
        """
        standing = self.of(scenario)
        if standing is None or standing.offset is None:
            return rules is not None
        return rules is None or rules < standing.offset
