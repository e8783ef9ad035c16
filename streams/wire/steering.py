"""What shapes a list: the rules of a scenario, and what a request may ask for beside its user's list.

Owns their types and what the types cannot say: positions, factors, filters. Topic `scenarios` carries the
rules, key = the scenario's name; a request may carry rules of its own. What rules do is
`streams.hot_path.rules`' business.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from learner.data.catalogue import Id
from learner.filters.language import Filter as Tree
from learner.filters.language import FilterError, parse

Filter = dict[str, Any]
Factor = Annotated[float, Meta(gt=0, le=1e6)]
Share = Annotated[float, Meta(ge=0, le=1)]

DEFAULT = "default"  # the scenario that always exists


class Tilt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Items whose odds are multiplied: a boost above 1, a burial below."""

    filter: Filter
    factor: Factor


class Cap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """At most so many items of a list with the same value in a field."""

    field: Annotated[str, Meta(min_length=1, max_length=256)]
    most: Annotated[int, Meta(ge=1, le=1000)]


class Pin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An item's fixed place, from 1."""

    item_id: Id
    position: Annotated[int, Meta(ge=1, le=1000)]


class ShownCap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An item stays away that was shown so often in the last so many hours, without a click since."""

    times: Annotated[int, Meta(ge=1, le=1000)]
    hours: Annotated[float, Meta(gt=0, le=24 * 366)]


class Rules(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """A scenario's settings; what is not given falls back to the system's."""

    scenario: Id | None = None
    k: Annotated[int, Meta(ge=1, le=1000)] | None = None
    policy: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    filter: Filter | None = None
    diversity: Share | None = None
    exploration: Share | None = None
    boost: Annotated[list[Tilt], Meta(max_length=64)] = []
    bury: Annotated[list[Tilt], Meta(max_length=64)] = []
    caps: Annotated[list[Cap], Meta(max_length=16)] = []
    pin: Annotated[list[Pin], Meta(max_length=1000)] = []
    block: Annotated[list[Id], Meta(max_length=10_000)] = []
    shown_cap: ShownCap | None = None
    consumed: Literal["out", "back", "settings"] = "settings"
    back_after_days: Annotated[float, Meta(gt=0, le=36_600)] = 30
    fill: list[Literal["popular", "new"]] = []
    note: str = ""
    v: Literal[1] = 1


class Applied(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A click that an answer must know: where it stands on `clicks`."""

    partition: Annotated[int, Meta(ge=0, le=2**31 - 1)]
    offset: Annotated[int, Meta(ge=0, le=2**53)]


def flaw_of_rules(rules: Rules, where: str = "") -> str | None:
    """What the types cannot say is wrong with rules, and where; None where nothing is."""
    try:
        filters_of(rules, where)
    except FilterError as error:
        return str(error)
    for n, tilt in enumerate(rules.boost):
        if tilt.factor < 1:
            return f"{where}boost[{n}].factor is {tilt.factor:g}; below 1 it is for `bury`"
    for n, tilt in enumerate(rules.bury):
        if tilt.factor > 1:
            return f"{where}bury[{n}].factor is {tilt.factor:g}; above 1 it is for `boost`"
    return None


def filters_of(rules: Rules, where: str = "") -> list[tuple[str, Tree]]:
    """All filters of the rules, each with its place, such as `boost[0].filter`. Raises FilterError."""
    given = [] if rules.filter is None else [(f"{where}filter", rules.filter)]
    for name, tilts in (("boost", rules.boost), ("bury", rules.bury)):
        given += [(f"{where}{name}[{n}].filter", tilt.filter) for n, tilt in enumerate(tilts)]
    return [(place, parse(each, place)) for place, each in given]


def fields_of(rules: Rules) -> dict[str, str]:
    """The item fields that rules read, each with the first place where. Raises FilterError."""
    found: dict[str, str] = {}
    for place, tree in filters_of(rules):
        for field in tree.fields:
            found.setdefault(field, place)
    for n, cap in enumerate(rules.caps):
        found.setdefault(cap.field, f"caps[{n}].field")
    return found
