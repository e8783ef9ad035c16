"""Queries in plain words through the hot path: a toy catalogue, and rules that always hold."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learner.data.catalogue import Catalogue, Item
from learner.release.live import LiveRelease
from learner.signals.settings import SignalSettings
from learner.signals.state import Signals
from streams.hot_path.live import Live
from streams.hot_path.policy import Policy
from streams.hot_path.recommend import recommend
from streams.hot_path.user_states import UserStates
from streams.hot_path.world import World
from streams.wire.contract import Click, Recommendation, Request, Understood
from streams.wire.intake import Arrival
from streams.wire.steering import Cap, Rules
from tests.worlds.plain_filters import lets_through
from tests.worlds.served import served_bundle

NOW = 1_700_000_000_000
KINDS = ["Horror", "Comedy", "War", "Children"]
WORDS = ["dragon", "castle", "robot", "garden", "pirate", "moon"]
ITEMS = [
    Item(
        item_id=f"i{n}",
        title=f"The {WORDS[n % 6]} {'and the ' + WORDS[(n // 6) % 6] if n % 2 else ''} ({1960 + n % 50})",
        categories=[KINDS[n % 4]], price=float(n % 40), attributes={"brand": f"Brand{n % 7}"},
    )
    for n in range(120)
]  # fmt: skip


def made(items: list[Item] = ITEMS) -> World:
    catalogue = Catalogue()
    weights = {"category_profile": 3.0, "popularity_4": 1.0}
    release = LiveRelease(served_bundle("r-20231114-221320-test", items, weights), catalogue)
    signals = Signals(SignalSettings.from_dict(release.manifest.signals), catalogue)
    signals.follow()
    rng = np.random.default_rng(0)
    for item in rng.integers(0, catalogue.size, 600).tolist():
        signals.learn(item, NOW, 1, 0.0, np.zeros(0, np.int32))
    return World(catalogue, signals, Live(release, catalogue), Policy(exploration=0.0))


@pytest.fixture(scope="module")
def world() -> World:
    return made()


def asked(world: World, *, rng: np.random.Generator | None = None, **request: Any) -> Recommendation:
    release = world.live.release
    states = UserStates(release.hidden_size, release.vector_size)
    arrival = Arrival(Request(request_id="r", **request), 0, 0)
    (outcome,) = recommend([arrival], states, world, NOW, rng=rng)
    assert outcome.recommendation is not None
    return outcome.recommendation


def understood(made: Recommendation) -> Understood:
    assert isinstance(made.understood, Understood)
    return made.understood


def records(world: World, made: Recommendation) -> list[Item]:
    return [world.catalogue.records[world.catalogue.index[each.item_id]] for each in made.items]


def test_what_is_named_comes_first(world: World) -> None:
    made = asked(world, query="the robott and the castle")
    assert {"robot", "castle"} <= set((records(world, made)[0].title or "").split())
    assert (made.items[0].source, made.items[0].reason.kind) == ("query", "matches_query")
    scores = [each.score for each in made.items]
    assert scores == sorted(scores, reverse=True)


parts = st.lists(
    st.sampled_from(
        ["horror", "comedy", "war", "not horror", "without war", "for children", "for kids", "under 20",
         "cheaper than 15 euros", "between 5 and 30 dollars", "brand3", "before 1980", "from the 60s",
         "dragon", "robot", "but not comedy", "please", "films", "under 0", "at least 39"]
    ),
    min_size=1, max_size=4,
)  # fmt: skip


@settings(deadline=None, max_examples=120)
@given(parts)
def test_every_item_of_an_answer_passes_the_filter_that_is_said_back(parts: list[str]) -> None:
    world = WORLD
    made = asked(world, query=" ".join(parts), k=120)
    said = understood(made)
    listed = records(world, made)
    assert listed  # a filter that leaves nothing is given up
    first, last = said.years or (None, None)
    left = [
        item for item in ITEMS
        if (said.filter is None or lets_through(said.filter, item))
        and (first is None or year_of(item) >= first) and (last is None or year_of(item) <= last)
        and not any(set(words.split()) <= set((item.title or "").lower().split()) for words in said.without)
    ]  # fmt: skip
    assert {item.item_id for item in listed} == {item.item_id for item in left}


WORLD = made()


def year_of(item: Item) -> int:
    return int((item.title or "")[-5:-1])


def test_a_filter_that_leaves_nothing_is_dropped_and_said(world: World) -> None:
    made = asked(world, query="dragon over 1000 dollars")
    said = understood(made)
    assert said.filter is None
    assert said.dropped == ["over 1000 dollars"]
    assert "dragon" in (records(world, made)[0].title or "")


def test_a_requests_own_filter_stays(world: World) -> None:
    made = asked(world, query="dragon under 10", filter={"field": "price", "gte": 30})
    assert {item.price for item in records(world, made)} <= {float(n) for n in range(30, 40)}
    assert understood(made).dropped == ["under 10"]


def test_nothing_is_tried_out_in_an_answer_to_a_query() -> None:
    plain = made()
    world = World(plain.catalogue, plain.signals, plain.live, Policy(exploration=1.0))
    for seed in range(5):
        made_by_chance = asked(world, rng=np.random.default_rng(seed), query="dragon")
        without = asked(world, query="dragon")
        assert [each.item_id for each in made_by_chance.items] == [each.item_id for each in without.items]
        assert {each.propensity for each in made_by_chance.items} == {1.0}
    tried = asked(world, rng=np.random.default_rng(0))
    assert any(each.reason.kind == "explore" for each in tried.items)


@pytest.mark.parametrize("wish", [{"query": "dragon"}, {"similar_to": "i3"}])
def test_what_fills_up_has_scores_below_the_others(world: World, wish: dict[str, str]) -> None:
    made = asked(world, k=100, rules=Rules(caps=[Cap("brand", 14)]), **wish)
    scores = [each.score for each in made.items]
    assert len(scores) > 60
    filled = [n for n, each in enumerate(made.items) if each.reason.rule == "fill"]
    best_filler = max((scores[n] for n in filled), default=-np.inf)
    assert best_filler < min(score for n, score in enumerate(scores) if n not in filled)


def test_items_that_come_and_go_are_followed() -> None:
    world = made()
    asked(world, query="zeppelin")
    number = world.catalogue.announce(Item(item_id="new", title="A zeppelin story"))
    world.live.follow([number])
    assert asked(world, query="zeppelin").items[0].item_id == "new"
    world.live.follow([world.catalogue.withdraw("new")])
    assert "new" not in {each.item_id for each in asked(world, query="zeppelin").items}


def test_a_query_of_filters_alone_is_answered_in_the_users_order(world: World) -> None:
    made = asked(world, query="horror", k=30)
    plain = asked(world, filter={"field": "categories", "eq": "Horror"}, k=30)
    assert [each.item_id for each in made.items] == [each.item_id for each in plain.items]
    assert {each.reason.kind for each in made.items} == {"matches_query"}


def test_interests_stand_in_for_clicks_and_recede_with_each() -> None:
    world = made()
    release = world.live.release

    def shares(clicks: int) -> float:
        """How many items of the list are there for the interest, after so many clicks on something else."""
        states = UserStates(release.hidden_size, release.vector_size)
        arrivals = [
            Arrival(Click(event_id=f"e{n}", user_id="u", item_id=f"i{4 * n + 1}", event="click",
                          timestamp=NOW + n), 0, n)
            for n in range(clicks)
        ]  # fmt: skip
        if arrivals:
            recommend(arrivals, states, world, NOW, rng=None)
        stated = [
            recommend(
                [Arrival(Request(request_id="r", user_id="u", interests=words, timestamp=NOW + 99), 0, 0)],
                states, world, NOW, rng=None,
            )[0].recommendation
            for words in ([], ["horror"])
        ]  # fmt: skip
        plain, wished = stated
        assert plain is not None
        assert wished is not None
        return len({each.item_id for each in wished.items} - {each.item_id for each in plain.items})

    assert shares(0) >= 3
    assert shares(0) >= shares(2) >= shares(4)
    assert shares(5) == 0


def test_items_that_are_stated_as_interests_are_not_listed(world: World) -> None:
    made = asked(world, user_id="u", interests=["i8", "dragon"])
    assert "i8" not in {each.item_id for each in made.items}
    assert made.items
