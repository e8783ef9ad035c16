"""The rules of lists as they come from the topic `scenarios`, and what is strange about them.

Owns the meaning of the topic's records and the verdict on bad ones: a name's last good rules stay in force.
Called under the worker's lock, between two rounds. What rules do is `streams.hot_path.rules`' business.
"""

from collections.abc import Callable

import structlog
from aiokafka import ConsumerRecord

from learner.filters.language import FilterError
from streams.hot_path.rules import Steering
from streams.runtime.repeated import Repeated
from streams.transport.last_good import LastGood, Unknown
from streams.wire.contract import UNREADABLE, decode_rules, decode_tombstone, encode
from streams.wire.rule_parts import fields_of

log = structlog.get_logger()

Refuse = Callable[[ConsumerRecord, str], None]
# Items looked at in one go for whether any has a field that nobody has read yet: some milliseconds.
_LOOKED_AT = 5_000


class Scenarios:
    """`on_record` takes the topic's records, `watch` is called once a second.

    `refuse(record, error)` is told of bad ones, `last_good` of what is to be written again.
    """

    def __init__(self, topic: str, steering: Steering, refuse: Refuse) -> None:
        self.last_good = LastGood(topic, self._good)
        self.unknown_fields: list[tuple[str, str]] = []  # scenario and field that no item has
        self._steering = steering
        self._refuse = refuse
        self._dropped: set[str] = set()
        self._fields: dict[str, dict[str, str]] = {}  # by scenario, the fields that its rules read
        self._heard: set[str] = set()  # scenarios that were told of, which nobody has defined
        self._fruitless: set[tuple[str, str]] = set()  # unknown fields that were told of
        self._of_nobody = Repeated(
            "lists for a scenario that nobody has defined: the rules of `default` hold",
            "`nextclick scenarios put NAME` defines it, or send the name that is meant",
        )
        self._of_nothing = Repeated(
            "a scenario's rules read a field that no item has",
            "`nextclick scenarios show NAME` shows the rules, `nextclick items show ID` an item's fields",
        )

    def on_record(self, record: ConsumerRecord) -> None:
        """A scenario's rules, or that it has none any more."""
        try:
            name = decode_tombstone(record.key)
        except UNREADABLE as error:
            self._refuse(record, f"the key is the scenario's name: {error}")
            return
        if record.value is None:
            if self.last_good.is_late(record) and name in self._steering.given:
                self.last_good.broke(record)
                return
            self._drop(name)
            self.last_good.came(record)
            return
        try:
            rules = decode_rules(record.value)
            if rules.scenario is not None and rules.scenario != name:
                raise FilterError(f"scenario is {rules.scenario!r}, and the record's key {name!r}")
            if self.last_good.is_late(record) and rules != self._steering.given.get(name):
                self.last_good.broke(record)
                return
            self._steering.put(name, rules, record.offset)
        except (*UNREADABLE, FilterError) as error:
            self._refuse(record, str(error))
            self.last_good.broke(record)
            return
        self._dropped.discard(name)
        self._fields[name] = fields_of(rules)
        self.last_good.came(record)
        log.info("rules are in force", scenario=name, offset=record.offset, note=rules.note or None)

    @property
    def count(self) -> int:
        """How many scenarios have rules."""
        return len(self._steering.given)

    @property
    def unheard(self) -> int:
        """Lists so far for scenarios that nobody has defined."""
        return sum(self._steering.unheard.values())

    def watch(self) -> None:
        """Says once what nobody can have meant: scenarios that are not defined, fields that no item has."""
        for name in self._steering.unheard.keys() - self._heard:
            self._heard.add(name)
            self._of_nobody.note(name, scenario=name)
        self._look_for_fields()
        self._of_nobody.watch()
        self._of_nothing.watch()

    def _look_for_fields(self) -> None:
        steering = self._steering
        if not steering.catalogue.size:
            return
        known = {
            field: steering.fields.known(field, _LOOKED_AT)
            for field in {field for fields in self._fields.values() for field in fields}
        }
        self.unknown_fields = [
            (name, field)
            for name, fields in self._fields.items()
            for field in fields
            if known[field] is False
        ]
        for name, field in self.unknown_fields:
            if (name, field) not in self._fruitless:
                self._fruitless.add((name, field))
                self._of_nothing.note(
                    f"{name} {field}", scenario=name, field=field, place=self._fields[name][field]
                )

    def _drop(self, name: str) -> None:
        if name in self._steering.given:
            log.info("a scenario has no rules any more", scenario=name)
        self._steering.drop(name)
        self._dropped.add(name)
        self._fields.pop(name, None)

    def _good(self, key: bytes) -> bytes | None:
        name = key.decode(errors="replace")
        rules = self._steering.given.get(name)
        if rules is not None:
            return encode(rules)
        if name in self._dropped:
            return None
        raise Unknown(f"nobody has given {name} rules that can be used")
