"""The hot path, over a release that nobody trained."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from learner.data.catalogue import Catalogue, Item
from learner.data.events import Kind
from learner.release.files import write_release
from streams.hot_path import recommend as recommending
from streams.hot_path.live import Live
from streams.hot_path.policy import Policy
from streams.hot_path.rank import ask, candidates_of, joined
from streams.hot_path.recommend import recommend
from streams.hot_path.world import Fate, Ranked, World
from streams.settings import Settings
from streams.wire.contract import Click, Request
from streams.wire.intake import Arrival
from streams.worker.release_loader import Loader
from tests.worlds.rounds import NOW, arrivals, world
from tests.worlds.served import served_bundle


@pytest.mark.parametrize(("users", "count"), [(1, 40), (5, 64), (64, 64)])
def test_a_round_makes_the_lists_that_its_arrivals_one_by_one_would_make(users: int, count: int) -> None:
    one_world, one_states = world()
    all_world, all_states = world()
    # Known from the beginning: an item that joins in mid-round is there for all lists of the round.
    for each in (one_world, all_world):
        each.catalogue.intern("nobody-announced-me")
        each.live.follow()
    together = arrivals(np.random.default_rng(users), users, count)
    at_once = recommend(together, all_states, all_world, NOW, rng=None)
    one_by_one = [recommend([arrival], one_states, one_world, NOW, rng=None)[0] for arrival in together]
    assert {outcome.fate for outcome in at_once} >= (
        {Fate.DONE, Fate.DUPLICATE} if users < 64 else {Fate.DONE}
    )
    for a, b in zip(at_once, one_by_one, strict=True):
        assert (a.arrival, a.fate, a.changed) == (b.arrival, b.fate, b.changed)
        assert (a.recommendation is None) == (b.recommendation is None)
        if a.recommendation is not None and b.recommendation is not None:
            assert [i.item_id for i in a.recommendation.items] == [i.item_id for i in b.recommendation.items]
            assert len(a.recommendation.items) > 0
    assert all_states.index.keys() == one_states.index.keys()
    for user, slot in all_states.index.items():
        one = one_states.encode(one_states.index[user], one_world.catalogue)
        assert all_states.encode(slot, all_world.catalogue) == one


def test_lists_made_many_at_once_share_the_work_of_a_few() -> None:
    policy = Policy()
    drawn = [policy.candidates_for(lists) for lists in range(1, 200)]
    assert drawn[: policy.unhurried] == [policy.candidates] * policy.unhurried
    assert drawn == sorted(drawn, reverse=True)
    assert drawn[-1] == policy.least_candidates
    work = [lists * each for lists, each in enumerate(drawn, 1) if each > policy.least_candidates]
    assert max(work) <= policy.candidates * policy.unhurried
    assert Policy(candidates=20).candidates_for(1000) == 20
    assert {Policy(least_candidates=200).candidates_for(lists) for lists in (1, 32)} == {150}


def test_a_round_of_many_lists_draws_on_fewer_candidates_but_fills_each() -> None:
    the_world, states = world()
    the_world.policy = Policy(candidates=25, unhurried=4, least_candidates=5, exploration=0.0)
    asked = [Arrival(Request(request_id=f"r{n}", user_id=f"u{n}", k=12), 0, n) for n in range(40)]
    alone = recommend(asked[:1], states, the_world, NOW, rng=None)[0].recommendation
    for lists, drawn in ((4, 25), (40, 12)):  # of 40 five would do, but twelve are wanted
        made = [
            outcome.recommendation for outcome in recommend(asked[:lists], states, the_world, NOW, rng=None)
        ]
        assert all(found is not None and len(found.items) == 12 for found in made)
        assert alone is not None
        assert made[0] is not None
        outcomes = recommend(asked[:lists], states, the_world, NOW, rng=None)
        assert {outcome.hurried for outcome in outcomes} == {drawn < 25}
        same = [item.item_id for item in made[0].items] == [item.item_id for item in alone.items]
        assert same == (drawn == 25)


def test_a_list_knows_its_own_click_and_not_the_next() -> None:
    the_world, states = world()
    clicks = [
        Arrival(
            Click(event_id=f"e{n}", user_id="u", item_id=f"more-{n}", event="click", timestamp=NOW + n), 0, n
        )
        for n in range(2)
    ]
    the_world.policy = Policy(k=len(the_world.catalogue.ids), candidates=400, exploration=0.0)
    first, second = recommend(clicks, states, the_world, NOW + 9, rng=None)
    assert first.recommendation is not None
    assert second.recommendation is not None
    listed = [{item.item_id for item in o.recommendation.items} for o in (first, second)]  # type: ignore[union-attr]
    assert "more-0" not in listed[0] | listed[1]
    assert "more-1" in listed[0] - listed[1]


def test_calibration_moves_items_in_the_lists_of_users_with_a_past_alone() -> None:
    here, states = world()
    item = here.catalogue.index["more-7"]

    def lists() -> list[list[str]]:
        """Of a user with a past and of one without."""
        asking = [Arrival(Request(request_id=f"r{n}", user_id=f"u{n}", k=5), 0, 99) for n in range(2)]
        outcomes = recommend(asking, states, here, NOW, rng=None)
        return [[listed.item_id for listed in o.recommendation.items] for o in outcomes if o.recommendation]

    click = Click(event_id="e", user_id="u0", item_id="more-1", event="click", timestamp=NOW)
    recommend([Arrival(click, 0, 0)], states, here, NOW, rng=None)
    before = lists()
    here.live.release.model.calibration[item] = 100.0
    known, unknown = lists()
    assert known == ["more-7", *[other for other in before[0] if other != "more-7"]][:5]
    assert unknown == before[1]
    assert unknown[0] != "more-7"


def test_what_nobody_has_clicked_rises_in_the_lists_of_users_with_a_past_alone() -> None:
    here, states = world()
    release, number = here.live.release, here.catalogue.index
    clicked = {f"more-{n}" for n in range(6)}
    for item_id in sorted(clicked):
        here.signals.learn(number[item_id], NOW, Kind.CLICK, 0.0, np.zeros(0, np.int32))
    click = Click(event_id="e", user_id="u0", item_id="more-1", event="click", timestamp=NOW)
    recommend([Arrival(click, 0, 0)], states, here, NOW, rng=None)

    def lists() -> list[list[str]]:
        """Of a user with a past and of one without."""
        asking = [Arrival(Request(request_id=f"r{n}", user_id=f"u{n}", k=40), 0, 99) for n in range(2)]
        outcomes = recommend(asking, states, here, NOW, rng=None)
        return [[listed.item_id for listed in o.recommendation.items] for o in outcomes if o.recommendation]

    (known, unknown), plain = lists(), release.manifest
    release.manifest = msgspec.structs.replace(plain, unclicked=100.0)
    risen, same = lists()
    assert same == unknown
    new = [item_id for item_id in known if item_id not in clicked]
    assert 0 < len(new) < len(known)
    assert risen == [*new, *[item_id for item_id in known if item_id in clicked]]
    assert risen != known


def test_what_newcomers_click_is_listed_as_popular() -> None:
    the_world, states = world()
    number = the_world.catalogue.index
    for n in range(20):  # old hands click on the first, newcomers on some others
        history = np.array([number["more-9"]], np.int32)
        the_world.signals.learn(number["more-0"], NOW + n, Kind.CLICK, 0.0, history)
        item = number[f"more-{1 + n % 5}"]
        the_world.signals.learn(item, NOW + n, Kind.CLICK, 0.0, np.zeros(0, np.int32))
    asked = Arrival(Request(request_id="r", user_id="nobody", k=30), 0, 0)
    found = recommend([asked], states, the_world, NOW + 100, rng=None)[0].recommendation
    assert found is not None
    listed = [item for item in found.items if item.source == "popular_by_depth"]
    assert {item.item_id for item in listed} & {f"more-{k}" for k in range(1, 6)}
    assert {item.reason.kind for item in found.items if item.source.startswith("popular")} == {"popular"}


@pytest.mark.parametrize(("repeats", "again"), [(None, False), (False, False), (True, True)])
def test_a_setting_beats_what_the_release_says_of_repeats(repeats: bool | None, again: bool) -> None:
    known, states = world()
    assert not known.live.release.manifest.repeat_consumption
    known.live = Live(known.live.release, known.catalogue, repeats=repeats)
    click = Click(event_id="e", user_id="u", item_id="more-3", event="click", timestamp=NOW)
    ask = Request(request_id="r", user_id="u", k=1000)
    outcomes = recommend([Arrival(click, 0, 0), Arrival(ask, 0, 1)], states, known, NOW, rng=None)
    listed = outcomes[1].recommendation
    assert listed is not None
    assert ("more-3" in {each.item_id for each in listed.items}) is again


@pytest.mark.parametrize(("said", "repeats"), [("auto", False), ("no", False), ("yes", True)])
def test_a_release_is_loaded_with_the_setting_of_repeats(said: str, repeats: bool, tmp_path: Path) -> None:
    write_release(tmp_path / "release", served_bundle("r-20231114-221320-test", [Item(item_id="more-1")]))

    async def load() -> Live:
        loader = Loader(
            Settings(repeat_consumption=said), Catalogue(), ThreadPoolExecutor(1), asyncio.Lock(),  # type: ignore[arg-type]
        )  # fmt: skip
        return await loader.load(str(tmp_path / "release"), None)

    assert asyncio.run(load()).repeat_consumption is repeats


def test_whom_nothing_is_left_for_gets_an_empty_list_by_any_policy() -> None:
    known, states = world()
    everything = list(known.catalogue.ids)
    for policy in (Policy(), Policy(exploration=0.5, diversity=0.5), Policy(diversity=1.0)):
        known.policy = policy
        asked = [
            Arrival(Request(request_id="none", user_id="u1", exclude=everything), 0, 1),
            Arrival(Request(request_id="query", user_id="u2", exclude=everything, query="tea"), 0, 2),
            Arrival(Request(request_id="one", user_id="u3", exclude=everything[1:]), 0, 3),
        ]
        lists = [o.recommendation for o in recommend(asked, states, known, NOW, np.random.default_rng(0))]
        assert [len(each.items) for each in lists if each is not None] == [0, 0, 1]


def test_who_asks_for_much_changes_nobody_elses_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither what is in the others' lists nor how many candidates they are drawn from."""
    known, states = world()
    known.policy = Policy(k=3, candidates=8, unhurried=2, least_candidates=5, exploration=0.0)
    recommend(arrivals(np.random.default_rng(0), 5, 60), states, known, NOW, rng=None)
    asked = [Arrival(Request(request_id=f"r{n}", user_id=f"u{n}"), 0, n) for n in range(6)]
    wide = [Arrival(Request(request_id=f"w{n}", user_id=f"u{n}", k=k), 0, n) for n, k in ((7, 30), (8, 6))]
    alone = recommend(asked, states, known, NOW, rng=None)
    ranked: list[tuple[int, int]] = []
    rank_asks = recommending.rank_asks

    def noted(asks: Any, world: World, *more: Any) -> Ranked:
        found = rank_asks(asks, world, *more)
        ranked.append(found.candidates.items.shape)
        return found

    monkeypatch.setattr(recommending, "rank_asks", noted)
    together = recommend([wide[0], *asked, wide[1]], states, known, NOW, rng=None)
    assert sorted(ranked) == [(1, 8), (1, 32), (6, 5)]
    assert [o.recommendation for o in together[1:-1]] == [o.recommendation for o in alone]
    assert [o.hurried for o in together] == [False, *[True] * 6, False]
    lengths = [len(o.recommendation.items) for o in (together[0], together[-1]) if o.recommendation]
    assert lengths == [30, 6]


def test_who_may_not_have_much_changes_nobody_elses_candidates() -> None:
    known, states = world()
    slots, times = np.array([-1], np.int64), np.array([NOW], np.int64)
    light = ask(slots, times, states, known)
    heavy = ask(slots, times, states, known, [known.catalogue.ids[:20]])
    alone = candidates_of(light, known, 8).items[0]
    assert candidates_of(joined([heavy, light]), known, 8).items[1].tolist() == alone.tolist()


def test_strangers_are_asked_for_all_at_once_and_a_users_records_one_after_the_other() -> None:
    strangers = [Arrival(Request(request_id=f"r{n}"), 0, n) for n in range(4)]
    one_user = [Arrival(Request(request_id=f"u{n}", user_id="u"), 0, 9 + n) for n in range(2)]
    assert recommending._steps([*strangers, *one_user]) == [[0, 1, 2, 3, 4], [5]]
