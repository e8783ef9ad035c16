"""What rules read of items: their filters, and the fields that these and the caps look at, with their places.

Owns the names of the places: `filter`, `boost[0].filter`, `caps[1].field`.
"""

from collections.abc import Iterator

from learner.filters.language import Filter, parse
from streams.wire.steering import Rules


def filters_of(rules: Rules) -> list[tuple[str, Filter]]:
    """All filters, each with its place. Raises FilterError."""
    given = [] if rules.filter is None else [("filter", rules.filter)]
    for name, some in (("boost", rules.boost), ("bury", rules.bury)):
        given += [(f"{name}[{n}].filter", each.filter) for n, each in enumerate(some)]
    return [(place, parse(each, place)) for place, each in given]


def fields_of(rules: Rules) -> dict[str, str]:
    """The item fields that are read, each with the first place where. Raises FilterError."""
    found: dict[str, str] = {}
    for field, place in _fields(rules):
        found.setdefault(field, place)
    return found


def _fields(rules: Rules) -> Iterator[tuple[str, str]]:
    for place, asked in filters_of(rules):
        yield from ((field, place) for field in asked.fields)
    yield from ((cap.field, f"caps[{n}].field") for n, cap in enumerate(rules.caps))
