"""Rows of masks: which stay, which go, what follows the catalogue, and what is looked at again."""

from typing import Any

import numpy as np
import pytest

from learner.data import catalogue as catalogue_file
from learner.data.catalogue import Catalogue, Item
from learner.filters import fields as fields_file
from learner.filters import masks as masks_file
from learner.filters.language import parse
from learner.filters.masks import Masks

CHEAP = parse({"field": "price", "lt": 10})


def shop(size: int) -> Catalogue:
    catalogue = Catalogue()
    catalogue.admit_all([Item(item_id=f"i{n}", price=float(n % 20)) for n in range(size)])
    return catalogue


def brand(name: str) -> Any:
    return parse({"field": "brand", "eq": name})


def looked_at(masks: Masks, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Filled with how many items each evaluation of a filter looks at from now on."""
    counts: list[int] = []
    right = masks_file.matching

    def matching(filter_: Any, fields: Any, items: Any) -> Any:
        found = right(filter_, fields, items)
        counts.append(len(found))
        return found

    monkeypatch.setattr(masks_file, "matching", matching)
    return counts


def test_only_what_has_changed_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = shop(1000)
    masks = Masks(catalogue)
    counts = looked_at(masks, monkeypatch)
    slot = masks.row(CHEAP)
    assert masks.count(slot) == 500
    assert counts == [1000]
    masks.follow()
    assert masks.row(CHEAP) == slot
    assert counts == [1000]
    catalogue.announce(Item(item_id="i19", price=1.0))
    catalogue.announce(Item(item_id="i19", price=2.0))
    catalogue.withdraw("i0")
    catalogue.withdraw("i39")
    catalogue.announce(Item(item_id="new", price=3.0))
    masks.follow()
    assert masks.row(CHEAP) == slot
    assert counts == [1000, 3, 1]
    assert masks.count(slot) == 501
    assert masks.pool[slot, [0, 19, 39, 1000]].tolist() == [False, True, False, True]


def test_the_least_recently_used_row_goes_but_none_of_this_round() -> None:
    catalogue = shop(12)
    masks = Masks(catalogue, 3 * catalogue.capacity)
    assert len(masks.pool) == 3
    slots = masks.rows([brand("a"), brand("b"), brand("c")])
    assert sorted(slots.tolist()) == [0, 1, 2]
    masks.follow()
    masks.row(brand("a"))
    masks.row(CHEAP)
    assert masks.ready(brand("a"))
    assert not masks.ready(brand("b"))
    assert masks.ready(brand("c"))
    masks.follow()
    many = [brand(str(n)) for n in range(8)]
    slots = masks.rows([*many, CHEAP, *many])
    assert len(set(slots.tolist())) == 9
    assert slots[:8].tolist() == slots[9:].tolist()
    assert all(masks.ready(each) for each in many)
    assert masks.count(int(slots[8])) == int(masks.pool[slots[8]].sum()) == 10
    before = len(masks.pool)
    for n in range(100):
        masks.follow()
        masks.row(brand(f"later {n}"))
    assert len(masks.pool) == before


def test_a_catalogue_that_grows_leaves_room_for_fewer_rows() -> None:
    catalogue = shop(10)
    masks = Masks(catalogue, 1600)
    assert masks.pool.shape == (100, 16)
    masks.rows([brand(str(n)) for n in range(90)])
    masks.follow()
    kept = masks.row(CHEAP)
    for n in range(100):
        catalogue.announce(Item(item_id=f"new {n}", price=1.0))
    masks.follow()
    assert masks.pool.shape[1] == catalogue.capacity >= 110
    assert masks.ready(CHEAP)
    assert masks.row(CHEAP) == kept
    assert masks.count(kept) == 110
    assert not masks.ready(brand("0"))
    assert len(masks._rows) <= len(masks.pool)


def test_matches_are_named_while_there_are_few() -> None:
    catalogue = shop(1100)
    masks = Masks(catalogue)
    slot, narrow = masks.rows([CHEAP, parse({"field": "item_id", "in": ["i7", "i5", "nobody"]})])
    assert masks.items(slot) is None
    assert masks.count(slot) == 550
    assert masks.items(narrow).tolist() == [5, 7]  # type: ignore[union-attr]
    for n in range(0, 1000, 20):
        catalogue.withdraw(f"i{n}")
    catalogue.withdraw("i5")
    assert masks.rows([CHEAP, parse({"field": "item_id", "in": ["i7", "i5", "nobody"]})]).tolist() == [
        slot,
        narrow,
    ]
    assert masks.count(slot) == 499
    found = masks.items(slot)
    assert found is not None
    assert found.tolist() == np.flatnonzero(masks.pool[slot]).tolist()
    assert masks.items(narrow).tolist() == [7]  # type: ignore[union-attr]


def test_a_mask_in_parts_looks_at_no_more_than_it_was_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = shop(1000)
    masks = Masks(catalogue)
    counts = looked_at(masks, monkeypatch)
    monkeypatch.setattr(masks_file, "_AT_ONCE", 100)
    steps = 0
    assert not masks.ready(CHEAP)
    while not masks.build_some(CHEAP, 100):
        steps += 1
        assert not masks.ready(CHEAP)
        catalogue.announce(Item(item_id=f"i{steps}", price=50.0))
    assert steps > 9
    assert max(counts) <= 100
    assert masks.ready(CHEAP)
    right = int(catalogue.available[:1000].sum()) - 500 - sum(n % 20 < 10 for n in range(1, steps + 1))
    assert masks.count(masks.row(CHEAP)) == right


def test_masks_that_are_built_between_rounds_take_no_more_room() -> None:
    catalogue = shop(12)
    masks = Masks(catalogue, 3 * catalogue.capacity)
    used = masks.row(CHEAP)
    for n in range(50):
        assert masks.build_some(brand(str(n)))
    assert len(masks.pool) == 3
    assert masks.ready(brand("49"))
    assert masks.row(CHEAP) == used
    assert masks.count(used) == 10


def few_changes(monkeypatch: pytest.MonkeyPatch, kept: int) -> None:
    for file in (catalogue_file, fields_file, masks_file):
        monkeypatch.setattr(file, "CHANGES_KEPT", kept)


def test_who_has_not_looked_for_long_looks_at_all_items(monkeypatch: pytest.MonkeyPatch) -> None:
    few_changes(monkeypatch, 8)
    catalogue = shop(100)
    masks = Masks(catalogue)
    counts = looked_at(masks, monkeypatch)
    masks.row(CHEAP)
    for n in range(40):
        catalogue.announce(Item(item_id=f"i{n}", price=50.0))
    assert not masks.ready(CHEAP)
    slot = masks.row(CHEAP)
    assert counts == [100, 100]
    assert masks.count(slot) == 30
    assert np.flatnonzero(masks.pool[slot]).min() == 40


def test_rows_that_nobody_asks_for_do_not_fall_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    few_changes(monkeypatch, 8)
    catalogue = shop(100)
    masks = Masks(catalogue)
    counts = looked_at(masks, monkeypatch)
    slot = masks.row(CHEAP)
    for n in range(40):
        catalogue.announce(Item(item_id=f"i{n}", price=50.0))
        masks.follow()
    assert masks.ready(CHEAP)
    assert masks.row(CHEAP) == slot
    assert max(counts[1:]) <= 16
    assert masks.count(slot) == 30


def test_fields_that_went_are_read_again() -> None:
    catalogue = shop(50)
    masks = Masks(catalogue, fields=fields_file.Fields(catalogue, 1))
    both = [CHEAP, parse({"field": "brand", "exists": False})]
    masks.rows(both)
    catalogue.announce(Item(item_id="i1", price=50.0, attributes={"brand": "x"}))
    assert not all(masks.ready(each) for each in both)
    while not masks.build_some(CHEAP, 7):
        pass
    slots = masks.rows(both)
    assert [masks.count(int(slot)) for slot in slots] == [29, 49]
