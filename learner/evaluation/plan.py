"""What is asked and scored when: a stream in replay order, and every decision that no system may differ on.

Owns the split, sessions, repeats, when items enter the catalogue, which events are scored and which slices
they belong to. Knows no system and no metric.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import msgspec
import numba
import numpy as np
import numpy.typing as npt

from learner.data.catalogue import Item
from learner.data.dataset import Interactions
from learner.data.events import AVERSION, INTEREST, Kind
from learner.data.repeats import consuming_kinds, data_repeats, had_before
from learner.data.times import DAY_MS
from learner.evaluation.system import FirstPart, Ints, Stream

TAIL_FROM = 0.2  # the tail is what lies outside this top share of items by clicks so far
FEW_ITEM_CLICKS = 5  # so many clicks, or fewer but one at least, are few for an item,
FEW_USER_CLICKS = 4  # and so many or fewer for a user

# strict: at `published_at` where the file has it, else after the first click, which nobody can then hit.
# first_click: as strict, with `published_at` ignored. start: all at the beginning (diagnostic: it tells
# that each item will be clicked some day).
Announce = Literal["strict", "first_click", "start"]
NEVER = np.iinfo(np.int64).max


class ReplayError(ValueError):
    """The data or the options do not allow the replay that was asked for."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A stream with all that is decided about it before any system runs. Arrays are (n,) by event.

    `scored`: would count if reached (the later part counts from `split` on); `skipped`: would count but
    for being a repeat or an item the user pushed away; `slices` by name; `clicks_before` of the answer;
    `lists`: the click triggers a list that a later scored event may be looked up in.
    """

    stream: Stream
    split: int
    announce: Announce
    sessions_ms: int | None
    repeats: bool
    consumes: npt.NDArray[np.bool_]
    scored: npt.NDArray[np.bool_]
    skipped: npt.NDArray[np.bool_]
    lists: npt.NDArray[np.bool_]
    interest: npt.NDArray[np.bool_]
    slices: dict[str, npt.NDArray[np.bool_]]
    entry: npt.NDArray[np.int64]
    enters_before_ask: npt.NDArray[np.bool_]
    id_rank: Ints
    seed: int = 0
    entries_before: dict[int, list[int]] = field(default_factory=dict)
    entries_after: dict[int, list[int]] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def asked(self) -> npt.NDArray[np.intp]:
        """Numbers of the events that are scored, in order."""
        asked = np.flatnonzero(self.scored)
        return asked[asked >= self.split]

    def first_part(self) -> FirstPart:
        """The part before the split, and nothing of what comes after it."""
        stream, end = self.stream, self.split
        entered = self.entry < end
        return FirstPart(
            user=stream.user[:end],
            item=stream.item[:end],
            time_ms=stream.time_ms[:end],
            kind=stream.kind[:end],
            value=stream.value[:end],
            scenario=stream.scenario[:end],
            scored=self.scored[:end],
            entries_before={k: items for k, items in self.entries_before.items() if k < end},
            entries_after={k: items for k, items in self.entries_after.items() if k < end},
            records=[r if known else None for r, known in zip(stream.records, entered, strict=True)],
            user_ids=stream.user_ids,
            item_ids=stream.item_ids,
            id_rank=self.id_rank,
            repeats=self.repeats,
            consumes=self.consumes,
            seed=self.seed,
            notes=self.notes,
        )


def plan(
    stream: Stream,
    *,
    split: float = 0.8,
    announce: Announce = "strict",
    sessions_ms: int | None = None,
    repeats: bool | None = None,
    seed: int = 0,
) -> Plan:
    """Decides everything about a replay of `stream`; `repeats` None decides from the first part."""
    if not 0 < split < 1:
        raise ReplayError(f"--split is {split}: it must lie between 0 and 1, for instance 0.8")
    if sessions_ms is not None:
        stream = cut_sessions(stream, sessions_ms)
    end = int(split * stream.size)
    if end == 0 or end == stream.size:
        raise ReplayError(f"{stream.size} events are too few to split at {split}: give a longer stream")
    head = slice(0, end)
    user, item, kind = stream.user, stream.item, stream.kind
    if repeats is None:
        repeats = data_repeats(user[head], item[head], kind[head])
    consumes = consuming_kinds(kind[head])
    interest = np.isin(kind, [int(k) for k in INTEREST])
    barring = np.isin(kind, [int(k) for k in AVERSION])
    if not repeats:
        barring |= consumes[kind]
    earlier, clicks, tail = _counts(
        user, item, interest, kind != Kind.IMPRESSION, len(stream.user_ids), len(stream.item_ids)
    )
    wanted = interest & (earlier > 0) if sessions_ms is not None else interest
    barred = had_before(user, item, barring)
    entry, before = _entries(stream, announce, interest)
    made = Plan(
        stream=stream,
        split=end,
        announce=announce,
        sessions_ms=sessions_ms,
        repeats=repeats,
        consumes=consumes,
        scored=wanted & ~barred,
        skipped=wanted & barred,
        lists=_lists(user, interest, end),
        interest=interest,
        slices={
            "cold_users": earlier == 0,
            "one_click": earlier == 1,
            "few_clicks_users": earlier <= FEW_USER_CLICKS,
            "cold_items": clicks == 0,
            "few_clicks_items": (clicks > 0) & (clicks <= FEW_ITEM_CLICKS),
            "tail": tail,
        },
        entry=entry,
        enters_before_ask=before,
        id_rank=_id_rank(stream.item_ids),
        seed=seed,
    )
    for number in np.argsort(entry, kind="stable").tolist():
        if entry[number] != NEVER:
            table = made.entries_before if before[number] else made.entries_after
            table.setdefault(int(entry[number]), []).append(number)
    return made


def cut_sessions(stream: Stream, gap_ms: int) -> Stream:
    """Makes each user's bursts users of their own, cut where `gap_ms` or more pass between two events."""
    if stream.size and np.all(stream.time_ms % DAY_MS == 0):
        raise ReplayError(
            "--sessions needs times of day, but every timestamp of this file is a whole day: "
            "leave --sessions out, or give a file with seconds or milliseconds"
        )
    order = np.lexsort((np.arange(stream.size), stream.user))
    user, time = stream.user[order], stream.time_ms[order]
    starts = np.r_[True, (np.diff(user) != 0) | (np.diff(time) >= gap_ms)]
    session = np.empty(stream.size, np.int32)
    session[order] = np.cumsum(starts) - 1
    owners = user[starts]
    nth = np.arange(len(owners)) - np.searchsorted(owners, owners)
    ids = [f"{stream.user_ids[u]}#{n}" for u, n in zip(owners.tolist(), nth.tolist(), strict=True)]
    return replace(stream, user=session, user_ids=ids)


def _id_rank(ids: Sequence[str]) -> Ints:
    """Place of each item when ids are sorted: (V,) int32."""
    rank = np.empty(len(ids), np.int32)
    rank[sorted(range(len(ids)), key=ids.__getitem__)] = np.arange(len(ids))
    return rank


def _entries(
    stream: Stream, announce: Announce, interest: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """By item number: the event it enters at, and whether that is before the event's ask or after it."""
    items = len(stream.item_ids)
    entry = np.full(items, NEVER, np.int64)
    before = np.zeros(items, np.bool_)
    if announce == "start":
        return np.zeros(items, np.int64), np.ones(items, np.bool_)
    clicked = np.flatnonzero(interest)
    np.minimum.at(entry, stream.item[clicked], clicked)
    if announce == "strict":
        dates = [record.published_at if record is not None else None for record in stream.records]
        for number, published in enumerate(dates):
            if published is not None:
                # The first event at or after the time of publication: its ask sees the item already.
                at = int(np.searchsorted(stream.time_ms, published))
                if at <= entry[number] and at < stream.size:
                    entry[number], before[number] = at, True
    return entry, before


def _lists(user: Ints, interest: npt.NDArray[np.bool_], split: int) -> npt.NDArray[np.bool_]:
    """Clicks of the later part, and each user's last one before it."""
    lists = interest.copy()
    lists[:split] = False
    early = np.flatnonzero(interest[:split])
    last: dict[int, int] = dict(zip(user[early].tolist(), early.tolist(), strict=True))
    lists[list(last.values())] = True
    return lists


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _counts(
    user: Ints,
    item: Ints,
    interest: npt.NDArray[np.bool_],
    counts: npt.NDArray[np.bool_],
    users: int,
    items: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """By event: earlier events of the user, earlier clicks of the item, and whether it is in the tail."""
    n = len(user)
    by_user = np.zeros(users, np.int64)
    by_item = np.zeros(items, np.int64)
    above = np.zeros(n + 2, np.int64)  # above[c]: items with more than c clicks
    earlier = np.zeros(n, np.int64)
    clicks = np.zeros(n, np.int64)
    tail = np.zeros(n, np.bool_)
    for k in range(n):
        u, i = user[k], item[k]
        earlier[k], clicks[k] = by_user[u], by_item[i]
        tail[k] = above[by_item[i]] >= TAIL_FROM * above[0] or by_item[i] == 0
        if counts[k]:
            by_user[u] += 1
        if interest[k]:
            above[by_item[i]] += 1
            by_item[i] += 1
    return earlier, clicks, tail


def stream_from(interactions: Interactions, records: Sequence[Item] = (), seed: int = 0) -> Stream:
    """Puts interactions into global time order, ties broken by `seed`, and joins them with the catalogue.

    Availability is ignored: the file says what is withdrawn today, not what was on the day of a click.
    """
    events = interactions.in_order(seed)
    item_ids = list(events.item_ids)
    number = {name: n for n, name in enumerate(item_ids)}
    known: dict[int, Item] = {}
    for record in records:
        if record.item_id not in number:
            number[record.item_id] = len(item_ids)
            item_ids.append(record.item_id)
        known[number[record.item_id]] = msgspec.structs.replace(record, available=True)
    return Stream(
        user=events.user,
        item=events.item,
        time_ms=events.time_ms,
        kind=events.kind,
        value=events.value,
        scenario=list(events.scenario),
        user_ids=list(events.user_ids),
        item_ids=item_ids,
        records=[known.get(n) for n in range(len(item_ids))],
    )
