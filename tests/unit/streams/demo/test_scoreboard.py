"""The demo's figures: what counts as a hit, and against what."""

import math

import msgspec
import pytest

from streams.demo.popularity import DecayedPopularity, best_half_life
from streams.demo.scoreboard import Scoreboard
from streams.wire.contract import Click
from tests.worlds.messages import answer, click


@pytest.mark.parametrize("late", [False, True])
def test_a_hit_is_the_next_click_in_the_list_before_it(late: bool) -> None:
    board = Scoreboard(DecayedPopularity(math.inf), k=2)
    board.see_click(click(1, "u", "a"), 10)
    if not late:
        board.see_list(answer(1, "u", "b", "c"), 14)
    board.see_click(click(2, "u", "c"), 20)
    if late:
        board.see_list(answer(1, "u", "b", "c"), 14)
    assert (board.scored, board.hits, board.popular_hits) == (1, 1, 0)
    assert board.freshness(0.5) == 4.0


def test_first_clicks_history_and_repeats_are_not_scored() -> None:
    board = Scoreboard(DecayedPopularity(math.inf))
    board.see_click(click(1, "u", "a", history=True), 0)
    board.see_click(click(2, "u", "b"), 0)  # the first live click
    board.see_list(answer(2, "u", "a"), 1)
    board.see_click(click(3, "u", "a"), 0)  # consumed before
    assert board.scored == 0


def test_each_release_has_the_figures_of_its_own_lists() -> None:
    board = Scoreboard(DecayedPopularity(math.inf), k=2)
    made = {1: ("r-quick", "c", "d"), 2: ("r-quick", "x", "y"), 3: ("r-better", "e", "f")}
    clicked = {1: "a", 2: "c", 3: "e", 4: "e2"}
    for n, item in clicked.items():
        board.see_click(click(n, "u", item), n)
        if n in made:
            release, *items = made[n]
            board.see_list(msgspec.structs.replace(answer(n, "u", *items), release=release), n)
    assert {name: (rates.scored, rates.hits) for name, rates in board.by_release.items()} == {
        "r-quick": (2, 1), "r-better": (1, 0),
    }  # fmt: skip
    assert board.scored == 3


def test_popularity_is_judged_at_the_same_moment_with_the_same_exclusions() -> None:
    board = Scoreboard(DecayedPopularity(math.inf), k=1)
    for n, user in enumerate("xyz"):
        board.see_click(click(n, user, "a"), 0)
    board.see_click(click(10, "u", "a"), 0)
    board.see_click(click(11, "v", "b"), 0)
    board.see_list(answer(10, "u", "q"), 1)
    board.see_list(answer(11, "v", "q"), 1)
    board.see_click(click(12, "u", "b"), 0)  # `a` is most popular, but u had it; `b` did not exist yet
    board.see_click(click(13, "v", "a"), 0)
    assert (board.scored, board.hits, board.popular_hits) == (2, 0, 1)


def test_decay_prefers_what_is_clicked_now() -> None:
    old_favourite = [("a", t) for t in range(0, 5000, 1000)]
    trend = [("b", 100_000), ("b", 101_000)]
    for half_life, first in ((math.inf, "a"), (5_000.0, "b")):
        popularity = DecayedPopularity(half_life)
        for item, time_ms in old_favourite + trend:
            popularity.learn(item, time_ms)
        assert popularity.top(1, set()) == [first]
        assert popularity.top(5, {"a"}) == ["b"]


def test_weights_survive_any_length_of_time() -> None:
    popularity = DecayedPopularity(1000.0)
    for n in range(100):
        popularity.learn(f"i{n}", n * 400_000)
    assert popularity.top(2, set()) == ["i99", "i98"]


def test_the_best_half_life_follows_the_world() -> None:
    day = 86_400_000
    fashion = [f"i{n // 40}" for n in range(2000)]
    times = [n * day // 40 for n in range(2000)]
    users = [f"u{n}" for n in range(2000)]
    assert best_half_life(fashion, users, times) <= 4 * day


def test_neither_an_undo_nor_an_impression_is_scored() -> None:
    board = Scoreboard(DecayedPopularity(math.inf), k=2)
    board.see_click(click(1, "u", "a"), 10)
    board.see_list(answer(1, "u", "b", "c"), 14)
    board.see_click(click(2, "u", "c", undo=True), 20)
    seen = Click(event_id="e3", user_id="u", event="impression", timestamp=3000, items=("b",))
    board.see_click(seen, 20)
    assert (board.clicks, board.scored) == (1, 0)
    board.see_click(click(4, "u", "c"), 20)
    assert (board.scored, board.hits) == (1, 1)
