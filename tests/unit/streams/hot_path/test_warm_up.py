"""A world that has been warmed up is the world it was."""

import numpy as np

from streams.hot_path.warm_up import warm_up
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


def test_a_world_without_items_is_warm_enough() -> None:
    empty, _ = world()
    empty.catalogue.ids.clear()
    empty.catalogue.index.clear()
    warm_up(empty)
