"""Which column of a file is meant: by its name, by names that others use, or by what the user says.

Owns the other names and the order in which they are taken. Knows neither files nor what columns hold.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Spelt without capitals, spaces and underscores; those that leave least doubt first.
_USERS = (
    "userid", "user", "uid", "customerid", "customer", "visitorid", "reviewerid", "memberid", "accountid",
    "clientid", "profileid", "personid", "buyerid", "sessionid", "userno", "useridx", "username",
)  # fmt: skip
_ITEMS = (
    "itemid", "item", "movieid", "movie", "productid", "product", "asin", "parentasin", "articleid",
    "article", "bookid", "book", "isbn", "songid", "trackid", "newsid", "videoid", "gameid", "animeid",
    "artistid", "businessid", "recipeid", "courseid", "contentid", "sku", "iid", "itemidx",
)  # fmt: skip
_TIMES = (
    "timestamp", "ts", "timestampms", "eventtime", "eventtimestamp", "datetime", "time", "unixtime",
    "unixreviewtime", "createdat", "occurredat", "epoch", "date",
)  # fmt: skip
CLICK_NAMES: Mapping[str, Sequence[str]] = {
    "user_id": _USERS, "item_id": _ITEMS, "timestamp": _TIMES,
    "event": ("event", "eventtype", "behaviortype", "behavior", "action"),
    "value": ("value",), "rating": ("rating", "stars"), "scenario": ("scenario",),
}  # fmt: skip
ITEM_NAMES: Mapping[str, Sequence[str]] = {
    "item_id": (*_ITEMS, "id"), "title": ("title", "name", "itemname", "productname"),
    "categories": ("categories", "category", "genres", "genre"), "published_at": ("publishedat",),
    "image": ("image", "imageurl"), "available": ("available", "availability", "instock", "isavailable"),
}  # fmt: skip


@dataclass(frozen=True)
class Chosen:
    """What was found in a header: the place of each column by our name; what is missing; what is doubled.

    taken: by our name the file's, where they differ
    absent: names that the user gave and the header does not have, by ours
    """

    places: dict[str, int]
    missing: list[str]
    doubled: list[str]
    taken: dict[str, str]
    absent: dict[str, str]


def stripped(header: Sequence[str]) -> list[str]:
    """The names without white space and marks around them."""
    return [name.strip().strip("\ufeff\u200b").strip() for name in header]


def chosen(
    header: Sequence[str],
    required: Sequence[str],
    optional: Sequence[str],
    others: Mapping[str, Sequence[str]],
    given: Mapping[str, str],
) -> Chosen:
    """Finds columns in a stripped header: the user's word first, then our own name, then `others`."""
    places: dict[str, int] = {}
    taken: dict[str, str] = {}
    doubled: list[str] = []
    wanted = [*required, *(name for name in optional if name not in required)]
    said = {name: given[name] for name in wanted if name in given}
    absent = {name: source for name, source in said.items() if source not in header}
    sources = {name: source for name, source in said.items() if name not in absent}
    sources |= {name: name for name in wanted if name in header and name not in sources}
    used = set(sources.values())
    spelt: dict[str, list[str]] = {}
    for source in header:
        spelt.setdefault(_spelt(source), []).append(source)
    for name in wanted:
        if name in sources:
            continue
        for other in (_spelt(name), *others.get(name, ())):
            found = [source for source in spelt.get(other, ()) if source not in used]
            if found and other:
                sources[name] = found[0]
                used.add(found[0])
                break
    for name in (name for name in wanted if name in sources):
        source = sources[name]
        if header.count(source) > 1:
            doubled.append(source)
        places[name] = header.index(source)
        if source != name:
            taken[name] = source
    missing = [name for name in required if name not in places]
    return Chosen(places, missing, doubled, taken, absent)


def _spelt(name: str) -> str:
    """Without capitals, white space and underscores, and without the types that RecBole's headers have."""
    name = re.sub(r":(token|float)(_seq)?$", "", name)
    return "".join(letter for letter in name.casefold() if letter.isalnum())
