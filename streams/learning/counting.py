"""Counts the clicks of all users into the signals: each click of interest once, whatever is read again.

Owns the learner's small memory of each user (the last items of interest, the last event ids) and what
has been counted. The signals' records say which clicks they know, so after a restart the clicks are
read from the beginning: those already counted only rebuild the users' histories. The users who clicked last
are known; whoever comes back after so many others is a newcomer again. Knows no broker.
"""

import os
from array import array
from collections import OrderedDict
from collections.abc import Callable, Mapping

import numpy as np

from learner.data.catalogue import Catalogue
from learner.data.events import INTEREST, KIND_OF_WORD, Kind
from learner.signals.pair_weights import WINDOW
from learner.signals.record import later
from learner.signals.state import Signals
from streams.wire.clock import Clock
from streams.wire.contract import Click, Forget, Merge, Merged
from streams.wire.event_ids import DEDUPLICATED, event_hash
from streams.wire.intake import Misplaced, Refused, admit
from streams.wire.second_reading import NO_WORDS

Normalised = Callable[[int, float], float]  # kind, value -> value on a common scale


NOTHING: Mapping[int, int] = {}
MOST_FORGOTTEN = 100_000
MOST_USERS = 500_000  # known at a time; 1.1 KB each with 50 items and 64 events, .4 KB after a click or two


class CountingError(Exception):
    """Clicks and signals do not belong together."""

    exit_code = os.EX_CONFIG  # 78: a start again would end in the same way


class _User:
    """The last 50 items of interest and the last 64 event ids of a user, oldest first."""

    __slots__ = ("history", "seen")

    def __init__(self) -> None:
        self.history = array("i")
        self.seen = array("Q")


class Counting:
    """Clicks in, signals changed.

    `normalised` puts ratings, dwell times and prices on one scale; `users`
    are known at most; `event_names`: the setting. Call `begin()` when the signals' records are read and
    before the first click.
    """

    def __init__(
        self,
        signals: Signals,
        catalogue: Catalogue,
        clock: Clock,
        normalised: Normalised = lambda _kind, _value: 0.0,
        *,
        users: int = MOST_USERS,
        event_names: Mapping[str, str] = NO_WORDS,
    ) -> None:
        self.signals = signals
        self.catalogue = catalogue
        self.clock = clock
        self.event_names = event_names
        self.normalised = normalised
        self.counts = dict.fromkeys(("counted", "known", "refused", "copies", "duplicates", "undone"), 0)
        self._users: OrderedDict[str, _User] = OrderedDict()  # who clicked last comes last
        self._most = users
        self._forgotten: OrderedDict[str, int] = OrderedDict()  # when the wish was sent, the last one last
        self._read: dict[int, int] = {}  # by partition, the last offset read
        self._restored: Mapping[int, int] = {}  # by partition, offsets that signals may have counted
        self._claimed: Mapping[int, int] = {}  # the same, by records of other weights too
        self._ahead: dict[int, int] = {}  # those of them that were not read again yet
        self.since_ms: int | None = None  # time of the oldest click that was counted here

    def begin(self, recounted: Mapping[int, int] = NOTHING) -> None:
        """The signals are as their records say; clicks follow, from the beginning of the topic.

        `recounted`: clicks, by partition up to these offsets, that were counted with other weights of events
        and are counted again, before any record is sent.
        """
        self._restored = dict(self.signals.offsets)
        self._claimed = later(self._restored, recounted)
        self._ahead = dict(self._claimed)
        self.clock.hear(self.signals.now_ms)

    def check(self, ends: Mapping[int, int]) -> None:
        """Raises CountingError where the signals know clicks that the topic, with these ends, has not had."""
        for partition, offset in self._claimed.items():
            if offset >= ends.get(partition, 0):
                raise _made_anew(partition, offset, f"it ends at {ends.get(partition, 0)}")

    @property
    def rebuilt(self) -> bool:
        """Whether all clicks that the signals claim are counted again, so that records may be sent."""
        return not self._ahead

    def all_read(self) -> None:
        """The end of the topic was reached: of what is claimed and did not come, nothing is left there."""
        self._ahead.clear()

    def count(
        self, value: bytes | None, partition: int, offset: int, wall_ms: int, *, sent_ms: int = 0,
        copied: bool = False,
    ) -> None:  # fmt: skip
        """Takes one record of `clicks`; bad ones are workers' business and only noted.

        A click counts where its producer put it, in whatever partition; `copied` ones, which a worker sent on
        to their partition, are passed over: so each counts once, also where the topic grows. `sent_ms`: the
        record's CreateTime. Raises CountingError where the topic is no longer the one that this began with:
        its clicks would pass for counted ones.
        """
        if offset <= self._read.get(partition, -1):
            raise _made_anew(partition, self._read[partition], f"a record of offset {offset} comes after it")
        self._read[partition] = offset
        if copied:
            self.counts["copies"] += 1
        else:
            self._count(value, partition, offset, wall_ms, sent_ms)
        if offset >= self._ahead.get(partition, offset + 1):
            del self._ahead[partition]
        offsets = self.signals.offsets
        if offset > offsets.get(partition, -1):
            offsets[partition] = offset

    def history(self, user_id: str) -> list[int]:
        """Numbers of the user's last items of interest, oldest first."""
        user = self._users.get(user_id)
        return [] if user is None else user.history.tolist()

    def __len__(self) -> int:
        """Users known."""
        return len(self._users)

    def _count(self, value: bytes | None, partition: int, offset: int, wall_ms: int, sent_ms: int) -> None:
        verdict = admit(
            value, partition, offset, requests=False, partitions=None,
            refuses=lambda timestamp: self.clock.refuses(timestamp, wall_ms), forgets=True,
            names=self.event_names,
        )  # fmt: skip
        if isinstance(verdict, Refused):
            self.counts["refused"] += 1
            return
        assert not isinstance(verdict, Misplaced)
        click = verdict.message
        if isinstance(click, Merge | Merged):
            return  # the clicks themselves are counted, as the visitor's
        if isinstance(click, Forget):  # what was counted of the user's clicks names nobody and stays
            self._users.pop(click.user_id, None)
            self._forgotten[click.user_id] = sent_ms
            if len(self._forgotten) > MOST_FORGOTTEN:
                self._forgotten.popitem(last=False)
            return
        assert isinstance(click, Click)
        self.clock.observe(click.timestamp, click.user_id)
        kind = KIND_OF_WORD[click.event]
        if kind is Kind.IMPRESSION:
            return  # of one item or of a list
        # What was sent before may be read after, where a topic that grew has it in another partition.
        forgotten = sent_ms < self._forgotten.get(click.user_id, -1)
        user = _User() if forgotten else self._user(click.user_id)
        digest = event_hash(click.event_id)
        if digest in user.seen:
            self.counts["duplicates"] += 1
            return
        _remember(user.seen, digest, DEDUPLICATED)
        if kind not in INTEREST:
            return
        if click.undo:
            self._take_back(user, click.item_id)
            return
        item = self.catalogue.intern(click.item_id)
        if click.merged_from is not None:  # a copy: the visitor's own click counts
            _remember(user.history, item, WINDOW)
            return
        if self._is_counted(item, partition, offset):
            self.counts["known"] += 1
        else:
            self.counts["counted"] += 1
            scaled = 0.0 if click.value is None else self.normalised(int(kind), click.value)
            # A time that may not move the clock may not age everything else either.
            time_ms = self.clock.bounded(click.timestamp)
            self.since_ms = time_ms if self.since_ms is None else min(self.since_ms, time_ms)
            self.signals.learn(item, time_ms, int(kind), scaled, np.array(user.history, np.int32))
        _remember(user.history, item, WINDOW)

    def _take_back(self, user: _User, item_id: str) -> None:
        """The user's later items make no pair with it; what was counted names nobody and stays."""
        self.counts["undone"] += 1
        item = self.catalogue.index.get(item_id, -1)
        for place in range(len(user.history) - 1, -1, -1):
            if user.history[place] == item:
                del user.history[place]
                return

    def _user(self, user_id: str) -> _User:
        user = self._users.get(user_id)
        if user is not None:
            self._users.move_to_end(user_id)
            return user
        if len(self._users) >= self._most:
            self._users.popitem(last=False)
        user = self._users[user_id] = _User()
        return user

    def _is_counted(self, item: int, partition: int, offset: int) -> bool:
        if offset > self._restored.get(partition, -1):
            return False
        return offset <= self.signals.applied(item).get(partition, -1)


def _made_anew(partition: int, offset: int, but: str) -> CountingError:
    return CountingError(
        f"the signals have counted partition {partition} of clicks up to offset {offset}, but {but}: the "
        "topic clicks was made anew. Delete the topics signals and user-states too, or use another --prefix"
    )


def _remember(values: "array[int]", value: int, limit: int) -> None:
    values.append(value)
    if len(values) > limit:
        del values[0]
