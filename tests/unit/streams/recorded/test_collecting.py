"""Lists that the ranker learns from: what nobody could have listed at the time is on none."""

import numpy as np

from learner.data.catalogue import Catalogue, Item
from learner.data.dataset import Interactions
from learner.ranking.lists import Lists, Wanted
from learner.release.live import LiveRelease
from streams.recorded.collecting import STRETCH, collect
from tests.worlds.served import served_bundle

NOW = 1_700_000_000_000
KNOWN, USERS, CLICKS = 20, 10, 320
FIRST = 160  # the click by which the unannounced item comes, and the moment at which the dated one is out
ITEMS = [
    *(Item(item_id=f"i{n}", title=f"Film {n}") for n in range(KNOWN)),
    Item(item_id="unannounced"),  # as a training packs an item of which nobody has said anything
    Item(item_id="dated", title="A premiere", published_at=NOW + 1000 * FIRST),
    Item(item_id="undated", title="Nobody says since when"),
]
UNANNOUNCED, DATED, UNDATED = KNOWN, KNOWN + 1, KNOWN + 2


def world() -> Interactions:
    """Each user clicks on all known items; the last two of them by and by."""
    rng = np.random.default_rng(0)
    item = rng.integers(KNOWN, size=CLICKS).astype(np.int32)
    item[FIRST::7] = UNANNOUNCED
    item[FIRST + STRETCH :: 11] = DATED
    return Interactions(
        user=rng.integers(USERS, size=CLICKS).astype(np.int32), item=item,
        time_ms=NOW + 1000 * np.arange(CLICKS), kind=np.ones(CLICKS, np.uint8),
        value=np.full(CLICKS, np.nan, np.float32), place=np.zeros(CLICKS, np.int32),
        occurrence=np.zeros(CLICKS, np.int32), user_ids=[f"u{n}" for n in range(USERS)],
        item_ids=[item.item_id for item in ITEMS], scenarios=[None],
    )  # fmt: skip


def lists(start: int, stop: int) -> Lists:
    release = LiveRelease(served_bundle("r-1", ITEMS, repeat_consumption=True), Catalogue())
    return collect(release, world(), start, stop, Wanted(lists=1000, negatives=100))


def listed(found: Lists) -> set[int]:
    assert found.items is not None
    return set(found.items[found.mask].tolist())


def test_an_item_is_on_no_list_before_anybody_could_know_of_it() -> None:
    before = lists(60, FIRST)
    assert len(before) > 50
    assert listed(before) == {*range(KNOWN), UNDATED}
    after = lists(FIRST + STRETCH, CLICKS)
    assert listed(after) == {*range(KNOWN), UNDATED, UNANNOUNCED, DATED}


def test_items_come_while_lists_are_made() -> None:
    whole = lists(0, CLICKS)
    assert whole.items is not None
    seen = [set(row[mask].tolist()) for row, mask in zip(whole.items, whole.mask, strict=True)]
    first = [next(at for at, row in enumerate(seen) if item in row) for item in (UNANNOUNCED, DATED)]
    assert all(100 < at < 200 for at in first)
    assert {UNANNOUNCED, DATED} <= seen[-1]
    # The click by which an item comes had no list to be found on; the later ones teach.
    answers = whole.items[:, 0].tolist()
    assert 0 < answers.count(UNANNOUNCED) < len(range(FIRST, CLICKS, 7))
    assert answers.count(DATED) > 0


def test_a_withdrawn_item_does_not_come_back() -> None:
    items = [*ITEMS[:-2], Item(item_id="dated", available=False, published_at=NOW), ITEMS[-1]]
    release = LiveRelease(served_bundle("r-1", items, repeat_consumption=True), Catalogue())
    assert DATED not in listed(collect(release, world(), 0, CLICKS, Wanted(lists=1000)))
