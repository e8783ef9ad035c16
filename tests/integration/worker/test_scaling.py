"""Drill: one worker, three, two, under load; nothing is lost, states are as ever, each user's lists in order.

    python -m pytest -s -m drill tests/integration/worker/test_scaling.py

prints how long users waited while partitions changed hands.
"""

import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import msgspec
import pytest

from learner.data.catalogue import Item
from learner.release.files import write_release
from streams.hot_path.state_record import StateRecord
from tests.worlds import aftermath, undisturbed
from tests.worlds.aftermath import Listed, told
from tests.worlds.ledger import Crowd, Ledger
from tests.worlds.served import POPULAR, served_bundle
from tests.worlds.system import System, ready

pytestmark = pytest.mark.broker

ITEMS = [Item(item_id=f"i{number}", categories=[f"c{number % 7}"]) for number in range(500)]
RATE, USERS = 20.0, 100
HAND_OVER_SECONDS = 15.0  # of a quiet machine; printed, since a test says nothing of a machine's speed


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return write_release(tmp_path / "made" / "r-0", served_bundle("r-0", ITEMS, POPULAR))


def start(system: System, slot: int) -> str:
    """A worker with a name of its own, at work."""
    name = system.start("worker", "--slot", str(slot), "--set", "stop_seconds=60", name=f"worker {slot}")
    ready(system, name)
    return name


@pytest.mark.drill
def test_one_three_two(system: System, release: Path) -> None:
    start(system, 0)
    crowd = Crowd(system, RATE, USERS, [item.item_id for item in ITEMS])
    moments: list[tuple[str, float]] = []

    def more(lists: int) -> None:
        seen = len(system.lists())
        system.wait_for(lambda: len(system.lists()) >= seen + lists, f"{lists} more lists", 180)

    with crowd.going_on():
        more(100)
        for slot in (1, 2):
            moments.append((f"worker {slot} comes", time.time()))
            start(system, slot)
            more(100)
        moments.append(("worker 0 goes", time.time()))
        assert system.stop("worker 0", 90) == 0
        more(300)
    ledger = crowd.ledger

    def unanswered() -> list[str]:
        lists = aftermath.lists_of(system.read("recommendations"))
        return aftermath.unanswered(ledger, aftermath.clicks_of(system.read("clicks")), lists)

    system.wait_for(lambda: not unanswered(), "a list for each click and request")
    clicks = aftermath.clicks_of(system.read("clicks"))
    expected = undisturbed.states_after(release, clicks)
    of_release = {item.item_id for item in ITEMS}

    def states() -> dict[str, StateRecord]:
        return {user: msgspec.convert(state, StateRecord) for user, state in system.states().items()}

    differ = partial(undisturbed.different, expected)
    system.wait_for(lambda: not [*differ(states(), of_release)], "states of all clicks", 120)
    lists = aftermath.lists_of(system.read("recommendations"))
    wrong = {
        "of several names": aftermath.of_several_names(lists),
        "consumed again": aftermath.consumed_again(ledger, clicks, lists),
        "out of order": out_of_order(lists),
        "letters": aftermath.letters_of(ledger, system.read("dead-letters")),
        "tracebacks": aftermath.tracebacks(system.folder),
    }
    assert {what: seen for what, found in wrong.items() if (seen := told(found))} == {}
    for what, waited in waits(ledger, lists, moments):
        print(
            f"{what}: the longest wait for a list was {waited:.1f} s (quiet machine: < {HAND_OVER_SECONDS:g})"
        )


def out_of_order(lists: Iterable[Listed]) -> list[str]:
    """Lists of a click that came after the list of a later click of the same user."""
    last: dict[str, int] = {}
    wrong = []
    for made in lists:
        if made.is_click:
            if made.offset < last.get(made.user, -1):
                wrong.append(f"{made.user}: {made.offset} after {last[made.user]}")
            last[made.user] = max(made.offset, last.get(made.user, -1))
    return wrong


def waits(
    ledger: Ledger, lists: Iterable[Listed], moments: list[tuple[str, float]]
) -> Iterable[tuple[str, float]]:
    """For each moment the longest that a click waited, s, which was sent before the next one."""
    came: dict[str, int] = {}
    for made in lists:
        came.setdefault(made.trigger, made.created_ms)
    ends = [*(at for _, at in moments[1:]), float("inf")]
    for (what, begin), end in zip(moments, ends, strict=True):
        # Those that were on their way when it began count too.
        there = [each for each in ledger.clicks if begin - 5 <= each.sent_ms / 1000 < end and each.id in came]
        yield what, max((came[each.id] - each.sent_ms) / 1000 for each in there)
