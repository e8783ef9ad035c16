"""Items by what their texts say: the same ones whether all are looked at or an index is."""

import numpy as np
import pytest
from numpy.typing import NDArray

from learner.data.catalogue import Catalogue, Item
from learner.release.live import LiveRelease
from streams.hot_path import by_content
from streams.hot_path.by_content import ByContent
from streams.hot_path.live import Live
from tests.worlds.served import served_bundle

ITEMS = [Item(item_id=f"i{n}", title=f"item {n}") for n in range(200)]


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Live:
    monkeypatch.setattr(by_content, "FEW", 100)
    catalogue = Catalogue()
    release = LiveRelease(served_bundle("r-20231114-221320-test", ITEMS), catalogue)
    content = release.model.content
    content[:200] /= np.linalg.norm(content[:200], axis=1, keepdims=True)
    return Live(release, catalogue)


def wish() -> NDArray[np.float32]:
    vector = np.random.default_rng(7).normal(size=64).astype(np.float32)
    return vector / np.linalg.norm(vector)


def nearest(found: ByContent, allowed: NDArray[np.bool_], count: int = 10) -> set[int]:
    return set(found.nearest(wish(), allowed, count).tolist())


def plainly(live: Live, allowed: NDArray[np.bool_], count: int = 10) -> set[int]:
    near = live.release.model.content[: len(allowed)] @ wish()
    possible = [item for item in np.argsort(-near).tolist() if allowed[item] and near[item] > 0]
    return set(possible[:count])


def test_the_nearest_are_found_with_and_without_an_index(live: Live) -> None:
    found, allowed = live.by_content, np.random.default_rng(0).random(200) < 0.8
    assert not live.wants_compaction  # nobody has asked: there is none, and it takes no room
    assert nearest(found, allowed) == plainly(live, allowed)
    assert live.wants_compaction
    assert live.compact()
    assert not live.wants_compaction
    assert nearest(found, allowed) == plainly(live, allowed)
    assert found._index is not None
    assert nearest(found, np.zeros(200, np.bool_)) == set()
    np.testing.assert_allclose(
        found.nearness(np.array([3, 5], np.int32), wish()), live.release.model.content[[3, 5]] @ wish()
    )


def test_what_changes_while_the_index_is_built_and_later_is_in_it(live: Live) -> None:
    found, catalogue, content = live.by_content, live.catalogue, live.release.model.content
    every = np.ones(200, np.bool_)
    best = nearest(found, every, 1)
    rows = found._rows

    def withdrawn_meanwhile(items: NDArray[np.integer]) -> NDArray[np.float32]:
        read = rows(items).copy()
        found._rows = rows  # type: ignore[method-assign]
        live.follow([catalogue.withdraw(f"i{item}") for item in best])
        return read

    found._rows = withdrawn_meanwhile  # type: ignore[method-assign]
    live.compact()
    assert nearest(found, every) == plainly(live, catalogue.available[:200].copy())
    content[9] = wish()
    live.follow([9])
    assert nearest(found, every, 1) == {9}
    assert not best & nearest(found, every, 50)


def test_a_building_that_fails_is_tried_again(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    nearest(live.by_content, np.ones(200, np.bool_))
    with monkeypatch.context() as patch:
        patch.setattr(by_content.ItemIndex, "build", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            live.compact()
    assert live.wants_compaction
    assert live.compact()
