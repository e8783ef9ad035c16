"""A world that has been warmed up is the world it was."""

from typing import Any

import numpy as np
import pytest

from streams.hot_path import warm_up as warming
from streams.hot_path.warm_up import warm_up
from streams.wire.intake import Arrival
from tests.worlds.rounds import world


def test_warming_up_leaves_no_trace() -> None:
    warmed, _ = world()
    fresh, _ = world()
    warm_up(warmed)
    assert warmed.catalogue.ids == fresh.catalogue.ids
    assert warmed.signals.total == 0
    assert warmed.signals.now_ms == fresh.signals.now_ms
    assert not warmed.signals.touched
    np.testing.assert_array_equal(warmed.signals.count, fresh.signals.count)
    np.testing.assert_array_equal(warmed.live.release.model.vectors, fresh.live.release.model.vectors)


def test_every_path_is_walked(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not walked is compiled while a user waits."""
    walked: list[tuple[int, set[str]]] = []
    real = warming.recommend

    def recommend(arrivals: list[Arrival], *more: Any, **options: Any) -> Any:
        kinds = {type(arrival.message).__name__ for arrival in arrivals}
        walked.append((len(arrivals), kinds))
        made = real(arrivals, *more, **options)
        assert all(outcome.recommendation.items for outcome in made if outcome.recommendation)
        return made

    monkeypatch.setattr(warming, "recommend", recommend)
    warm_up(world()[0])
    assert {count for count, _ in walked} == {2, 5, 13}  # clicks of 1, 4 and 12 users, and a request
    assert all(kinds == {"Click", "Request"} for _, kinds in walked)


def test_in_a_world_without_items_nothing_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    empty, _ = world()
    empty.catalogue.ids.clear()
    empty.catalogue.index.clear()
    asked: list[Any] = []
    monkeypatch.setattr(warming, "recommend", lambda *what, **_: asked.append(what))
    warm_up(empty)
    assert asked == []
    assert empty.catalogue.ids == []
