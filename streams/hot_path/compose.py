"""Lists as they are sent: ranked candidates and the places that the policy gave them become a message.

Owns a list's id, its trigger, and what it says of each item: score, source, reason. Chooses nothing.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from learner.data.catalogue import Item
from learner.ranking.sources import SOURCES
from learner.search.reading import Reading
from streams.hot_path.policy import Place
from streams.hot_path.wanted import Wanted
from streams.hot_path.world import Ranked, World
from streams.wire.contract import (
    Click,
    ListedItem,
    Reason,
    Recommendation,
    Trigger,
    Understood,
    Wish,
    encode,
)
from streams.wire.intake import Arrival

# Of a list all fields together: a broker takes no record of 8 MiB. What comes behind goes out without.
MOST_FIELD_BYTES = 1 << 20
_OF_RECORDS = (
    "item_id", "title", "description", "categories", "tags", "image", "published_at", "price",
)  # fmt: skip

_EXPLORE = Reason("explore", [], "Something new to try.")
_MATCHES_QUERY = Reason("matches_query", [], "It fits what you asked for.")
_BY_SOURCE = tuple(
    Reason("popular", [], "Popular with others now.") if name.startswith("popular")
    else Reason("new", [], "New here.") if name == "fresh"
    else Reason("for_you", [], "It fits what you like.")
    for name in SOURCES
)  # fmt: skip


def compose(
    arrival: Arrival,
    want: Wanted,
    places: Sequence[Place],
    ranked: Ranked,
    row: int,
    world: World,
    at_ms: int,
    made_ms: int,
) -> Recommendation:
    """The list that an arrival called for. `places` are columns of `row` of what was ranked.

    `at_ms` is the moment that a request without a timestamp is about, `made_ms` the list's `created_at`.
    """
    message = arrival.message
    timestamp = message.timestamp if message.timestamp is not None else at_ms
    assert not isinstance(message, Wish)  # which calls for no list
    if isinstance(message, Click):
        letter, trigger = "c", Trigger("click", message.event_id, timestamp)
    else:
        letter, trigger = "r", Trigger("request", message.request_id, timestamp)
    return Recommendation(
        recommendation_id=f"{letter}-{arrival.partition}-{arrival.offset}",
        user_id=UNSET if message.user_id is None else message.user_id,
        trigger=trigger,
        items=_listed(want, places, ranked, row, world),
        release=world.live.release.id,
        policy=want.policy.name,
        scenario=message.scenario,
        created_at=made_ms,
        rules=want.rules.offset,
        unknown=list(want.unknown) if want.unknown or _ranks(want) else UNSET,
        profile=want.profile or UNSET,
        understood=UNSET if want.reading is None else _understood(want.reading),
    )


def _ranks(want: Wanted) -> bool:
    return want.request is not None and want.request.rank is not None


def _understood(reading: Reading) -> Understood:
    """How the query was read."""
    return Understood(
        None if reading.filter is None else reading.filter.json(), reading.text, reading.years,
        [" ".join(words) for words in reading.without], list(reading.dropped),
    )  # fmt: skip


def _listed(
    want: Wanted, places: Sequence[Place], ranked: Ranked, row: int, world: World
) -> list[ListedItem]:
    found, ids, sought = ranked.candidates, world.catalogue.ids, ranked.sought
    columns = np.array([place.column for place in places], np.int64)
    asked_for = [False] * len(places) if sought is None else sought[row, columns].tolist()
    items = found.items[row, columns]
    fields = () if want.request is None else want.request.fields
    like = None if want.request is None else want.request.similar_to
    rules = [""] * len(places) if want.plain else _rules(want, items, places, world)
    said = zip(
        places,
        items.tolist(),
        found.source[row, columns].tolist(),
        found.because[row, columns].tolist(),
        ranked.scores[row, columns].tolist(),
        asked_for,
        rules,
        strict=True,
    )
    listed = []
    room = MOST_FIELD_BYTES
    because_of: dict[int, Reason] = {}  # of the items that speak for others: most speak for several
    for place, item, source, because, score, is_asked_for, rule in said:
        name = SOURCES[source]
        if place.explored:
            reason = _EXPLORE
        elif is_asked_for:
            name, reason = "query", _MATCHES_QUERY
        elif like is not None or because >= 0:
            known = because_of.get(because)
            if known is None:
                known = because_of[because] = _because(because, like, world)
            reason = known
        else:
            reason = _BY_SOURCE[source]
        if rule:
            reason = msgspec.structs.replace(reason, rule=rule)
        own: dict[str, Any] | UnsetType = UNSET
        if fields:
            own = _fields(item, fields, world)
            room -= len(encode(own))
            if room < 0:
                own = {}
        listed.append(ListedItem(ids[item], round(score, 6), name, reason, place.propensity, own))
    return listed


def _because(item: int, like: str | None, world: World) -> Reason:
    """Another item is the reason: one that the user had, or the one that others are to be `like`."""
    if like is not None:
        return Reason("similar", [like], f"Like {world.title(world.catalogue.index[like])}.")
    text = f"Because of your interest in {world.title(item)}."
    return Reason("because_clicked", [world.catalogue.ids[item]], text)


def _rules(want: Wanted, items: NDArray[np.int32], places: Sequence[Place], world: World) -> list[str]:
    """What rules had to do with each of the items (n,)."""
    tilts = want.rules.tilts
    if not (tilts or any(place.rule for place in places)):
        return [""] * len(places)
    said = [[place.rule] if place.rule else [] for place in places]
    for name, some in (
        ("boost", tuple(tilt for tilt in tilts if tilt.weight > 0)),
        ("bury", tuple(tilt for tilt in tilts if tilt.weight < 0)),
    ):
        if some:
            for words, added in zip(said, world.steering.tilt(items, some).tolist(), strict=True):
                if added:
                    words.append(name)
    return [", ".join(words) for words in said]


def _fields(item: int, names: Sequence[str], world: World) -> dict[str, Any]:
    """Of an item's record the fields that are asked for and that it has."""
    if item not in world.catalogue.records:
        return {}
    record = world.catalogue.records[item]
    found: dict[str, Any] = {}
    for name in names:
        value = _field(record, name)
        if value not in (None, [], {}):
            found[name] = value
    return found


def _field(record: Item, name: str) -> Any:
    """A field of a record as filters name it: else the attribute of that name."""
    if name.startswith("attributes."):
        return record.attributes.get(name.removeprefix("attributes."))
    return getattr(record, name) if name in _OF_RECORDS else record.attributes.get(name)
