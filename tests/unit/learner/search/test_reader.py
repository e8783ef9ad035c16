"""Queries in plain words over a toy shop and toy films, each with one right reading."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learner.data.catalogue import Catalogue, Item
from learner.search.joining import Found, joined
from learner.search.limits import limits_in
from learner.search.reader import read
from learner.search.reading import Reading
from learner.search.texts import Texts

YEAR_MS = 31_556_952_000


def shop() -> list[Item]:
    brands = ["Acme", "Own Label", "Pink"]
    kinds = ["Shoes", "Shirts", "Hair Dryers", "Toys"]
    return [
        Item(
            item_id=f"i{n}", title=f"{['red', 'blue', 'pink'][n % 3]} thing {n}", categories=[kinds[n % 4]],
            tags=["children"] if n % 2 else ["sulfate free"], price=float(n), published_at=n * YEAR_MS,
            attributes={"brand": brands[n // 3 % 3], "pages": 10 * n},
        )
        for n in range(60)
    ]  # fmt: skip


def films() -> list[Item]:
    titles = ["Under the Tuscan Sun", "Before Sunrise", "No Country for Old Men", "Horror Express", "Dracula"]
    genres = [["Comedy", "Romance"], ["Romance"], ["Crime"], ["Horror"], ["Horror", "Sci-Fi"]]
    return [
        Item(item_id=f"f{n}", title=f"{titles[n % 5]} ({1960 + n})", categories=genres[n % 5])
        for n in range(60)
    ]


def reading_of(items: list[Item], query: str) -> Reading:
    catalogue = Catalogue()
    catalogue.admit_all(items)
    texts = Texts(catalogue)
    assert texts.follow()
    return read(query, texts, catalogue)


@pytest.mark.parametrize(
    ("query", "text", "filter_"),
    [
        ("under 20", "", {"field": "price", "lt": 20}),
        ("red things cheaper than 15 euros", "red things", {"field": "price", "lt": 15}),
        ("red thing, at most $12.50", "red thing", {"field": "price", "lte": 12.5}),
        ("between 10 and 20 dollars", "", {"field": "price", "gte": 10, "lte": 20}),
        ("more than 100 pages", "", {"field": "pages", "gt": 100}),
        ("before 1990", "", {"field": "published_at", "lt": 631152000000}),
        ("from the 80s", "", {"field": "published_at", "gte": 315532800000, "lt": 631152000000}),
        ("since 1990", "", {"field": "published_at", "gte": 631152000000}),
        ("red thing not over 20 euros", "red thing", {"field": "price", "lte": 20}),
        ("not under 20", "", {"field": "price", "gte": 20}),
        ("red thing from 1900 dollars", "red thing from 1900 dollars", None),  # no year
        ("between 1900 and 2000 dollars", "", {"field": "price", "gte": 1900, "lte": 2000}),
        ("red but not shoes", "red", {"field": "categories", "ne": "Shoes"}),
        ("red for children", "red", {"field": "tags", "eq": "children"}),
        ("red for kids", "red", {"field": "tags", "eq": "children"}),
        ("hair dryers", "", {"field": "categories", "eq": "Hair Dryers"}),
        ("acme", "", {"field": "brand", "eq": "Acme"}),
        ("red shoes", "red shoes", None),  # a category within a longer wish is looked for, not filtered by
        ("something pink", "something pink", None),  # a brand, and a word that others say as well
        ("without sulfate", "without sulfate", None),  # which is what "sulfate free" means
        ("under 20 kilos", "under 20 kilos", None),  # no price
        ("a toy in red under 20, please", "toy in red", {"field": "price", "lt": 20}),
    ],
)
def test_what_a_shop_has_a_field_for_is_a_filter(query: str, text: str, filter_: Any) -> None:
    found = reading_of(shop(), query)
    assert (None if found.filter is None else found.filter.json(), found.text) == (filter_, text)


@pytest.mark.parametrize(
    ("query", "text", "filter_", "years"),
    [
        ("Under the Tuscan Sun", "Under the Tuscan Sun", None, None),
        ("Before Sunrise", "Before Sunrise", None, None),
        ("no country for old men", "no country for old men", None, None),
        ("horror from the 80s", "", {"field": "categories", "eq": "Horror"}, (1980, 1989)),
        ("not horror", "", {"field": "categories", "ne": "Horror"}, None),
        ("films before 1990", "", None, (None, 1989)),
        ("a romantic comedy", "", {"all": [{"field": "categories", "eq": "Romance"},
                                           {"field": "categories", "eq": "Comedy"}]}, None),
        ("science fiction", "", {"field": "categories", "eq": "Sci-Fi"}, None),
        ("a film under 20 dollars", "", None, None),  # nothing has a price
        ("horror express", "horror express", None, None),
    ],
)  # fmt: skip
def test_what_films_have_a_field_for_is_a_filter(
    query: str, text: str, filter_: Any, years: tuple[int | None, int | None] | None
) -> None:
    found = reading_of(films(), query)
    assert (None if found.filter is None else found.filter.json()) == filter_
    assert (found.text, found.years) == (text, years)


def test_what_has_no_field_is_said() -> None:
    assert reading_of(films(), "dracula under 20 dollars").dropped == ("under 20 dollars",)


def test_what_is_not_wanted_and_is_no_value_must_not_be_said() -> None:
    found = reading_of(films(), "horror without Dracula")
    assert found.without == (("dracula",),)
    assert found.filter is not None
    assert found.filter.json() == {"field": "categories", "eq": "Horror"}


def test_the_least_certain_filter_is_given_up_first() -> None:
    found = reading_of(shop(), "acme under 20")
    assert [part.sure for part in found.parts] == [True, False]
    fewer = found.fewer()
    assert fewer.filter is not None
    assert (fewer.filter.json(), fewer.text, fewer.dropped) == (
        {"field": "price", "lt": 20},
        "acme",
        ("acme",),
    )
    assert not fewer.fewer().narrows


@given(st.text(max_size=80))
def test_anything_can_be_read(query: str) -> None:
    catalogue = Catalogue()
    catalogue.admit_all(shop()[:12])
    texts = Texts(catalogue)
    texts.follow()
    read(query, texts, catalogue)


@pytest.mark.parametrize(
    ("text", "language", "operators"),
    [
        ("unter 20 euro", "german", {"lt": 20.0}),
        ("hochstens 1.000 euro", "german", {"lte": 1000.0}),
        ("filme vor 1990", "german", {"lt": 1990}),
        ("aus den 80ern", "german", {"gte": 1980, "lt": 1990}),
        ("films des annees 80", "french", {"gte": 1980, "lt": 1990}),
        ("moins de 15 euros", "french", {"lt": 15.0}),
        ("menos de 15 euros", "spanish", {"lt": 15.0}),
        ("nineties", "english", {"gte": 1990, "lt": 2000}),
        ("from 1980 to 1985", "english", {"gte": 1980, "lt": 1986}),
        ("blade runner 2049", "english", None),
        ("the 40 year old virgin", "english", None),
    ],
)
def test_limits_in_several_languages(text: str, language: str, operators: dict[str, float] | None) -> None:
    assert [limit.operators() for limit in limits_in(text, language)] == ([operators] if operators else [])


def test_what_several_searches_find_stands_higher_than_what_one_does() -> None:
    import numpy as np

    def found(*items: int) -> Found:
        return Found(np.array(items, np.int32), np.arange(len(items), 0, -1).astype(np.float32))

    both = joined([found(7, 3, 5), found(9, 3, 8)])
    assert both.items[0] == 3
    assert set(both.items.tolist()) == {3, 5, 7, 8, 9}
    assert joined([found(4), found(4)]).relevance.tolist() == [1.0]
    assert len(joined([]).items) == 0
    ties = joined([Found(np.array([1, 2, 3], np.int32), np.ones(3, np.float32))])
    assert len(set(ties.relevance.tolist())) == 1


@pytest.mark.parametrize(
    "query",
    [
        "under " + "9" * 400,
        f"between 1 and {'9' * 400} euros",
        "<2 " * 333,
        "not shoes " * 100,
        "not pink",
        "for pink",
    ],
)
def test_nothing_that_somebody_types_is_an_error(query: str) -> None:
    nameless = [Item(item_id="odd", title="odd", attributes={"": "Pink"})] * 1
    found = reading_of([*shop(), *nameless], query)
    assert len(found.parts) <= 16


def test_words_that_nobody_knows_are_compared_with_others_a_few_times_a_query() -> None:
    texts = Texts(catalogue := Catalogue())
    catalogue.admit_all(shop())
    assert texts.follow()
    assert texts.numbers(["thimg"])
    for n in range(20):
        texts.numbers([f"qwx{n}y"])
    assert not texts.numbers(["thinf"])  # this query has had its share
    assert texts.follow()
    assert texts.numbers(["thinf"])  # another one has its own


def test_what_nobody_says_any_more_is_let_go_of() -> None:
    texts = Texts(catalogue := Catalogue())
    catalogue.admit_all(shop())
    assert texts.follow()
    for n in range(2_100):
        catalogue.admit(Item(item_id="i1", title=f"word{n}"))
        if n % 100 == 0:
            texts.follow()
    texts.follow()
    assert not texts.wants_building
    for n in range(2_100):
        catalogue.admit(Item(item_id="i1", title=f"other{n}"))
        texts.follow()
    assert texts.wants_building
