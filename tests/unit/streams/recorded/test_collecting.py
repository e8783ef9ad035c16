"""Lists that the ranker learns from: what nobody could have listed at the time is on none."""

from dataclasses import replace

import msgspec
import numpy as np

from learner.data.catalogue import Catalogue, Item
from learner.data.dataset import Interactions
from learner.data.events import Kind
from learner.ranking.lists import Lists, Wanted
from learner.release.live import LiveRelease
from learner.signals.settings import SignalSettings
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


def test_answers_count_as_often_as_their_kind_weighs_and_nothing_is_asked_about_what_counts_nothing() -> None:
    kinds = np.where(np.arange(CLICKS) % 2 == 0, np.uint8(Kind.VIEW), np.uint8(Kind.PURCHASE))
    clicks = replace(world(), kind=kinds)

    def found(**weights: float) -> Lists:
        settings = SignalSettings(event_weights=weights).as_dict()
        bundle = served_bundle("r-1", ITEMS, repeat_consumption=True)
        manifest = msgspec.structs.replace(bundle.manifest, signals=settings)
        release = LiveRelease(replace(bundle, manifest=manifest), Catalogue())
        return collect(release, clicks, 60, CLICKS, Wanted(lists=1000, negatives=100))

    assert found().weight is None
    both = found(purchase=4, view=0.5)
    assert both.weight is not None
    assert set(both.weight.tolist()) == {0.5, 4.0}
    assert abs((both.weight == 4.0).mean() - 0.5) < 0.05
    bought = found(view=0)
    assert bought.weight is not None
    assert set(bought.weight.tolist()) == {1.0}
    assert len(bought) == (both.weight == 4.0).sum()
