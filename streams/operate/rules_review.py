"""What is strange about rules, before they are in force: they would be taken, and hardly do what is meant.

Owns the sentences. Looks at the catalogue as its owner sees it: what was announced, and the live release.
Items that only somebody's click made known it does not know.
"""

import difflib
from collections.abc import Collection, Iterable, Iterator

from learner.data.catalogue import Catalogue, Item
from learner.filters.language import OWN, Filter, parse
from learner.filters.masks import Masks
from streams.wire.contract import Rules
from streams.wire.steering import fields_of, filters_of

_NAMED = 5  # items in one sentence
_VERBS = {"filter": "leaves"}


class Review:
    """Of one catalogue, for any rules: `notes` says what they take, `warnings` what is strange.

    `items` may be recommended, and `withdrawn` are ids of those that may not any more.
    """

    def __init__(self, items: Iterable[Item], withdrawn: Collection[str]) -> None:
        self._withdrawn = withdrawn
        self._catalogue = Catalogue()
        self._catalogue.admit_all(list(items))
        self._masks = Masks(self._catalogue)

    @property
    def items(self) -> int:
        """How many may be recommended."""
        return int(self._catalogue.available.sum())

    def notes(self, rules: Rules) -> list[str]:
        """How many items each filter takes."""
        return [
            f"{place} {_VERBS.get(place, 'takes')} {self.count(asked):,} of {self.items:,} items"
            for place, asked in filters_of(rules)
        ]

    def count(self, asked: Filter) -> int:
        """How many items pass a filter."""
        return self._masks.count(self._masks.row(asked))

    def warnings(self, rules: Rules) -> list[str]:
        """A sentence each; nothing where nobody has announced an item."""
        if not self.items:
            return ["no item is known here, so nothing can be said of fields and ids"]
        found = [
            f"{place}: no item has the field {field!r}{self._like(field)}"
            for field, place in self._missing(rules)
        ]
        for place, asked in filters_of(rules):
            if not self.count(asked):
                found.append(
                    "filter: it leaves no item, so lists will be empty" if place == "filter"
                    else f"{place}: it takes no item, so the rule does nothing"
                )  # fmt: skip
        found += self._of_ids("block", rules.block)
        found += self._of_ids("pin", [pin.item_id for pin in rules.pin])
        found += self._of_pins(rules)
        if rules.shown_cap is not None:
            found.append("shown_cap: it counts events `impression` alone, and does nothing where none come")
        return found

    def _missing(self, rules: Rules) -> Iterator[tuple[str, str]]:
        for field, place in fields_of(rules).items():
            if not self._masks.fields.known(field):
                yield field, place

    def _like(self, field: str) -> str:
        """A field that items have and that may be meant."""
        names = set(OWN)
        for item in self._catalogue.records.values():
            names.update(item.attributes)
        near = difflib.get_close_matches(field, (name for name in names if self._masks.fields.known(name)), 1)
        return f"; {near[0]!r} is near" if near else ""

    def _of_ids(self, rule: str, ids: list[str]) -> Iterator[str]:
        known = self._catalogue.index
        unknown = [item for item in ids if item not in known and item not in self._withdrawn]
        if unknown:
            yield f"{rule}: nobody has announced {_some(unknown)}"
        if gone := [item for item in ids if item in self._withdrawn]:
            yield f"{rule}: withdrawn already: {_some(gone)}"

    def _of_pins(self, rules: Rules) -> Iterator[str]:
        places: set[int] = set()
        taken = None
        if rules.filter is not None:
            taken = self._masks.pool[self._masks.row(parse(rules.filter))]
        for pin in rules.pin:
            if pin.position in places:
                yield f"pin: {pin.item_id} wants place {pin.position}, which an earlier one has"
            places.add(pin.position)
            if rules.k is not None and pin.position > rules.k:
                yield f"pin: {pin.item_id} wants place {pin.position} of a list of {rules.k}"
            if pin.item_id in rules.block:
                yield f"pin: {pin.item_id} is blocked, so it is in no list"
            number = self._catalogue.index.get(pin.item_id)
            if number is not None and taken is not None and not taken[number]:
                yield f"pin: {pin.item_id} does not pass the filter, so it is in no list"


def _some(ids: list[str]) -> str:
    return ", ".join(ids[:_NAMED]) + (f" and {len(ids) - _NAMED:,} more" if len(ids) > _NAMED else "")
