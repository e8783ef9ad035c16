"""The demo's changing world: what is played and announced, and how the scoreboard tells the parts apart."""

import math
from pathlib import Path

import numpy as np
from rich.console import Console

from learner.data.catalogue import Item
from learner.data.dataset import Interactions, load_interactions
from learner.data.events import Kind
from streams.demo.drift import drift_world
from streams.demo.popularity import DecayedPopularity
from streams.demo.scoreboard import Scoreboard
from streams.demo.screen import Follower, draw, summary
from tests.worlds.messages import answer, click

EVENTS, START = 400, 200


def recording() -> tuple[Interactions, list[Item]]:
    """Users of two genres, two clicks at each moment."""
    rng = np.random.default_rng(0)
    user = rng.integers(20, size=EVENTS).astype(np.int32)
    data = Interactions(
        user=user, item=(user % 2 + 2 * rng.integers(15, size=EVENTS)).astype(np.int32),
        time_ms=1_700_000_000_000 + 1000 * (np.arange(EVENTS, dtype=np.int64) // 2),
        kind=np.full(EVENTS, Kind.RATING, np.uint8), value=np.where(user > 3, 4.0, np.nan).astype(np.float32),
        place=np.zeros(EVENTS, np.int32), occurrence=np.zeros(EVENTS, np.int32),
        user_ids=[f"u{n}" for n in range(20)], item_ids=[f"i{n}" for n in range(30)], scenarios=[None],
    )  # fmt: skip
    genres = ("even", "odd")
    return data, [Item(item_id=f"i{n}", title=f"T{n}", categories=[genres[n % 2]]) for n in range(30)]


def test_half_of_the_items_go_on_under_other_names(tmp_path: Path) -> None:
    data, items = recording()
    world = drift_world(data, items, START, 0, tmp_path / "changing.parquet")
    played = load_interactions(world.file).in_order(0)
    assert len(played) == EVENTS
    assert world.at == 300
    names = [played.item_ids[number] for number in played.item.tolist()]
    assert not any(name.endswith("'") for name in names[: world.at])
    renamed = {name for name in names[world.at :] if name.endswith("'")}
    new = {item.item_id: item for item in world.items if item.available}
    gone = {item.item_id for item in world.items if not item.available}
    assert new.keys() == {f"{name}'" for name in gone}
    assert renamed <= new.keys()
    assert len(renamed) > 5
    assert new[min(new)].title == f"T{min(new)[1:-1]}"
    assert not gone & set(names[world.at :])
    told = world.told()
    assert (told["at_click"], told["users"], told["items"]) == (300, 20, len(new))
    assert set(told["genres"]) == {"odd", "even"}
    # Real clicks otherwise, with their times and values.
    np.testing.assert_array_equal(np.sort(played.time_ms), np.sort(data.time_ms))
    assert np.isnan(played.value).sum() == np.isnan(data.value).sum()


def test_hits_before_and_since_the_change() -> None:
    board = Scoreboard(DecayedPopularity(math.inf), k=2)
    for number, (item, shown) in enumerate([("a", "b"), ("b", "c"), ("c", "x")]):
        board.see_click(click(number, "u", item), 0)
        board.see_list(answer(number, "u", shown), 1)
    assert (board.before, board.since) == (None, board.all)
    board.change()
    board.see_click(click(3, "u", "d"), 2)
    board.see_list(answer(3, "u", "y"), 3)
    assert board.before is not None
    assert (board.before.scored, board.before.hit_rate) == (2, 1.0)
    assert (board.since.scored, board.since.hit_rate) == (1, 0.0)
    console = Console(record=True, width=120)
    console.print(draw(board, Follower({}), 1.0, 4, 1.0))
    console.print(summary(board, 1.0))
    text = console.export_text()
    assert "100.0% / 0.0%" in text
    assert "the world changed" in text
