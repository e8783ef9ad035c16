"""A world that changes: recorded clicks, of which those after a moment tell of other tastes and other items.

Owns the change and nothing of its measurement. Clicks stay real ones: users of two genres go on with each
other's clicks, and half of the items go on under other names, with the texts they had.
"""

from dataclasses import dataclass, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from learner.data.catalogue import Item
from learner.evaluation.system import Stream

REPLACED = 0.5  # of the items that are clicked after the change


@dataclass(frozen=True, slots=True)
class Change:
    """What changes: who goes on as whom (n users,) and under which name an item goes on (n items,)."""

    user: NDArray[np.int32]
    item: NDArray[np.int32]
    genres: tuple[str, str] | None  # whose users swap tastes; None: half of all users, drawn by chance
    users: int  # that go on as another
    items: int  # that go on under another name


def change_of(stream: Stream, at: int, seed: int) -> Change:
    """Draws a change from the clicks before event `at`: the genres that most users like best swap users.

    Genres are the items' categories; where too few items have any, users swap by chance.
    """
    rng = np.random.default_rng(seed)
    genre_of, names = _favourites(stream, at)
    swap = np.arange(len(stream.user_ids), dtype=np.int32)
    activity = np.bincount(stream.user[:at], minlength=len(swap))
    sizes = np.bincount(genre_of[genre_of >= 0], minlength=max(len(names), 2))
    first, second = np.argsort(-sizes, kind="stable")[:2].tolist()
    if sizes[second] >= 0.02 * (activity > 0).sum():
        genres = (names[first], names[second])
        sides = [np.flatnonzero(genre_of == genre) for genre in (first, second)]
    else:
        genres = None
        known = rng.permutation(np.flatnonzero(activity))
        sides = [known[0::4], known[1::4]]
    # The most active go on as the most active: otherwise clicks would run dry.
    ordered = [side[np.argsort(-activity[side], kind="stable")] for side in sides]
    pairs = min(map(len, ordered))
    swap[ordered[0][:pairs]], swap[ordered[1][:pairs]] = ordered[1][:pairs], ordered[0][:pairs]

    later = np.unique(stream.item[at:])
    going = rng.permutation(later)[: int(REPLACED * len(later))]
    rename = np.arange(len(stream.item_ids), dtype=np.int32)
    rename[going] = len(stream.item_ids) + np.arange(len(going), dtype=np.int32)
    return Change(swap, rename, genres, 2 * pairs, len(going))


def changed(stream: Stream, change: Change, at: int) -> Stream:
    """The stream with everything from event `at` on told of the changed world.

    New items have the texts of those they replace, and are published at the moment of the change.
    """
    user, item = stream.user.copy(), stream.item.copy()
    user[at:], item[at:] = change.user[user[at:]], change.item[item[at:]]
    now = int(stream.time_ms[min(at, stream.size - 1)])
    ids, records = list(stream.item_ids), list(stream.records)
    for old in np.argsort(change.item, kind="stable")[len(ids) - change.items :].tolist():
        name = f"{ids[old]}'"
        record = records[old] or Item(item_id=name)
        ids.append(name)
        records.append(msgspec.structs.replace(record, item_id=name, published_at=now))
    return replace(stream, user=user, item=item, item_ids=ids, records=records)


def _favourites(stream: Stream, at: int) -> tuple[NDArray[np.int64], list[str]]:
    """By user: number of the category clicked most before `at`, -1 where none is known; and their names."""
    numbers: dict[str, int] = {}
    of_item = np.full(len(stream.item_ids), -1, np.int64)
    for item, record in enumerate(stream.records):
        if record is not None and record.categories:
            of_item[item] = numbers.setdefault(record.categories[0], len(numbers))
    counts = np.zeros((len(stream.user_ids), max(len(numbers), 1)), np.int64)
    known = of_item[stream.item[:at]] >= 0
    np.add.at(counts, (stream.user[:at][known], of_item[stream.item[:at][known]]), 1)
    return np.where(counts.any(1), counts.argmax(1), -1), list(numbers)
