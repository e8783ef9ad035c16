"""Lists that are held: most reads are a look-up, since every click already makes a new list.

Owns which list of a user is the newest, which clicks of users are known here, and the memory that all of it
takes. Fed with records of `recommendations`; knows no HTTP, no Kafka client, and the clock as an argument.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import msgspec

from streams.wire.contract import UNREADABLE, Trigger
from streams.wire.steering import DEFAULT

# Requests that ask for nothing of their own have such ids, whichever api asks, so that all may hold the
# answers; behind it stands the offset of the user's click that the answer must know.
PLAIN = "api-list-"
_ENTRY_BYTES = 350  # of Python's objects for a user, measured with tracemalloc
_LIST_BYTES = 760  # for each list beside its own bytes
_USER = ""  # no scenario's name: stands for what is known of the user beside lists


class Told(msgspec.Struct, frozen=True):
    """What of a list is looked at when it comes."""

    recommendation_id: str
    trigger: Trigger
    user_id: str | None = None
    scenario: str | None = None
    rules: int | None = None


class Held(msgspec.Struct, frozen=True):
    """A list as it came.

    made_ms: its record's CreateTime; place: its offset in `recommendations`
    click: offset of the click that it answers, -1 for a request's answer; knows: newest click that it knows
    """

    value: bytes
    made_ms: int
    id: str
    rules: int | None
    place: int
    click: int
    knows: int

    def newer_than(self, other: "Held", max_age_ms: int) -> bool:
        """By the triggers' offsets, never by a clock; what is too old for use bars nothing."""
        if other.made_ms + max_age_ms < self.made_ms:
            return True
        if self.click >= 0 and other.click >= 0:
            return self.click > other.click
        return self.place > other.place and self.knows >= other.knows


class User:
    """What is known of one: lists by scenario, the newest click (-1: none), and whose list is on its way."""

    __slots__ = ("click", "coming", "lists")

    def __init__(self) -> None:
        self.lists: dict[str, Held] = {}
        self.click = -1
        self.coming = ""  # the scenario that the list of this click will be of; "" where it makes none


Watcher = Callable[[str, Held], None]


class HeldLists:
    """At most `most_bytes` of it; what was least recently asked for, of a user and scenario, goes first.

    `answered(request_id, value)` is told of each answer to a request.
    """

    def __init__(
        self, most_bytes: int, max_age_ms: int, answered: Callable[[str, bytes], None] = lambda *_: None
    ) -> None:
        self.bytes = 0
        self._most_bytes, self._max_age_ms, self._answered = most_bytes, max_age_ms, answered
        self._users: dict[str, User] = {}
        # What goes first: lists, and users. A user is later than all his lists, so that who has one is known.
        self._order: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._watchers: dict[str, set[Watcher]] = {}
        self._decode = msgspec.json.Decoder(Told).decode

    def __len__(self) -> int:
        return len(self._users)

    def on_record(self, record: Any) -> Told | None:
        """A record of `recommendations`; returns what it tells, None where it is no list."""
        try:
            told = self._decode(record.value or b"")
        except UNREADABLE:
            return None
        if told.trigger.kind == "request":
            self._answered(told.trigger.id, record.value)
        if told.user_id is not None:
            self._take(told, told.user_id, record)
        return told

    def of(self, user_id: str, scenario: str = DEFAULT) -> User | None:
        """What is known of a user whose list of the scenario is asked for now."""
        user = self._users.get(user_id)
        if user is not None:
            if scenario in user.lists:
                self._order.move_to_end((user_id, scenario))
            self._order.move_to_end((user_id, _USER))
        return user

    def forget(self, user_id: str | None = None) -> None:
        """Drops what is known of a user, of all of them without one."""
        for each in [*self._users] if user_id is None else [user_id]:
            user = self._users.get(each)
            if user is not None:
                for scenario in [*user.lists, _USER]:
                    del self._order[each, scenario]
                    self._drop(each, scenario)

    def clicked(self, user_id: str, offset: int, coming: str = "") -> None:
        """A click of the user is acknowledged; a list of the scenario `coming` will follow it."""
        user = self._user(user_id)
        if offset > user.click:
            user.click, user.coming = offset, coming
        self._order.move_to_end((user_id, _USER))
        self._bound()

    def watch(self, user_id: str, watcher: Watcher) -> None:
        """From now on each new list of the user is told, with its scenario."""
        self._watchers.setdefault(user_id, set()).add(watcher)

    def unwatch(self, user_id: str, watcher: Watcher) -> None:
        """No longer."""
        some = self._watchers.get(user_id)
        if some is not None:
            some.discard(watcher)
            if not some:
                del self._watchers[user_id]

    def _take(self, told: Told, user_id: str, record: Any) -> None:
        click = _offset(told.recommendation_id) if told.trigger.kind == "click" else -1
        if click < 0 and not told.trigger.id.startswith(PLAIN):
            return
        scenario = told.scenario or DEFAULT
        user = self._user(user_id)
        before = user.lists.get(scenario)
        knows = click if click >= 0 else _known(told.trigger.id)
        if click < 0 and before is not None:  # the worker that answers has made that list, or read its state
            knows = max(knows, before.knows)
        held = Held(
            record.value, record.timestamp, told.recommendation_id, told.rules, record.offset, click, knows
        )
        user.click = max(user.click, click)
        if before is not None and (before.id == held.id or not held.newer_than(before, self._max_age_ms)):
            return
        user.lists[scenario] = held
        if before is None:
            self._order[user_id, scenario] = None
            self._order.move_to_end((user_id, _USER))
        self.bytes += _LIST_BYTES + len(held.value) - (_LIST_BYTES + len(before.value) if before else 0)
        self._bound()
        for watcher in tuple(self._watchers.get(user_id, ())):
            watcher(scenario, held)

    def _user(self, user_id: str) -> User:
        user = self._users.get(user_id)
        if user is None:
            user = self._users[user_id] = User()
            self._order[user_id, _USER] = None
            self.bytes += _ENTRY_BYTES + len(user_id)
        return user

    def _bound(self) -> None:
        while self.bytes > self._most_bytes and self._order:
            self._drop(*self._order.popitem(last=False)[0])

    def _drop(self, user_id: str, scenario: str) -> None:
        if scenario == _USER:
            del self._users[user_id]
            self.bytes -= _ENTRY_BYTES + len(user_id)
        else:
            gone = self._users[user_id].lists.pop(scenario)
            self.bytes -= _LIST_BYTES + len(gone.value)


def _offset(recommendation_id: str) -> int:
    """Of `c-3-1208` the offset; -1 where it is no such id."""
    number = recommendation_id.rpartition("-")[2]
    return int(number) if number.isascii() and number.isdigit() else -1


def _known(request_id: str) -> int:
    """The offset of the click that the answer to a plain request knows; -1: of none in particular."""
    number = request_id.removeprefix(PLAIN).partition("-")[0]
    return int(number) if number.isascii() and number.isdigit() and len(number) < 16 else -1
