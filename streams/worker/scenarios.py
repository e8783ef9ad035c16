"""The rules of lists as they come from the topic `scenarios`, and what is strange about them.

Owns the meaning of the topic's records and the verdict on bad ones: a name's last good rules stay in force.
Called under the worker's lock, between two rounds. What rules do is `streams.hot_path.rules`' business.
"""

import time
from collections.abc import Callable

import structlog
from aiokafka import ConsumerRecord

from learner.filters.language import FilterError
from streams.hot_path.rules import Steering
from streams.runtime.repeated import Repeated
from streams.transport.last_good import LastGood, Unknown
from streams.wire.contract import UNREADABLE, decode_rules, decode_tombstone, encode
from streams.wire.steering import fields_of

log = structlog.get_logger()

Refuse = Callable[[ConsumerRecord, str], None]
# Items looked at in one go for whether any has a field that nobody has read yet: some milliseconds.
_LOOKED_AT = 5_000
# So long lists go by a rule that counts impressions, and no impression comes, before that is said.
UNSHOWN_SECONDS = 300.0


class Scenarios:
    """`on_record` takes the topic's records, `watch` is called once a second.

    `refuse(record, error)` is told of bad ones, `last_good` of what is to be written again.
    `clock` in seconds.
    """

    def __init__(
        self, topic: str, steering: Steering, refuse: Refuse, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.last_good = LastGood(topic, self._good)
        self.unknown_fields: list[tuple[str, str]] = []  # scenario and field that no item has
        self.idle_shown_caps: list[str] = []  # scenarios whose `shown_cap` has no impressions to count
        self._steering = steering
        self._clock = clock
        self._unshown_since: tuple[float, int] | None = (
            None  # when such a rule came, and the lists until then
        )
        self._refuse = refuse
        self._dropped: set[str] = set()
        self._fields: dict[str, dict[str, str]] = {}  # by scenario, the fields that its rules read
        self._heard: set[str] = set()  # scenarios that were told of, which nobody has defined
        self._fruitless: set[tuple[str, str]] = set()  # unknown fields that were told of
        self._of_nobody = Repeated(
            "lists for a scenario that nobody has defined: the rules of `default` hold",
            "`nextclick scenarios put NAME` defines it, or send the name that is meant",
            clock,
        )
        self._of_nothing = Repeated(
            "a scenario's rules read a field that no item has",
            "`nextclick scenarios show NAME` shows the rules, `nextclick items show ID` an item's fields",
            clock,
        )
        self._of_no_impressions = Repeated(
            "a scenario's rule `shown_cap` does nothing: no impression has come",
            "send events `impression` for what is shown, or put the rules without `shown_cap`",
            clock,
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
        self._heard.discard(name)  # once it is dropped, its lists are strange again
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

    def watch(self, lists: int = 0, impressions: int = 0) -> None:
        """Says once what nobody can have meant; `lists` made and `impressions` read so far.

        Scenarios that are not defined, fields that no item has, impressions that are to be counted and do not
        come.
        """
        for name in self._steering.unheard.keys() - self._heard:
            self._heard.add(name)
            self._of_nobody.note(name, scenario=name)
        self._look_for_fields()
        self._look_for_impressions(lists, impressions)
        for repeated in (self._of_nobody, self._of_nothing, self._of_no_impressions):
            repeated.watch()

    def _look_for_impressions(self, lists: int, impressions: int) -> None:
        counting = [name for name, rules in self._steering.given.items() if rules.shown_cap is not None]
        if impressions or not counting:
            self.idle_shown_caps, self._unshown_since = [], None
            return
        if self._unshown_since is None:
            self._unshown_since = self._clock(), lists
        since, before = self._unshown_since
        if self._clock() - since < UNSHOWN_SECONDS or lists == before:  # where no lists are, nothing is shown
            return
        for name in set(counting).difference(self.idle_shown_caps):
            self._of_no_impressions.note(name, scenario=name)
        self.idle_shown_caps = counting

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
