"""Which release answers whom, and the way back from one that fails in the middle of a round."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from learner.data.catalogue import Item
from learner.release.live import LiveRelease
from streams.hot_path import stragglers
from streams.hot_path.live import Live
from streams.hot_path.pace import WINDOW, Pace
from streams.hot_path.recommend import recommend
from streams.hot_path.serving import PROBATION_CLICKS, PROBATION_SECONDS, Round, Serving
from streams.hot_path.state_record import decode_state
from streams.hot_path.user_states import UserStates
from streams.hot_path.work import work_of
from streams.hot_path.world import Fate, Outcome, World
from streams.releases.canary import assign
from streams.wire.contract import Click, Forget, Request, Rules
from streams.wire.intake import Arrival
from streams.wire.steering import Cap
from tests.worlds.rounds import NOW, arrivals, world
from tests.worlds.served import poisoned, served_bundle

ITEMS = [Item(item_id=f"more-{number}") for number in range(30)]
USUAL = Request(request_id="r", user_id="u")


class Failures(list[tuple[str, str]]):
    def __call__(self, release: str, reason: str) -> None:
        self.append((release, reason))


def beside(world: World, release: str, *poison: str) -> Live:
    """A second release over the same items, with the models named in `poison` poisoned."""
    bundle = poisoned(served_bundle(release, ITEMS), *poison)
    return Live(LiveRelease(bundle, world.catalogue), world.catalogue)


def serving() -> tuple[Serving, UserStates, Failures]:
    known, states = world()
    known.catalogue.intern("nobody-announced-me")
    failures = Failures()
    return Serving(known, failures), states, failures


def answer(serving: Serving, states: UserStates, some: list[Arrival]) -> list[Outcome]:
    return serving.answer(Round(some, states, NOW, None, NOW))


def releases(outcomes: list[Outcome]) -> set[str]:
    return {o.recommendation.release for o in outcomes if o.recommendation is not None}


def encoded(states: UserStates, world: World) -> dict[str, bytes]:
    return {user: states.encode(slot, world.catalogue) for user, slot in states.index.items()}


@pytest.mark.parametrize("fault", ["student", "ranker"])
@pytest.mark.parametrize("role", ["live", "canary"])
@pytest.mark.parametrize("history", [0, 400])
def test_a_round_under_a_failing_release_is_answered_as_if_it_had_not_been_there(
    fault: str, role: str, history: int
) -> None:
    """Lists and states are those of a worker that has never seen the release."""
    some = arrivals(np.random.default_rng(1), users=5, count=history + 60)
    ours, states, failures = serving()
    theirs, peaceful, _ = serving()
    for at in range(0, history, 40):
        answer(ours, states, some[at : at + 40])
        answer(theirs, peaceful, some[at : at + 40])
    before = ours.world.live.release.id
    bad = beside(ours.world, "r-bad", fault)
    if role == "live":
        ours.swap(bad)
    else:
        ours.begin_canary(bad, 0.5)
    for at in range(history, history + 60, 20):
        got = answer(ours, states, some[at : at + 20])
        expected = answer(theirs, peaceful, some[at : at + 20])
        assert [(o.fate, o.changed) for o in got] == [(o.fate, o.changed) for o in expected]
        assert [o.recommendation for o in got] == [o.recommendation for o in expected]
    assert [release for release, _ in failures] == ["r-bad"]
    assert "not finite" in failures[0][1]
    assert [live.release.id for live in ours.loaded] == [before]
    assert encoded(states, ours.world) == encoded(peaceful, theirs.world)


def test_blocks_of_long_histories_survive_an_undo() -> None:
    ours, states, _ = serving()
    theirs, peaceful, _ = serving()
    clicks = [
        Arrival(
            Click(
                event_id=f"e{n}", user_id=f"u{n % 2}", item_id=f"more-{n * 7 % 30}", event="click",
                timestamp=NOW + n,
            ), 0, n,
        )
        for n in range(700)
    ]  # fmt: skip
    for at in range(0, 700, 50):
        part = clicks[at : at + 50]
        before = states.checkpoint({arrival.user_id for arrival in part})
        recommend(part, states, ours.world, NOW, None)
        states.undo(before)
        recommend(part, states, ours.world, NOW, None)
        recommend(part, peaceful, theirs.world, NOW, None)
    assert encoded(states, ours.world) == encoded(peaceful, theirs.world)
    blocks = states._blocks[states._blocks >= 0].tolist() + states._histories._free
    assert sorted(blocks) == list(range(len(states._histories.items)))  # none lost, none given twice


def test_a_canary_gets_its_users_and_no_list_is_mixed() -> None:
    ours, states, _ = serving()
    ours.begin_canary(beside(ours.world, "r-canary"), 0.4)
    for outcome in answer(ours, states, arrivals(np.random.default_rng(2), users=40, count=200)):
        if outcome.recommendation is not None:
            chosen = assign(outcome.arrival.user_id, 0.4, "r-canary")
            assert (outcome.recommendation.release == "r-canary") == chosen
    ours.end_canary()
    outcomes = answer(ours, states, arrivals(np.random.default_rng(3), users=40, count=50))
    assert releases(outcomes) == {ours.world.live.release.id}


def test_states_are_carried_over_by_touch_and_in_idle_time() -> None:
    ours, states, _ = serving()
    some = arrivals(np.random.default_rng(4), users=20, count=150)
    answer(ours, states, some)
    second = beside(ours.world, "r-second")
    ours.swap(second)
    idle = 0
    while done := ours.idle(states, 3):
        assert done <= 3
        idle += done
    assert idle == sum(states.events > 0)
    fresh = UserStates(second.release.hidden_size, second.release.vector_size)
    recommend(some, fresh, replace(ours.world), NOW, None)
    for user, slot in fresh.index.items():
        np.testing.assert_allclose(
            states.hidden[states.index[user]], fresh.hidden[slot], atol=1e-4, err_msg=user
        )


def test_a_release_that_fails_while_nobody_waits_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, states, failures = serving()
    answer(ours, states, arrivals(np.random.default_rng(4), users=20, count=150))
    before = ours.world.live.release.id
    bad = beside(ours.world, "bad")
    ours.swap(bad)

    def fails(*_: object) -> None:
        raise ValueError("no such history")

    monkeypatch.setattr(bad.release, "step", fails)
    ours.idle(states, 16)
    assert ours.world.live.release.id == before
    assert failures == [("bad", "ValueError: no such history")]
    ours.swap(bad)
    ours.forget_before()
    with pytest.raises(ValueError, match="no such history"):  # nothing to go back to: the worker's affair
        ours.idle(states, 16)


def test_probation_ends_and_the_release_before_is_let_go() -> None:
    now = [0.0]
    known, states = world()
    ours = Serving(known, Failures(), clock=lambda: now[0])
    first = known.live
    ours.swap(beside(known, "r-second"))
    some = arrivals(np.random.default_rng(5), users=50, count=PROBATION_CLICKS)
    for at in range(0, len(some), 50):
        answer(ours, states, some[at : at + 50])
    assert ours.before is first
    now[0] += PROBATION_SECONDS
    answer(ours, states, some[:1])
    assert ours.before is None


def test_a_release_that_is_several_times_slower_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    known, states = world()
    failures = Failures()
    ours = Serving(known, failures, clock=lambda: now[0])
    first, second = known.live, beside(known, "r-slow")
    ours.idle(states, 1)

    def timed(*arguments: object) -> list[Outcome]:
        now[0] += 0.2 if ours.world.live is second else 0.02
        return recommend(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("streams.hot_path.serving.recommend", timed)
    some = arrivals(np.random.default_rng(6), users=4, count=3 * WINDOW)
    for place in range(WINDOW):
        answer(ours, states, some[place : place + 1])
    ours.swap(second)
    for place in range(WINDOW, 3 * WINDOW):
        answer(ours, states, some[place : place + 1])
    assert ours.world.live is first
    assert [release for release, _ in failures] == ["r-slow"]
    assert "ms" in failures[0][1]


def test_what_is_asked_of_a_release_does_not_make_it_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few who ask for long lists with rules of their own do not end a canary."""
    now = [0.0]
    known, states = world()
    failures = Failures()
    ours = Serving(known, failures, clock=lambda: now[0])
    long = Request(request_id="r", user_id="u", k=1000, rules=Rules(caps=[Cap("brand", 1)]))

    def timed(some: list[Arrival], *rest: object) -> list[Outcome]:
        now[0] += 0.002 * sum(work_of(each) for each in some)
        return recommend([replace(each, message=USUAL) for each in some], *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("streams.hot_path.serving.recommend", timed)
    for place in range(WINDOW):
        answer(ours, states, [Arrival(USUAL, 0, place)])
    ours.begin_canary(beside(known, "r-canary"), 1.0)
    for place in range(WINDOW, 3 * WINDOW):
        answer(ours, states, [Arrival(long, 0, 2 * place + n) for n in (0, 1)])
    assert ours.canary is not None
    assert failures == []


def test_a_pace_is_judged_by_medians_and_only_where_somebody_waits() -> None:
    usual, fast, slow, noisy = Pace(), Pace(), Pace(), Pace()
    for round_ in range(WINDOW):
        usual.observe(0.010, 1)  # 2 ms a click
        fast.observe(0.022, 1)
        slow.observe(0.100, 1)
        noisy.observe(2.0 if round_ % 3 == 0 else 0.010, 1)
        assert slow.slower_than(None) is None
    assert fast.slower_than(usual) is None
    assert noisy.slower_than(usual) is None
    assert slow.slower_than(Pace()) is None
    assert Pace().slower_than(usual) is None
    assert slow.slower_than(usual) is not None


def test_releases_of_other_sizes_share_the_states() -> None:
    states = UserStates(4, 4)
    slot = states.slot("u")
    states.stamp(slot, "small")
    states.hidden[slot] = 1
    states.fit("wide", 6, 5)
    assert states.hidden.shape[1] == 6
    assert states.vector.shape[1] == 5
    assert states.hidden[slot].tolist() == [1, 1, 1, 1, 0, 0]
    other = states.slot("w")
    states.stamp(other, "wide")
    catalogue = world()[0].catalogue
    assert len(decode_state(states.encode(slot, catalogue)).hidden_state()) == 4
    assert len(decode_state(states.encode(other, catalogue)).hidden_state()) == 6


def test_a_round_after_a_swap_takes_others_along() -> None:
    both, states, _ = serving()
    answer(both, states, arrivals(np.random.default_rng(0), users=9, count=60))
    both.swap(beside(both.world, "r-20231114-221321-next"))
    waiting = set(states.stale([both.world.live.release.id]).tolist())
    assert len(waiting) > 5
    user = states.users[min(waiting)]
    click = Click(event_id="after", user_id=user, item_id="more-1", event="click", timestamp=NOW + 99)
    before = states.reencoded
    answer(both, states, [Arrival(click, 0, 10_000)])
    assert states.stale([both.world.live.release.id]).tolist() == []
    assert states.reencoded == before + len(waiting)  # each of them once


@pytest.mark.parametrize("role", ["live", "canary"])
def test_a_round_that_fails_under_every_release_is_no_releases_fault(
    role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, states, failures = serving()
    next_one = beside(ours.world, "r-next")
    if role == "live":
        ours.swap(next_one)
    else:
        ours.begin_canary(next_one, 1.0)

    def fail(*_: object) -> list[Outcome]:
        raise ZeroDivisionError

    some = arrivals(np.random.default_rng(1), users=3, count=9)
    with monkeypatch.context() as patch:
        patch.setattr("streams.hot_path.serving.recommend", fail)
        with pytest.raises(ZeroDivisionError):
            answer(ours, states, some)
    answer(ours, states, some)
    assert failures == []


def test_a_release_that_comes_under_suspicion_gets_a_way_back() -> None:
    """After its probation too: a worker that failed under it is started again with the one before."""
    ours, states, failures = serving()
    good = ours.world.live
    suspect = Serving(replace(ours.world, live=beside(ours.world, "r-bad", "ranker")), failures)
    some = arrivals(np.random.default_rng(1), users=3, count=9)
    suspect.begin_probation(good)
    assert releases(answer(suspect, states, some)) == {good.release.id}
    assert [release for release, _ in failures] == ["r-bad"]
    assert suspect.world.live is good


@pytest.mark.parametrize("idle", [False, True])
def test_states_are_encoded_from_items_that_have_joined_under_another_release(idle: bool) -> None:
    """Items with a vector, and more of them than the release's arrays have room for."""
    ours, states, failures = serving()
    second = beside(ours.world, "r-second")
    catalogue = ours.world.catalogue
    for n in range(3_000):
        catalogue.announce(Item(item_id=f"joined-{n}", categories=["c1"]))
    clicks = [
        Arrival(
            Click(event_id=f"e{n}", user_id="u", item_id=f"joined-{n}", event="click", timestamp=NOW + n),
            0,
            n,
        )
        for n in (3, 2_999, 5)
    ]
    for click in clicks[:2]:
        answer(ours, states, [click])
    ours.swap(second)
    if idle:
        assert ours.idle(states, 8) == 1
    else:
        answer(ours, states, [replace(clicks[2], message=Request(request_id="r", user_id="u"))])
    assert (ours.world.live, failures) == (second, [])
    fresh = UserStates(second.release.hidden_size, second.release.vector_size)
    for click in clicks[:2]:
        recommend([click], fresh, replace(ours.world), NOW, None)
    np.testing.assert_allclose(states.hidden[states.slot("u")], fresh.hidden[fresh.slot("u")], atol=1e-4)


@pytest.mark.parametrize("role", ["live", "canary"])
@pytest.mark.parametrize("asking", ["click", "request"])
def test_who_was_taken_along_by_a_round_that_fails_is_as_before(role: str, asking: str) -> None:
    ours, states, failures = serving()
    answer(ours, states, arrivals(np.random.default_rng(0), users=9, count=60))
    states.hidden[:] += 0.5  # as no history says it
    bad = beside(ours.world, "r-bad", "ranker")
    if role == "live":
        ours.swap(bad)
    else:
        ours.begin_canary(bad, 1.0)
    before = encoded(states, ours.world)
    message: Click | Request = Request(request_id="r", user_id="u1")
    if asking == "click":
        message = Click(event_id="new", user_id="u1", item_id="more-1", event="click", timestamp=NOW + 99)
    answer(ours, states, [Arrival(message, 0, 10_000)])
    assert [release for release, _ in failures] == ["r-bad"]
    after = encoded(states, ours.world)
    changed = {user for user, state in after.items() if state != before[user]}
    assert changed == ({"u1"} if asking == "click" else set())


def test_no_round_looks_at_all_users_after_a_swap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stragglers, "STRETCH", 16)
    ours, states, _ = serving()
    for n in range(200):
        click = Click(event_id=f"e{n}", user_id=f"u{n}", item_id="more-1", event="click", timestamp=NOW + n)
        answer(ours, states, [Arrival(click, 0, n)])
    looked: list[int] = []
    stale = states.stale

    def noted(releases: Any, slots: range) -> Any:
        looked.append(len(slots))
        return stale(releases, slots)

    monkeypatch.setattr(states, "stale", noted)
    ours.swap(beside(ours.world, "r-second"))
    waiting = 200
    for n in range(200, 230):
        before, at = states.reencoded, len(looked)
        click = Click(
            event_id=f"e{n}", user_id=f"u{n - 200}", item_id="more-2", event="click", timestamp=NOW + n
        )
        answer(ours, states, [Arrival(click, 0, n)])
        assert sum(looked[at:]) <= 16
        waiting -= states.reencoded - before
    assert waiting < 200 - 30  # others were taken along
    while done := ours.idle(states, 8):
        waiting -= done
    assert waiting == 0
    at = len(looked)
    ours.idle(states, 8)
    assert looked[at:] == []  # all is done: nobody is looked at until something changes
    states.restore(
        decode_state(states.encode(3, ours.world.catalogue).replace(b"r-second", b"r-third0")),
        ours.world.catalogue,
    )
    assert ours.idle(states, 8) == 1


def test_whether_views_consume_is_what_the_release_of_a_list_says() -> None:
    ours, states, _ = serving()
    views = [
        Arrival(
            Click(event_id=f"e{n}", user_id="u", item_id=f"more-{n}", event="view", timestamp=NOW + n), 0, n
        )
        for n in range(5)
    ]
    answer(ours, states, views)
    bundle = served_bundle("r-views", ITEMS, views_consume=True)
    for live, consumed in (
        (ours.world.live, False),
        (Live(LiveRelease(bundle, ours.world.catalogue), ours.world.catalogue), True),
    ):
        ours.swap(live)
        (made,) = answer(ours, states, [Arrival(Request(request_id="r", user_id="u", k=30), 0, 1)])
        assert made.recommendation is not None
        shown = {item.item_id for item in made.recommendation.items}
        assert ({f"more-{n}" for n in range(5)} & shown == set()) == consumed


@pytest.mark.parametrize("history", [1, 400])
def test_a_user_who_is_forgotten_begins_anew_and_a_round_that_fails_forgets_nobody(history: int) -> None:
    def click(n: int, offset: int) -> Arrival:
        item = f"more-{n % 30}"
        message = Click(event_id=f"e{n}", user_id="u", item_id=item, event="click", timestamp=NOW + n)
        return Arrival(message, 0, offset)

    wish = Arrival(Forget(user_id="u", event="forget"), 0, 1_000)
    ours, states, failures = serving()
    for at in range(0, history, 50):
        answer(ours, states, [click(n, n) for n in range(at, min(at + 50, history))])
    before = encoded(states, ours.world)
    ours.begin_canary(beside(ours.world, "r-bad", "ranker"), 1.0)
    asked = Arrival(Request(request_id="r", user_id="v"), 0, 1)
    checkpoint = states.checkpoint(["u"])
    recommend([wish], states, ours.world, NOW, None)
    states.undo(checkpoint)
    assert encoded(states, ours.world) == before
    first, _, late, _ = answer(ours, states, [wish, asked, click(0, 1_001), click(5, 990)])
    assert (failures[0][0], first.fate, first.changed, first.recommendation) == (
        "r-bad",
        Fate.DONE,
        True,
        None,
    )
    assert late.recommendation is not None  # the event's id is forgotten too
    fresh, new, _ = serving()
    answer(fresh, new, [click(0, 1_001)])
    theirs = decode_state(states.encode(states.index["u"], ours.world.catalogue))
    expected = decode_state(new.encode(new.index["u"], fresh.world.catalogue))
    assert theirs == expected  # what stood before the wish is replayed, not folded
    assert answer(ours, states, [wish])[0].fate is Fate.REPLAYED
    blocks = states._blocks[states._blocks >= 0].tolist() + states._histories._free
    assert sorted(blocks) == list(range(len(states._histories.items)))
