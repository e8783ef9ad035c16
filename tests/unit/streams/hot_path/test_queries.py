"""Requests with a query: what is asked for joins the list and stands higher; all other rules stay."""

from pathlib import Path

import numpy as np
import pytest

from learner.data.catalogue import Catalogue, Item
from learner.data.dataset import load_items
from learner.ranking.arrays import Candidates
from learner.ranking.sources import SOURCES
from learner.release.bundle import Bundle
from learner.release.live import LiveRelease
from learner.signals.settings import SignalSettings
from learner.signals.state import Signals
from learner.text import encoder as encoders
from learner.text.content import ContentEncoder
from streams.hot_path import queries
from streams.hot_path.live import Live
from streams.hot_path.policy import Policy
from streams.hot_path.recommend import recommend
from streams.hot_path.user_states import UserStates
from streams.hot_path.world import World
from streams.wire.contract import Click, Recommendation, Request
from streams.wire.intake import Arrival
from tests.worlds.served import served_bundle

NOW = 1_700_000_000_000


def test_the_nearest_that_are_allowed_join_behind_the_others() -> None:
    shape = (2, 4)
    candidates = Candidates(
        items=np.array([[9, 9, 9, 9], [2, 0, 5, -1]], np.int32), source=np.ones(shape, np.uint8),
        because=np.full(shape, -1, np.int32), ranks=np.zeros((*shape, len(SOURCES)), np.int16),
        count=np.array([4, 3], np.int32),
    )  # fmt: skip
    found = queries.join(candidates, 1, np.array([4, 0, 1], np.int32))
    assert found.items.tolist() == [[2, 0, 5, 1, 4]]
    assert found.count.tolist() == [5]
    assert (found.ranks[0, 3:] == -1).all()
    assert queries.join(candidates, 1, np.zeros(0, np.int32)).items.tolist() == [[2, 0, 5]]


def test_relevance_leads_taste_follows_and_what_is_not_sought_stands_below() -> None:
    scores = np.array([100.0, 300.0, 900.0], np.float32)
    relevance, sought = np.array([1.0, 0.5, 0.0], np.float32), np.array([True, True, False])
    mixed = queries.mixed(scores, relevance, sought)
    np.testing.assert_allclose(mixed[:2], [queries.WEIGHT - 1, queries.WEIGHT / 2 + 1], rtol=1e-5)
    assert mixed[2] < mixed[:2].min()
    everything = np.ones(3, np.bool_)
    np.testing.assert_allclose(
        queries.mixed(scores, np.zeros(3, np.float32), everything), queries.standard(scores), rtol=1e-5
    )


def test_relevance_is_found_by_item() -> None:
    relevance, sought = np.array([0.9, 0.1], np.float32), np.array([7, 3], np.int32)
    placed = queries.placed(relevance, sought, np.array([3, 4, 7, 9], np.int32))
    np.testing.assert_allclose(placed, [0.1, 0, 0.9, 0])
    assert not queries.placed(relevance[:0], sought[:0], np.array([1], np.int32)).any()


@pytest.fixture(scope="module")
def films(recorded: Path) -> list[Item]:
    return load_items(recorded / "items.csv.gz")


@pytest.fixture(scope="module")
def bundle(films: list[Item]) -> Bundle:
    """Films with the content that hashed words see in them, and a ranker that knows popularity alone."""
    bundle = served_bundle("r-20231114-221320-test", films)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(encoders, "installed", lambda: False)
        encoder = ContentEncoder.fit(films)
        bundle.arrays.content, bundle.arrays.encoder = encoder.encode(films), dict(encoder.arrays())
    return bundle


@pytest.fixture
def world(bundle: Bundle) -> World:
    catalogue = Catalogue()
    release = LiveRelease(bundle, catalogue)
    signals = Signals(SignalSettings.from_dict(release.manifest.signals), catalogue)
    signals.follow()
    nobody, rng = np.zeros(0, np.int32), np.random.default_rng(0)
    for item in rng.integers(0, catalogue.size, 3000).tolist():
        signals.learn(item, NOW, 1, 0.0, nobody)
    return World(catalogue, signals, Live(release, catalogue), Policy(exploration=0.0))


def asked(world: World, *requests: Request, states: UserStates | None = None) -> list[Recommendation]:
    release = world.live.release
    states = states or UserStates(release.hidden_size, release.vector_size)
    arrivals = [Arrival(request, 0, n) for n, request in enumerate(requests)]
    made = [outcome.recommendation for outcome in recommend(arrivals, states, world, NOW, rng=None)]
    assert all(made)
    return made  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("query", "genre"),
    [
        ("horror", "Horror"),
        ("a western please", "Western"),
        ("something like a musical", "Musical"),
        ("I want to see a comedy", "Comedy"),
        ("animation for children", "Animation"),
    ],
)
def test_a_query_for_a_genre_brings_films_of_it(world: World, query: str, genre: str) -> None:
    plain, sought = asked(
        world, Request(request_id="a", user_id="u"), Request(request_id="b", user_id="u", query=query)
    )
    records, index = world.catalogue.records, world.catalogue.index

    def share(made: Recommendation) -> float:
        return float(np.mean([genre in records[index[each.item_id]].categories for each in made.items]))

    assert len({each.item_id for each in sought.items}) == 10
    assert share(sought) >= 0.7
    assert share(sought) >= share(plain) + 0.3
    scores = [each.score for each in sought.items]
    assert scores == sorted(scores, reverse=True)
    first = sought.items[0]
    assert (first.source, first.reason.kind) == ("query", "matches_query")
    assert {each.source for each in plain.items} <= set(SOURCES)


def test_what_may_not_be_listed_is_not_found_either_and_others_lists_stay(world: World) -> None:
    release = world.live.release
    states = UserStates(release.hidden_size, release.vector_size)
    before = [
        each.item_id for each in asked(world, Request(request_id="a", user_id="u", query="horror"))[0].items
    ]
    consumed, withdrawn, excluded = before[:3]
    click = Click(event_id="e", user_id="u", item_id=consumed, event="click", timestamp=NOW)
    recommend([Arrival(click, 0, 0)], states, world, NOW, rng=None)
    world.live.follow([world.catalogue.withdraw(withdrawn)])
    wish = Request(request_id="b", user_id="u", query="horror", exclude=[excluded], k=50)
    plain = Request(request_id="c", user_id="v", k=50)
    (made, beside), (alone,) = asked(world, wish, plain, states=states), asked(world, plain, states=states)
    listed = [each.item_id for each in made.items]
    assert len(set(listed)) == 50
    assert not {consumed, withdrawn, excluded} & set(listed)
    assert set(before[3:]) <= set(listed)
    assert beside.items == alone.items


@pytest.mark.parametrize("query", ["", "   ", "🙂", "the of and", "x" * 60_000])
def test_whatever_the_query_the_list_is_full(world: World, query: str) -> None:
    plain, sought = asked(
        world, Request(request_id="a", user_id="u"), Request(request_id="b", user_id="u", query=query)
    )
    assert len({each.item_id for each in sought.items}) == len(plain.items) == 10


def test_with_a_release_that_cannot_read_words_are_found_all_the_same(world: World) -> None:
    world.live.release.encoder = {}
    (sought,) = asked(world, Request(request_id="b", user_id="u", query="star war"))
    titles = [world.title(world.catalogue.index[each.item_id]) for each in sought.items]
    assert "Star Wars (1977)" in titles[:2]


def test_a_query_of_a_user_for_whom_nothing_is_left_gets_an_empty_list(world: World) -> None:
    world.live.follow([world.catalogue.withdraw(item_id) for item_id in list(world.catalogue.ids)])
    (made,) = asked(world, Request(request_id="a", user_id="u", query="horror"))
    assert made.items == []
