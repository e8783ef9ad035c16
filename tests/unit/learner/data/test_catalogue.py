"""The catalogue: numbers that last, and who has the last word on availability."""

import math
import pickle

import numpy as np
import pytest

from learner.data.catalogue import Catalogue, Item
from learner.data.records import Records


def test_numbers_never_change_while_the_arrays_grow() -> None:
    catalogue = Catalogue()
    numbers = [catalogue.intern(f"i{n}") for n in range(100)]
    assert numbers == list(range(100)) == [catalogue.intern(f"i{n}") for n in range(100)]
    assert catalogue.size == 100
    assert catalogue.capacity >= 100
    assert catalogue.available[:100].all()
    assert not catalogue.available[100:].any()
    assert np.isnan(catalogue.published).all()
    assert (catalogue.categories == -1).all()


def test_a_withdrawal_beats_clicks_and_releases_until_a_new_announcement() -> None:
    catalogue = Catalogue()
    number = catalogue.withdraw("gone")
    assert catalogue.intern("gone") == number
    assert catalogue.admit(Item(item_id="gone", title="from the release")) == number
    assert not catalogue.available[number]
    assert number not in catalogue.records
    catalogue.announce(Item(item_id="gone", title="back"))
    assert catalogue.available[number]
    assert catalogue.records[number].title == "back"


def test_available_false_is_a_withdrawal() -> None:
    catalogue = Catalogue()
    number = catalogue.announce(Item(item_id="a", available=False))
    assert not catalogue.available[catalogue.intern("a")]
    assert catalogue.records[number].item_id == "a"


def test_a_newer_release_overrides_an_older_one_but_not_the_owner() -> None:
    catalogue = Catalogue()
    first, second = (catalogue.admit(Item(item_id=i, title="old")) for i in "ab")
    catalogue.announce(Item(item_id="b", title="owner"))
    for item_id in "ab":
        catalogue.admit(Item(item_id=item_id, title="new"))
    assert catalogue.records[first].title == "new"
    assert catalogue.records[second].title == "owner"


def test_the_version_rises_exactly_when_availability_changes() -> None:
    catalogue = Catalogue()
    versions = [catalogue.version]
    for step in (
        lambda: catalogue.intern("a"),
        lambda: catalogue.announce(Item(item_id="a", title="A")),
        lambda: catalogue.withdraw("a"),
        lambda: catalogue.withdraw("a"),
        lambda: catalogue.withdraw("never seen"),
        lambda: catalogue.announce(Item(item_id="a")),
    ):
        step()
        versions.append(catalogue.version)
    assert np.diff(versions).tolist() == [1, 0, 1, 0, 0, 1]


def test_categories_are_numbered_weighted_and_replaced() -> None:
    catalogue = Catalogue()
    one = catalogue.announce(Item(item_id="1", categories=["drama", "crime", "drama"]))
    catalogue.announce(Item(item_id="2", categories=["drama"]))
    assert catalogue.category_names == ["drama", "crime"]
    assert catalogue.categories[one].tolist() == [0, 1, -1, -1, -1, -1]
    np.testing.assert_allclose(catalogue.category_weight, np.log([20_000 / 3, 20_000 / 2]), rtol=1e-6)
    catalogue.announce(Item(item_id="1", categories=["war"]))
    assert catalogue.categories[one].tolist() == [2, -1, -1, -1, -1, -1]
    np.testing.assert_allclose(
        catalogue.category_weight, np.log([20_000 / 2, 20_000 / 1, 20_000 / 2]), rtol=1e-6
    )
    catalogue.announce(Item(item_id="1"))
    assert (catalogue.categories[one] == -1).all()


def test_an_item_with_many_categories_keeps_the_first_six() -> None:
    catalogue = Catalogue()
    number = catalogue.announce(Item(item_id="1", categories=[f"c{n}" for n in range(9)]))
    assert catalogue.categories[number].tolist() == [0, 1, 2, 3, 4, 5]
    assert len(catalogue.records[number].categories) == 9


@pytest.mark.parametrize(
    ("item", "year"),
    [
        (Item(item_id="a", title="Toy Story (1995)"), 1995.0),
        (Item(item_id="a", title="(500) Days of Summer (2009)"), 2009.0),
        (Item(item_id="a", title="Breaking Bad (2008–2013)"), 2008.0),
        (Item(item_id="a", title="2001: A Space Odyssey"), math.nan),
        (Item(item_id="a", title="Lamp (9999)"), math.nan),
        (Item(item_id="a", title="Film (1995)", published_at=0), 1970.0),
        (Item(item_id="a"), math.nan),
    ],
)
def test_the_year_of_publication(item: Item, year: float) -> None:
    catalogue = Catalogue()
    assert catalogue.published[catalogue.announce(item)] == pytest.approx(year, nan_ok=True)


def test_admitting_all_at_once_is_admitting_one_by_one() -> None:
    rng = np.random.default_rng(0)

    def item(number: int, title: str) -> Item:
        names = [f"c{c}" for c in rng.integers(0, 9, rng.integers(0, 9))]
        return Item(item_id=f"i{number}", title=title, categories=names, available=bool(rng.random() < 0.8))

    first = [item(n, f"A ({1900 + n})") for n in rng.permutation(60)]
    second = [item(int(n), "B") for n in rng.permutation(90)] + first[:5]  # some twice, most known
    catalogues = []
    for at_once in (True, False):
        catalogue = Catalogue()
        catalogue.intern("i3")
        catalogue.withdraw("i4")
        catalogue.announce(Item(item_id="i5", title="owner", categories=["c0"]))
        for items in (first, second):
            found = catalogue.admit_all(items) if at_once else [catalogue.admit(item) for item in items]
            assert list(found) == [catalogue.index[item.item_id] for item in items]
        catalogues.append(catalogue)
    one, other = catalogues
    assert one.ids == other.ids
    assert one.category_names == other.category_names
    assert dict(one.records) == dict(other.records)
    size = one.size
    for name in ("available", "categories", "published"):
        np.testing.assert_array_equal(getattr(one, name)[:size], getattr(other, name)[:size])
    np.testing.assert_array_equal(one.category_weight, other.category_weight)


def test_records_are_a_dict() -> None:
    records = Records(Item)
    records[3] = Item(item_id="a", attributes={"values": ["x"], "deep": {"n": 1.5}}, published_at=7)
    records[1] = Item(item_id="b")
    records[3] = records[3]
    assert (len(records), list(records), 3 in records, 2 in records, 9 in records) == (
        2,
        [1, 3],
        True,
        False,
        False,
    )
    assert records[3].attributes == {"values": ["x"], "deep": {"n": 1.5}}
    assert records.get(2) is None
    assert records.holds(1, Item(item_id="b"))
    assert not records.holds(1, Item(item_id="c"))
    assert not records.holds(99, Item(item_id="c"))
    del records[1]
    assert dict(records) == {3: records[3]}
    for number in (1, -1, 50):
        with pytest.raises(KeyError):
            records[number]


def test_an_item_that_cannot_be_kept_does_not_join() -> None:
    catalogue = Catalogue()
    known = catalogue.announce(Item(item_id="known", title="before"))
    version = catalogue.version
    for item_id in ("known", "new"):
        with pytest.raises(OverflowError):
            catalogue.announce(Item(item_id=item_id, attributes={"n": 2**64}, available=False))
    assert catalogue.size == 1
    assert catalogue.version == version
    assert catalogue.available[known]
    assert catalogue.records[known].title == "before"


def test_a_catalogue_reaches_another_process_whole() -> None:
    catalogue = Catalogue()
    number = catalogue.announce(Item(item_id="a", title="A", categories=["x"]))
    catalogue.intern("without a record")
    copy = pickle.loads(pickle.dumps(catalogue))
    assert copy.records[number].title == "A"
    assert len(copy.records) == 1
    assert copy.announce(Item(item_id="b")) == 2
    assert catalogue.size == 2


def test_who_follows_learns_what_has_changed_since_it_looked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learner.data.catalogue.CHANGES_KEPT", 4)
    catalogue = Catalogue()
    catalogue.admit_all([Item(item_id=f"i{n}") for n in range(9)])
    mark, changed = catalogue.changes_since(catalogue.changes)
    assert changed is not None
    assert changed.tolist() == []
    for step, numbers in [
        (lambda: catalogue.intern("new"), []),  # it joined: beyond the size that one has seen
        (lambda: catalogue.withdraw("i3"), [3]),
        (lambda: catalogue.withdraw("i3"), []),
        (lambda: [catalogue.announce(Item(item_id=i)) for i in ("i5", "i1", "i5")], [1, 5]),
        (lambda: catalogue.expire(np.array([2, 4])), [2, 4]),
        (lambda: catalogue.revive(4), [4]),
        (lambda: catalogue.admit_all([Item(item_id="i7", title="x"), Item(item_id="i8")]), [7]),
    ]:
        step()
        assert catalogue.remembers(mark)
        mark, changed = catalogue.changes_since(mark)
        assert changed is not None
        assert changed.tolist() == numbers
        assert mark == catalogue.changes
    for n in range(4):
        catalogue.announce(Item(item_id=f"i{n}"))
    assert catalogue.changes_since(mark)[1] is not None
    for n in range(4):
        catalogue.announce(Item(item_id=f"i{n}"))
    assert not catalogue.remembers(mark)
    assert catalogue.changes_since(mark) == (catalogue.changes, None)
