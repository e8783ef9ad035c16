"""How a user's next click answers the list before it.

Owns the matching of clicks with lists, however the two topics interleave. Pure: `canary_watch` reads them.
Knows no statistics (`learner.judging.sequential` has them) and no roles.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from learner.data.events import INTEREST, KIND_OF_WORD
from streams.wire.contract import Click

MOST_USERS = 200_000  # whose last list is remembered


class _Place(msgspec.Struct):
    item_id: str


class _Trigger(msgspec.Struct):
    kind: str
    id: str


class ListSeen(msgspec.Struct):
    """Of a record of `recommendations`, what answers are made from: a fifth of the cost of reading it all."""

    recommendation_id: str
    user_id: str
    trigger: _Trigger
    items: list[_Place]
    release: str


decode_list = msgspec.json.Decoder(ListSeen).decode


@dataclass(frozen=True, slots=True)
class Answer:
    """A click that came after a list: which release had made it, and whether it held the item.

    `attributed`: the click names a list of this user as the one it answers, and the item stood there.
    """

    user_id: str
    release: str
    hit: bool
    attributed: bool


@dataclass(slots=True)
class _User:
    previous: str | None = None  # event id of the last click that triggers a list
    lists: dict[str, ListSeen] = field(default_factory=dict)  # by the click that triggered them
    waiting: dict[str, Click] = field(default_factory=dict)  # the next click, by the one before it
    known: dict[str, None] = field(default_factory=dict)  # items clicked before, oldest first


class Answers:
    """Fed with clicks and lists in any interleaving; each user's clicks in their order.

    `repeats`: whether items come again in this data; where not, a click on an item that the user has
    clicked before is no answer. `expects` is told of the user of each click that a list should have come
    before, whether it has come or not.
    """

    def __init__(
        self, *, repeats: bool = False, users: int = MOST_USERS,
        expects: Callable[[str], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self.repeats = repeats
        self._expects = expects
        self._users: OrderedDict[str, _User] = OrderedDict()
        self._most = users

    def see_click(self, click: Click) -> Answer | None:
        """Takes a click; returns the answer where its list has come before."""
        if KIND_OF_WORD[click.event] not in INTEREST or click.history:
            return None
        user = self._user(click.user_id)
        if click.event_id == user.previous:
            return None  # sent twice: it triggers no list of its own, and is no answer to its own
        again = click.item_id in user.known
        user.known[click.item_id] = None
        if len(user.known) > 1000:
            del user.known[next(iter(user.known))]
        previous, user.previous = user.previous, click.event_id
        if previous is None or (again and not self.repeats):
            if previous is not None:
                user.lists.pop(previous, None)
            return None
        self._expects(click.user_id)
        user.waiting[previous] = click
        while len(user.waiting) > 16:  # lists that never came
            del user.waiting[next(iter(user.waiting))]
        return self._settle(user, previous)

    def see_list(self, listed: ListSeen) -> Answer | None:
        """Takes a list; returns the answer where the next click has come before."""
        if listed.trigger.kind != "click":
            return None
        user = self._user(listed.user_id)
        user.lists[listed.trigger.id] = listed
        while len(user.lists) > 16:
            del user.lists[next(iter(user.lists))]
        return self._settle(user, listed.trigger.id)

    def _settle(self, user: _User, trigger: str) -> Answer | None:
        click, listed = user.waiting.get(trigger), user.lists.get(trigger)
        if click is None or listed is None:
            return None
        del user.waiting[trigger], user.lists[trigger]
        hit = any(place.item_id == click.item_id for place in listed.items)
        attributed = hit and click.recommendation_id == listed.recommendation_id
        return Answer(click.user_id, listed.release, hit, attributed)

    def _user(self, user_id: str) -> _User:
        user = self._users.get(user_id)
        if user is None:
            user = self._users[user_id] = _User()
            if len(self._users) > self._most:
                self._users.popitem(last=False)
        else:
            self._users.move_to_end(user_id)
        return user
