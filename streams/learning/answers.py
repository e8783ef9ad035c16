"""How a user's next click answers the list before it.

Owns the matching of clicks with lists, however the two topics interleave. Pure: `canary_watch` reads them.
Knows no statistics (`learner.judging.sequential` has them) and no roles.
"""

import sys
from array import array
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from streams.learning.hit_rates import LEFT_OUT
from streams.wire.contract import Click

MOST_BYTES = 256_000_000  # of all users together: some 150,000 who are shown ten items a list
_KNOWN = 1000  # items of a user, to tell that one is clicked again
_WAITING = 16  # lists of a user that wait for a click, and clicks that wait for a list
# What the parts take in memory, rounded up: a user, a list without its items, a waiting click, an item known.
_USER_BYTES, _LIST_BYTES, _CLICK_BYTES, _ITEM_BYTES = 700, 400, 300, 9


class _Place(msgspec.Struct):
    item_id: str


class _Trigger(msgspec.Struct):
    kind: str
    id: str


class ListSeen(msgspec.Struct):
    """Of a record of `recommendations`, what answers are made from: a fifth of the cost of reading it all."""

    recommendation_id: str
    trigger: _Trigger
    items: list[_Place]
    release: str
    user_id: str = ""  # of a list that no user asked for


decode_list = msgspec.json.Decoder(ListSeen).decode


@dataclass(frozen=True, slots=True)
class Answer:
    """A click that came after a list: which release had made it, and whether it held the item.

    `attributed`: the click names a list of this user as the one it answers, and the item stood there.
    `popular`: the most popular items would have held it too.
    """

    user_id: str
    release: str
    hit: bool
    attributed: bool
    popular: bool = False


class _List(NamedTuple):
    recommendation: int
    release: str
    items: "array[int]"


class _Waiting(NamedTuple):
    """Of a click that waits for its list."""

    item: int
    recommendation: int
    popular: bool


class _User:
    """What is remembered of a user; ids as their hashes, each of a fixed size."""

    __slots__ = ("bytes", "fixed", "known", "lists", "previous", "waiting")

    def __init__(self, user_id: str) -> None:
        self.previous: int | None = None  # the last click that triggers a list
        self.lists: dict[int, _List] = {}  # by the click that triggered them
        self.waiting: dict[int, _Waiting] = {}  # the next click, by the one before it
        self.known = array("q")  # items clicked before, oldest first
        self.fixed = _USER_BYTES + sys.getsizeof(user_id)
        self.bytes = 0  # as they were counted last

    def weigh(self) -> int:
        """Counts the bytes anew; returns how many more they are than before."""
        before = self.bytes
        self.bytes = self.fixed + _ITEM_BYTES * len(self.known) + _CLICK_BYTES * len(self.waiting)
        for listed in self.lists.values():
            self.bytes += _LIST_BYTES + _ITEM_BYTES * len(listed.items)
        return self.bytes - before


class Answers:
    """Fed with clicks and lists in any interleaving; each user's clicks in their order.

    `repeats`: whether items come again in this data; where not, a click on an item that the user has
    clicked before is no answer. `expects` is told of the user of each click that a list should have come
    before, whether it has come or not; `popular` says of an item whether it is among the popular ones that a
    user does not know. Memory is bounded by `most_bytes`: the user heard of longest ago goes, and his next
    click is no answer.
    """

    def __init__(
        self, *, repeats: bool = False, most_bytes: int = MOST_BYTES,
        expects: Callable[[str], None] = lambda _: None,
        popular: Callable[[int, Collection[int]], bool] = lambda *_: False,
    ) -> None:  # fmt: skip
        self.repeats = repeats
        self.bytes = 0  # of all users together
        self._expects, self._popular = expects, popular
        self._users: OrderedDict[str, _User] = OrderedDict()
        self._most = most_bytes

    def __len__(self) -> int:
        """Users remembered."""
        return len(self._users)

    def see_click(self, click: Click) -> Answer | None:
        """Takes a click; returns the answer where its list has come before."""
        if not click.is_interest or click.history:
            return None
        user = self._user(click.user_id)
        answer = self._take_click(user, click)
        self._weigh(user)
        return answer

    def see_list(self, listed: ListSeen) -> Answer | None:
        """Takes a list; returns the answer where the next click has come before."""
        if listed.trigger.kind != "click" or not listed.user_id:
            return None
        user, trigger = self._user(listed.user_id), hash(listed.trigger.id)
        items = array("q", [hash(place.item_id) for place in listed.items])
        user.lists[trigger] = _List(hash(listed.recommendation_id), sys.intern(listed.release), items)
        while len(user.lists) > _WAITING:
            del user.lists[next(iter(user.lists))]
        answer = self._settle(listed.user_id, user, trigger)
        self._weigh(user)
        return answer

    def _take_click(self, user: _User, click: Click) -> Answer | None:
        event, item = hash(click.event_id), hash(click.item_id)
        if event == user.previous:
            return None  # sent twice: it triggers no list of its own, and is no answer to its own
        again = item in user.known
        if not again:
            user.known.append(item)
            if len(user.known) > _KNOWN:
                del user.known[0]
        previous, user.previous = user.previous, event
        if previous is None or (again and not self.repeats):
            if previous is not None:
                user.lists.pop(previous, None)
            return None
        self._expects(click.user_id)
        popular = self._popular(item, set(user.known[-LEFT_OUT:]))
        user.waiting[previous] = _Waiting(item, hash(click.recommendation_id), popular)
        while len(user.waiting) > _WAITING:  # lists that never came
            del user.waiting[next(iter(user.waiting))]
        return self._settle(click.user_id, user, previous)

    def _settle(self, user_id: str, user: _User, trigger: int) -> Answer | None:
        click, listed = user.waiting.get(trigger), user.lists.get(trigger)
        if click is None or listed is None:
            return None
        del user.waiting[trigger], user.lists[trigger]
        hit = click.item in listed.items
        attributed = hit and click.recommendation == listed.recommendation
        return Answer(user_id, listed.release, hit, attributed, click.popular)

    def _user(self, user_id: str) -> _User:
        user = self._users.get(user_id)
        if user is None:
            user = self._users[user_id] = _User(user_id)
        else:
            self._users.move_to_end(user_id)
        return user

    def _weigh(self, user: _User) -> None:
        self.bytes += user.weigh()
        while self.bytes > self._most and len(self._users) > 1:
            self.bytes -= self._users.popitem(last=False)[1].bytes
