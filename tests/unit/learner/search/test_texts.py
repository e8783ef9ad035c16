"""A catalogue's texts follow it: what is announced is found, and by what it says now."""

import pytest

from learner.data.catalogue import Catalogue, Item
from learner.search import texts as module
from learner.search.texts import Texts


def catalogue_of(*items: Item) -> Catalogue:
    catalogue = Catalogue()
    for item in items:
        catalogue.announce(item)
    return catalogue


def found(texts: Texts, query: str) -> list[int]:
    """Numbers of the items that say any of the words, the best first."""
    assert texts.follow()
    scores = texts.scores(texts.numbers(query.split()))
    return [int(n) for n in (-scores).argsort(kind="stable") if scores[n] > 0]


FILMS = [
    Item(item_id="a", title="Green tea", categories=["drink"], tags=["hot"]),
    Item(item_id="b", title="Black coffee", description="Not green, and no tea at all", price=4.0),
    Item(item_id="c", title="Tea pot", attributes={"brand": "Acme", "made": {"values": ["Leeds", "York"]}}),
]


def test_all_fields_are_read_and_titles_count_most() -> None:
    texts = Texts(catalogue_of(*FILMS))
    assert found(texts, "tea") == [2, 0, 1] or found(texts, "tea") == [0, 2, 1]
    assert found(texts, "hot") == [0]
    assert found(texts, "drinks") == [0]
    assert found(texts, "acme") == [2]
    assert found(texts, "york") == [2]
    assert found(texts, "cofee") == [1]
    assert found(texts, "whisky") == []


def test_words_beside_a_query_are_looked_for_as_they_are_spelt_while_their_places_last() -> None:
    texts = Texts(catalogue_of(*FILMS))
    assert texts.follow()
    beside = {"teas": 0.9, "cofee": 0.8, "coffee": 0.7, "green": 0.6, "pot": 0.5}
    found = texts.numbers_beside(beside, 100)
    assert list(found.values()) == [0.9, 0.7, 0.6, 0.5]
    assert found == texts.numbers_beside({"tea": 0.9, "coffee": 0.7, "green": 0.6, "pot": 0.5}, 100)
    few = texts.numbers_beside(beside, 5)  # three of tea, one of coffee; two of green are too many
    assert list(few.values()) == [0.9, 0.7, 0.5]


def test_a_word_of_late_items_costs_more_places() -> None:
    catalogue = catalogue_of(*FILMS)
    texts = Texts(catalogue)
    assert texts.follow()
    catalogue.announce(Item(item_id="d", title="Iron kettle"))
    assert texts.follow()
    assert texts.numbers_beside({"kettle": 0.5}, 49) == {}
    assert list(texts.numbers_beside({"kettle": 0.5}, 50).values()) == [0.5]


def test_what_is_announced_changed_or_withdrawn_is_followed() -> None:
    catalogue = catalogue_of(*FILMS)
    texts = Texts(catalogue)
    assert found(texts, "kettle") == []
    catalogue.announce(Item(item_id="d", title="Kettle"))
    assert found(texts, "kettle") == [3]
    catalogue.announce(Item(item_id="d", title="Iron pan"))
    assert found(texts, "kettle") == []
    assert found(texts, "iron") == [3]
    catalogue.intern("clicked-only")
    catalogue.announce(Item(item_id="e", title="Iron gate", price=3.0))
    assert sorted(found(texts, "iron")) == [3, 5]
    assert texts.facets is not None
    assert texts.facets.numbers["price"] == 2


def test_many_changes_are_read_beside_the_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IN_A_ROUND", 3)
    catalogue = catalogue_of(*FILMS)
    texts = Texts(catalogue)
    found(texts, "tea")
    assert not texts.wants_building
    for n in range(10):
        catalogue.announce(Item(item_id=f"n{n}", title=f"Kettle number {n}"))
    assert len(found(texts, "kettle")) == 3
    assert texts.wants_building
    texts.build()
    catalogue.announce(Item(item_id="late", title="Kettle lately"))
    assert len(found(texts, "kettle")) == 11
    assert not texts.wants_building


def test_a_large_catalogue_is_not_read_within_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FEW", 2)
    texts = Texts(catalogue_of(*FILMS))
    assert not texts.wants_building  # nobody has asked: it takes no room
    assert not texts.follow()
    assert texts.wants_building
    texts.build(lambda: False)  # the process ends
    assert not texts.follow()
    texts.build()
    assert found(texts, "coffee") == [1]


def test_changes_that_nobody_remembers_are_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learner.data.catalogue.CHANGES_KEPT", 4)
    catalogue = catalogue_of(*FILMS)
    texts = Texts(catalogue)
    found(texts, "tea")
    for n in range(20):
        catalogue.announce(Item(item_id="a", title=f"Cup {n}"))
    assert texts.wants_building
    texts.build()
    assert found(texts, "cup") == [0]


def test_a_catalogue_without_texts_can_be_searched_and_has_nothing() -> None:
    catalogue = Catalogue()
    texts = Texts(catalogue)
    assert found(texts, "tea") == []
    catalogue.intern("x")
    assert found(texts, "tea") == []
    catalogue.announce(Item(item_id="x", title="Tea"))
    assert found(texts, "tea") == [0]
