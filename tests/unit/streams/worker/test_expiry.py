"""Items that are idle leave by rule and come back with a click; what the owner says stays."""

import numpy as np

from learner.data.catalogue import Item
from learner.data.times import DAY_MS
from streams.hot_path.world import World
from streams.worker.expiry import Expiry
from tests.worlds.rounds import world

BEGIN = 1_700_000_000_000
NOBODY = np.zeros(0, np.int32)


def click(known: World, item_id: str, day: float) -> int:
    number = known.catalogue.intern(item_id)
    known.signals.learn(number, int(BEGIN + day * DAY_MS), 1, 0.0, NOBODY)
    return number


def due(known: World, expiry: Expiry) -> set[str]:
    return {known.catalogue.ids[number] for number in expiry.due().tolist()}


def test_who_leaves_and_who_stays() -> None:
    known, _ = world()
    expiry = Expiry(10, known.catalogue, known.signals)
    assert due(known, expiry) == set()  # no clock yet
    click(known, "old", 0)
    click(known, "announced", 0)
    known.catalogue.announce(Item(item_id="announced"))
    click(known, "withdrawn", 0)
    known.catalogue.withdraw("withdrawn")
    click(known, "young", 9)
    known.catalogue.intern("never-clicked")
    assert due(known, expiry) == set()
    click(known, "young", 11)
    assert due(known, expiry) == {"old"}
    click(known, "young", 22)
    assert due(known, expiry) == {"old", "never-clicked", *(f"more-{number}" for number in range(30))}


def test_out_of_lists_and_back_by_a_click() -> None:
    known, _ = world()
    expiry = Expiry(10, known.catalogue, known.signals)
    old, young = click(known, "old", 0), click(known, "young", 20)
    known.live.follow()
    known.catalogue.expire(expiry.due())
    known.live.follow(range(known.catalogue.size))
    assert known.live.index.holds([old, young]).tolist() == [False, True]
    assert not expiry.is_back(old)
    known.catalogue.admit(Item(item_id="old", title="a newer release tells of it"))
    assert not known.catalogue.available[old]
    click(known, "old", 21)
    assert expiry.is_back(old)
    assert not expiry.is_back(young)
    known.catalogue.revive(old)
    known.live.follow([old])
    assert known.live.index.holds([old]).all()
    assert not due(known, expiry)


def test_the_owner_brings_an_expired_item_back_or_ends_it() -> None:
    known, _ = world()
    expiry = Expiry(10, known.catalogue, known.signals)
    old, older = click(known, "old", 0), click(known, "older", 0)
    click(known, "young", 20)
    known.catalogue.expire(expiry.due())
    known.catalogue.announce(Item(item_id="old"))
    known.catalogue.withdraw("older")
    assert known.catalogue.available[old]
    click(known, "older", 21)
    assert not expiry.is_back(old)
    assert not expiry.is_back(older)
