"""Rules as their specification has them, item by item and without an array: what lists are judged by."""

from collections.abc import Callable, Collection, Sequence

from learner.data.catalogue import Catalogue, Item
from streams.wire.contract import Rules
from tests.worlds.plain_filters import lets_through


class PlainRules:
    """One list's rules; `may` says what else forbids an item (met before, excluded by the request)."""

    def __init__(self, catalogue: Catalogue, rules: Rules, may: Callable[[str], bool], k: int) -> None:
        self._catalogue, self._rules, self._may, self.k = catalogue, rules, may, k

    def record(self, item_id: str) -> Item:
        """What is known of an item."""
        number = self._catalogue.index[item_id]
        records = self._catalogue.records
        return records[number] if number in records else Item(item_id=item_id)

    def eligible(self, item_id: str) -> bool:
        """Whether no hard rule but the caps forbids the item."""
        number = self._catalogue.index.get(item_id)
        if number is None or not self._catalogue.available[number] or item_id in self._rules.block:
            return False
        passes = self._rules.filter is None or lets_through(self._rules.filter, self.record(item_id))
        return passes and self._may(item_id)

    def within_caps(self, items: Collection[str]) -> bool:
        """Whether items may stand in one list."""
        for cap in self._rules.caps:
            values = [value for item in items for value in self._values(item, cap.field)]
            if any(values.count(value) > cap.most for value in values):
                return False
        return True

    def _values(self, item_id: str, field: str) -> list[object]:
        record = self.record(item_id)
        found = getattr(record, field) if hasattr(record, field) else record.attributes.get(field)
        if isinstance(found, dict):
            found = found.get("values")
        if found is None:
            return []
        listed = found if isinstance(found, list) else [found]
        return list({(type(value) is str, value) for value in listed})

    def check(self, listed: Sequence[str], late: Collection[str] = ()) -> None:
        """Asserts that a list obeys: hard rules, pins, soft rules given up last, no room left for another."""
        assert len(set(listed)) == len(listed) <= self.k
        assert all(map(self.eligible, listed)), [item for item in listed if not self.eligible(item)]
        assert self.within_caps(listed)
        pinned: dict[int, str] = {}
        for pin in self._rules.pin:
            free = (
                pin.position <= self.k and pin.position not in pinned and pin.item_id not in pinned.values()
            )
            if free and self.eligible(pin.item_id) and self.within_caps([*pinned.values(), pin.item_id]):
                pinned[pin.position] = pin.item_id
        for place, item in pinned.items():
            assert item in listed
            if place <= len(listed) and all(other <= len(listed) for other in pinned):
                assert listed.index(item) == place - 1
        everything = [item for item in self._catalogue.ids if item not in listed and self.eligible(item)]
        if len(listed) < self.k:
            assert not [item for item in everything if self.within_caps([*listed, item])]
        soft = [item for item in listed if item in late and item not in pinned.values()]
        if soft:
            others = [item for item in listed if item not in soft]
            rest = [item for item in everything if item not in late]
            assert not [item for item in rest if self.within_caps([*others, item])]
