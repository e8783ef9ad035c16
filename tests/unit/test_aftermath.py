"""The drill's checks find what they are there for, and nothing in a run without faults."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from learner.data.catalogue import Item
from learner.release.files import write_release
from streams.hot_path.state_record import pack
from streams.runtime.fleet import Fleet
from streams.wire.contract import Click, ReleaseRecord
from tests.worlds import aftermath, undisturbed
from tests.worlds.aftermath import Listed, Placed
from tests.worlds.happenings import Memory
from tests.worlds.ledger import Ledger, Sent
from tests.worlds.served import served_bundle

DONE = ReleaseRecord(
    release="r-2", url="/", sha256="0", role="live", at=100_000, decision="promoted", reason="not worse",
    evidence={"clicks_canary": 300},
)  # fmt: skip
CANARY = msgspec.structs.replace(DONE, role="canary", at=10_000, decision="added", reason="by hand")


def click(number: int, item: str, offset: int) -> Placed:
    made = Click(event_id=f"c{number}", user_id="u", item_id=item, event="click", timestamp=number)
    return Placed(made, 3, offset)


@pytest.fixture
def run() -> tuple[Ledger, list[Placed], list[Listed]]:
    """Two clicks, one of them sent twice, and a request after them; the first list came twice."""
    ledger = Ledger(
        clicks=[Sent(f"c{n}", "u", 10.0 * o, 10.0 * o + 1, 3, o) for o, n in enumerate((0, 1, 0))],
        requests=[Sent("q", "u", 100.0, 101.0, 3, 0)],
    )
    clicks = [click(0, "a", 0), click(1, "b", 1), click(0, "a", 2)]
    first = Listed("c0", True, "c-3-0", "u", ("b", "x"), "r-1", 20)
    second = Listed("c1", True, "c-3-1", "u", ("x",), "r-1", 30)
    return ledger, clicks, [first, second, first, Listed("q", False, "r-3-0", "u", ("x",), "r-1", 130)]


def test_a_run_without_faults_has_none(run: tuple[Ledger, list[Placed], list[Listed]]) -> None:
    ledger, clicks, lists = run
    assert aftermath.unanswered(ledger, clicks, lists) == []
    assert aftermath.of_several_names(lists) == []
    assert aftermath.consumed_again(ledger, clicks, lists) == []
    assert aftermath.withdrawn_listed(ledger, lists, 2000) == []
    assert aftermath.repeats(lists) == 1


def test_faults_of_lists_are_found(run: tuple[Ledger, list[Placed], list[Listed]]) -> None:
    ledger, clicks, lists = run
    assert "c1" in aftermath.unanswered(ledger, clicks, [lists[0], lists[3]])[0]
    assert "q" in aftermath.unanswered(ledger, clicks, lists[:3])[0]
    assert "is not in the topic" in aftermath.unanswered(ledger, clicks[:1], lists)[0]
    assert aftermath.of_several_names([*lists, replace(lists[0], name="c-3-2")])
    own = replace(lists[1], items=("b",))  # what the click itself has consumed
    assert "b, consumed at offset 1" in aftermath.consumed_again(ledger, clicks, [lists[0], own])[0]
    asked = [*lists[:3], replace(lists[3], items=("b",))]
    assert "b, known for 70 ms" in aftermath.consumed_again(ledger, clicks, asked)[0]
    ledger.requests[0].sent_ms = 29.0  # before the answer to the click
    assert aftermath.consumed_again(ledger, clicks, asked) == []
    ledger.withdrawn["x"] = 100.0
    assert aftermath.withdrawn_listed(ledger, lists, 30) == []
    assert "withdrawn 30 ms before" in aftermath.withdrawn_listed(ledger, lists, 29)[0]


def test_a_state_that_differs_is_found(tmp_path: Path) -> None:
    release = write_release(tmp_path / "r", served_bundle("r-1", [Item(item_id=name) for name in "ab"]))
    clicks = [click(number, "ab"[number % 2], number) for number in range(200)]
    expected = undisturbed.states_after(release, clicks)
    assert expected["u"].events == 200
    assert list(undisturbed.different(expected, expected, {"a", "b"})) == []
    assert list(undisturbed.different(expected, {}, {"a", "b"})) == ["users in only one of both: ['u']"]
    lost = undisturbed.states_after(release, clicks[:-1])
    assert any(
        "applied is 198, expected 199" in wrong for wrong in undisturbed.different(expected, lost, set())
    )
    short = undisturbed.states_after(release, clicks[:9])
    other = {"u": msgspec.structs.replace(short["u"], hidden=pack(np.zeros(4, np.float32)))}
    assert ["hidden" in wrong for wrong in undisturbed.different(short, other, {"a", "b"})] == [True]
    assert list(undisturbed.different(short, other, {"a"})) == []  # `b` is none of the release's


def test_decisions_need_evidence_and_a_watcher() -> None:
    assert aftermath.without_evidence([CANARY, DONE], "by hand") == []
    bare = msgspec.structs.replace(DONE, evidence={})
    assert aftermath.without_evidence([CANARY, bare], "by hand") == [f"{bare} names no evidence"]
    for away, patience, wrong in (
        ([(0, 5_000)], 90_000, 0), ([(0, 5_000)], 91_000, 1),
        ([(0, 5_000), (20_000, 40_000)], 60_000, 0), ([(0, 5_000), (20_000, 40_000)], 61_000, 1),
        ([(0, 5_000), (90_000, 110_000)], 0, 1),
    ):  # fmt: skip
        late = msgspec.structs.replace(DONE, reason="too few users to tell")
        assert len(aftermath.decided_unwatched([CANARY, late], away, patience)) == wrong


def test_bad_records_have_one_letter_each() -> None:
    class Letter:
        def __init__(self, offset: int) -> None:
            self.headers = [("topic", b"clicks"), ("partition", b"3"), ("offset", str(offset).encode())]

    ledger = Ledger(bad=[Sent("bad", "u", 0.0, 1.0, 3, offset) for offset in (5, 6)])
    assert aftermath.letters_of(ledger, [Letter(5), Letter(6)]) == []
    assert aftermath.letters_of(ledger, [Letter(5)]) == ["0 letters of (3, 6)"]
    assert aftermath.letters_of(ledger, [Letter(5), Letter(6), Letter(6)]) == ["2 letters of (3, 6)"]
    assert aftermath.letters_of(ledger, [Letter(5), Letter(6), Letter(7)]) == ["1 letters of (3, 7)"]


def test_memory_that_grows_is_found() -> None:
    memory = Memory(Fleet(Path()))
    assert aftermath.grown(memory, 50, 100) == ["no process lived through the second half"]
    memory.samples["flat", 1] = [(at, 300.0 + at % 7) for at in range(101)]
    memory.samples["young", 2] = [(at, 1.0 * at) for at in range(60, 101)]
    memory.samples["dead", 3] = [(at, 1.0 * at) for at in range(90)]
    assert aftermath.grown(memory, 50, 100) == []
    memory.samples["leaking", 4] = [(at, 300.0 + at) for at in range(101)]
    assert "memory of leaking went from 309.5 to 390.5 MB" in aftermath.grown(memory, 0, 100)[0]
