"""Columns of fields: which names they go by, what they cost to keep, and what rules read of them."""

import numpy as np
import pytest

from learner.data.catalogue import Catalogue, Item
from learner.filters import fields as fields_file
from learner.filters.fields import Fields
from learner.filters.lane import Lane


def test_attributes_go_by_their_name_and_by_a_longer_one_where_it_is_taken() -> None:
    catalogue = Catalogue()
    catalogue.announce(Item(item_id="a", title="t", attributes={"title": "other", "brand": "x"}))
    fields = Fields(catalogue)
    assert fields.read(("title", "attributes.title", "brand", "attributes.brand"))
    assert fields.column("brand") is fields.column("attributes.brand")
    assert fields.column("title") is not fields.column("attributes.title")
    one = np.array([0])
    assert fields.codes("title", one)[1] != fields.codes("attributes.title", one)[1]


def test_known_is_what_any_record_has_and_none_while_nobody_can_say() -> None:
    catalogue = Catalogue()
    for n in range(30):
        catalogue.announce(Item(item_id=f"i{n}", attributes={"late": [n]} if n > 20 else {"late": []}))
    fields = Fields(catalogue)
    assert fields.known("late", 10) is None
    assert fields.known("late", 10) is None
    assert fields.known("late", 10) is True
    assert fields.known("never") is False
    assert fields.known("item_id") is True
    for n in range(21, 30):
        catalogue.withdraw(f"i{n}")
    assert fields.known("late") is True  # withdrawn items may come back
    for n in range(21, 30):
        catalogue.announce(Item(item_id=f"i{n}"))
    assert fields.known("late") is False


def test_codes_tell_values_apart_and_name_each_once() -> None:
    catalogue = Catalogue()
    for cell in ("x", ["x", "y", "x"], 1, "1", True, None, ["y", 1.0, {"a": 1}], {"values": ["x"]}, {"b": 2}):
        catalogue.announce(Item(item_id=f"i{catalogue.size}", attributes={"f": cell}))
    begins, codes = Fields(catalogue).codes("f", np.arange(catalogue.size))
    x, y, one, text, yes = codes[[0, 2, 3, 4, 5]].tolist()
    assert len({x, y, one, text, yes}) == 5
    assert begins.tolist() == [0, 1, 3, 4, 5, 6, 6, 8, 9, 9]
    assert codes.tolist() == [x, x, y, one, text, yes, y, one, x]


def test_stretches_of_records_that_hold_other_kinds_are_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields_file, "_AT_ONCE", 3)
    catalogue, cells = Catalogue(), [None, None, None, "x", None, "y", 1, 2, None, None, ["x", 2]]
    for cell in cells:
        catalogue.announce(Item(item_id=f"i{catalogue.size}", attributes={} if cell is None else {"f": cell}))
    begins, codes = Fields(catalogue).codes("f", np.arange(len(cells)))
    assert np.diff(begins).tolist() == [0, 0, 0, 1, 0, 1, 1, 1, 0, 0, 2]
    assert codes[4:].tolist() == codes[[0, 3]].tolist()


def test_columns_that_nobody_needs_go_first() -> None:
    catalogue = Catalogue()
    for n in range(20):
        catalogue.announce(Item(item_id=f"i{n}", attributes={f"f{k}": n for k in range(6)}))
    fields = Fields(catalogue, memory_bytes=3 * catalogue.capacity * 8)
    for k in range(6):
        fields.read((f"f{k}",))
        fields.read(("f0",))
    assert fields.nbytes <= 3 * catalogue.capacity * 8
    assert fields.ready(("f0", "f5"))
    assert not fields.ready(("f1",))
    together = tuple(f"f{k}" for k in range(6))
    assert fields.read(together)
    assert fields.ready(together)


def test_names_that_no_item_knows_do_not_gather() -> None:
    catalogue = Catalogue()
    catalogue.announce(Item(item_id="a"))
    fields = Fields(catalogue)
    for n in range(2 * fields_file.MOST_COLUMNS):
        assert fields.known(f"made up {n}") is False
    assert len(fields._columns) == fields_file.MOST_COLUMNS


def test_places_that_no_item_has_any_more_are_closed() -> None:
    lane = Lane(0, np.int64)
    items = np.arange(50)
    two = np.full(50, 2, np.int32)
    for k in range(1, 400):
        lane.put(items, two, np.arange(100) + k, 64)
    assert lane.present == 50
    assert lane.nbytes < 200_000
    counts, values = lane.of(np.array([3, 49, 60]))
    assert counts.tolist() == [2, 2, 0]
    assert values.tolist() == [405, 406, 497, 498]
    lane.put(items[:10], np.zeros(10, np.int32), np.zeros(0, np.int64), 64)
    assert lane.present == 40
    assert lane.has(slice(0, 70)).tolist() == [False] * 10 + [True] * 40 + [False] * 20
