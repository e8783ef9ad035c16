"""Visitors who turn out to be users: nothing is lost or doubled, whoever crashes and whatever comes twice."""

import json
from typing import Any

import msgspec
import numpy as np
import pytest

from learner.data.catalogue import Catalogue
from learner.data.times import DAY_MS
from learner.signals.settings import SignalSettings
from learner.signals.state import Signals
from streams.hot_path.fallen import Bar
from streams.hot_path.fold import prepare
from streams.hot_path.recommend import recommend
from streams.hot_path.state_record import decode_state
from streams.hot_path.user_states import UserStates
from streams.hot_path.world import Fate, Outcome, World
from streams.learning.counting import Counting
from streams.wire.clock import Clock
from streams.wire.contract import Click, Forget, Merge, Merged, Request, encode
from streams.wire.event_ids import event_hash
from streams.wire.intake import Arrival, admit
from streams.wire.partitioner import partition_of
from tests.worlds.rounds import NOW, world

PARTITIONS = 3


class Brokers:
    """Logs of clicks and requests, and a worker a partition that may die between sending and keeping."""

    def __init__(self, rng: np.random.Generator, crashes: float = 0.0) -> None:
        self.rng, self.crashes = rng, crashes
        self.known: list[World] = []
        self.states: list[UserStates] = []
        for _ in range(PARTITIONS):
            known, states = world()
            self.known.append(known)
            self.states.append(states)
        self.logs: list[list[bytes]] = [[] for _ in range(PARTITIONS)]
        self.read = [0] * PARTITIONS
        self.kept: list[dict[str, bytes]] = [{} for _ in range(PARTITIONS)]
        self.lists: dict[str, str] = {}  # by trigger, whose list it is
        self.fates: dict[Fate, int] = {}

    def send(self, message: Any) -> None:
        self.logs[partition_of(message.user_id.encode(), PARTITIONS)].append(encode(message))

    def step(self, partition: int) -> None:
        first = self.read[partition]
        last = min(first + int(self.rng.integers(1, 5)), len(self.logs[partition]))
        arrivals = []
        for offset in range(first, last):
            verdict = admit(
                self.logs[partition][offset], partition, offset, requests=False, partitions=PARTITIONS,
                refuses=lambda _: None, forgets=True,
            )  # fmt: skip
            assert isinstance(verdict, Arrival)
            arrivals.append(verdict)
        states, known = self.states[partition], self.known[partition]
        prepare(arrivals, states, known.live)
        outcomes = recommend(arrivals, states, known, NOW, rng=None)
        for outcome in outcomes:
            for sent in outcome.forwards:
                self.send(sent)
        if self.rng.random() < self.crashes:  # what was sent is sent, what was known is read again
            self.states[partition] = UserStates(states.hidden.shape[1], states.vector.shape[1])
            for value in self.kept[partition].values():
                self.states[partition].restore(decode_state(value), known.catalogue)
            return
        for outcome in outcomes:
            self._keep(partition, outcome)
        self.read[partition] = last

    def _keep(self, partition: int, outcome: Outcome) -> None:
        states = self.states[partition]
        self.fates[outcome.fate] = self.fates.get(outcome.fate, 0) + 1
        if outcome.recommendation is not None:
            self.lists.setdefault(outcome.recommendation.trigger.id, outcome.recommendation.user)
        user = outcome.arrival.user_id
        self.kept[partition][user] = states.encode(states.index[user], self.known[partition].catalogue)

    def run(self) -> None:
        while waiting := [n for n in range(PARTITIONS) if self.read[n] < len(self.logs[n])]:
            self.step(int(self.rng.choice(waiting)))

    def history(self, user: str) -> list[tuple[str, str]]:
        home = partition_of(user.encode(), PARTITIONS)
        if user not in self.kept[home]:
            return []
        return [(e["item_id"], e["event"]) for e in decode_state(self.kept[home][user]).history()]


def counted(logs: list[list[bytes]]) -> dict[str, float]:
    """What the learner counts of the same records."""
    catalogue = Catalogue()
    learner = Counting(Signals(SignalSettings(), catalogue, keep_offsets=True), catalogue, Clock("stream"))
    for partition, log in enumerate(logs):
        for offset, value in enumerate(log):
            learner.count(value, partition, offset, NOW + DAY_MS)
    assert learner.counts["refused"] == 0
    return {item: float(learner.signals.count[number]) for number, item in enumerate(catalogue.ids)}


@pytest.mark.parametrize("seed", range(8))
def test_nothing_is_lost_or_doubled(seed: int) -> None:
    """Visitors become users, and one of these another one, while all of them click and workers die."""
    rng = np.random.default_rng(seed)
    brokers = Brokers(rng, crashes=0.25)
    becomes = {"v1": "b1", "v2": "b1", "v3": "b2", "b2": "b3"}
    users = ["v1", "v2", "v3", "b1", "b2", "b3"]
    merges = dict(zip(becomes, sorted(rng.integers(20, 150, 4).tolist()), strict=True))
    happened: list[Click] = []
    for n in range(220):
        for visitor in (v for v, at in merges.items() if at == n):
            wish = Merge(user_id=visitor, event="merge", into=becomes[visitor], timestamp=NOW + 1000 * n)
            brokers.send(wish)
            if rng.random() < 0.3:
                brokers.send(wish)
        user, word = (
            str(rng.choice(users)),
            str(rng.choice(["click", "view", "purchase", "hide", "impression"])),
        )
        click = Click(
            event_id=f"e{n}", user_id=user, item_id=f"more-{users.index(user) * 5 + rng.integers(5)}",
            event=word, timestamp=NOW + 1000 * n, undo=word != "impression" and bool(rng.random() < 0.15),  # type: ignore[arg-type]
        )  # fmt: skip
        happened.append(click)
        brokers.send(click)
        if rng.random() < 0.1:
            brokers.send(click)
        while rng.random() < 0.5:
            if waiting := [p for p in range(PARTITIONS) if brokers.read[p] < len(brokers.logs[p])]:
                brokers.step(int(rng.choice(waiting)))
    brokers.run()

    expected: dict[str, list[tuple[str, str]]] = {user: [] for user in users}
    for click in happened:
        user = click.user_id
        while user in becomes:
            user = becomes[user]
        events, event = expected[user], (click.item_id, click.event)
        if click.undo:  # whoever clicks on these items does so in one partition's order
            places = [place for place, each in enumerate(events) if each == event]
            if places:
                del events[places[-1]]
        elif click.event != "impression":
            events.append(event)
    # What is sent on comes behind what the user did meanwhile, as any click that comes late.
    found = {user: sorted(brokers.history(user)) for user in users}
    assert found == {user: sorted(events) for user, events in expected.items()}
    asking = {click.event_id for click in happened if click.is_interest}
    assert brokers.lists.keys() == asking
    assert brokers.fates[Fate.MOVED] > 0
    once = [click.item_id for click in happened if click.is_interest]
    assert {item: n for item, n in counted(brokers.logs).items() if n} == {
        item: once.count(item) for item in set(once)
    }


def settled(*messages: Any) -> Brokers:
    brokers = Brokers(np.random.default_rng(0))
    for message in messages:
        brokers.send(message)
        brokers.run()
    return brokers


def click(user: str, n: int, item: str, word: str = "click", at_ms: int | None = None) -> Click:
    return Click(
        event_id=f"{user}-{n}", user_id=user, item_id=item, event=word,  # type: ignore[arg-type]
        timestamp=NOW + n if at_ms is None else at_ms,
    )  # fmt: skip


def merge(visitor: str, user: str, n: int) -> Merge:
    return Merge(user_id=visitor, event="merge", into=user, timestamp=NOW + n)


def test_histories_come_in_order_of_time_and_states_are_encoded_anew() -> None:
    mine = [click("u", 1, "more-1"), click("u", 5, "more-5")]
    brokers = settled(*mine, click("v", 3, "more-3"), merge("v", "u", 6))
    assert [item for item, _ in brokers.history("u")] == ["more-1", "more-3", "more-5"]
    alone = settled(click("u", 1, "more-1"), click("u", 3, "more-3"), click("u", 5, "more-5"))
    home = partition_of(b"u", PARTITIONS)
    joined, plain = decode_state(brokers.kept[home]["u"]), decode_state(alone.kept[home]["u"])
    np.testing.assert_allclose(joined.hidden_state(), plain.hidden_state(), rtol=1e-5, atol=1e-6)
    assert (joined.events, joined.release) == (3, plain.release)


@pytest.mark.parametrize(("late", "whose"), [(DAY_MS - 1, "u"), (DAY_MS, "v")])
def test_a_visitor_is_the_user_for_a_day(late: int, whose: str) -> None:
    brokers = settled(merge("v", "u", 0), click("v", 1, "more-1", at_ms=NOW + late))
    assert brokers.lists == {"v-1": whose}
    assert brokers.history(whose) == [("more-1", "click")]


def test_a_visitors_request_is_the_users() -> None:
    brokers = settled(merge("v", "u", 0))
    home = partition_of(b"v", PARTITIONS)
    for timestamp in (None, NOW + DAY_MS):
        asked = Request(request_id="r", user_id="v", timestamp=timestamp)
        (outcome,) = recommend(
            [Arrival(asked, home, 9)], brokers.states[home], brokers.known[home], NOW, None
        )
        if timestamp is None:
            assert outcome.forwards == [msgspec.structs.replace(asked, user_id="u")]
        else:
            assert outcome.recommendation is not None


def test_of_two_merges_in_a_circle_the_later_one_holds() -> None:
    brokers = Brokers(np.random.default_rng(0))
    for message in (click("a", 1, "more-1"), click("b", 2, "more-2"), merge("a", "b", 3), merge("b", "a", 4)):
        brokers.send(message)
    brokers.send(click("a", 5, "more-3"))
    brokers.send(click("b", 6, "more-4"))
    brokers.run()
    assert brokers.history("b") == []
    assert {item for item, _ in brokers.history("a")} == {f"more-{n}" for n in (1, 2, 3, 4)}


def test_forgetting_either_works_afterwards() -> None:
    before = [click("v", 1, "more-1"), merge("v", "u", 2)]
    brokers = settled(*before, *(Forget(user_id=user, event="forget") for user in ("v", "u")))
    assert brokers.history("u") == []
    brokers.send(click("v", 9, "more-2"))
    brokers.run()
    assert brokers.lists["v-9"] == "v"


def test_what_a_heavy_visitor_had_met_comes_along_in_parts() -> None:
    brokers, (known, states) = Brokers(np.random.default_rng(0)), world()
    items = [f"{'long-' * 12}{number}" for number in range(3000)]
    home, theirs = partition_of(b"v", PARTITIONS), partition_of(b"u", PARTITIONS)
    states, known = brokers.states[home], brokers.known[home]
    slot = states.slot("v")
    for n, item in enumerate(items):
        number = known.catalogue.intern(item)
        states.append(slot, number, NOW - DAY_MS * (3000 - n), 6 if n % 3 else 2, 0.0, event_hash(f"e{n}"))
    states.see(slot, [number, 0], NOW)
    states.note_applied(slot, home, -1)
    brokers.send(merge("v", "u", 0))
    brokers.send(click("u", 1, "more-1"))
    brokers.run()
    sent = [value for value in brokers.logs[theirs] if b'"merged"' in value]
    assert len(sent) > 4
    assert max(map(len, sent)) < 100_000
    state, catalogue = brokers.states[theirs], brokers.known[theirs].catalogue
    slot = state.index["u"]
    histories = state.gather(np.array([slot]))
    for least, some in (
        (Bar.CONSUMED, [*items, "more-1"]),
        (Bar.REFUSED, [i for n, i in enumerate(items) if n % 3]),
    ):
        assert {catalogue.ids[n] for n in state.barred(slot, histories, 0, least)} == set(some)
    back = state.barred(slot, histories, 0, Bar.CONSUMED, NOW - 100 * DAY_MS)
    assert {catalogue.ids[n] for n in back} == {
        item for n, item in enumerate([*items, "more-1"]) if n % 3 or n >= 2900
    }
    assert len(state.shown_too_often(slot, 1, DAY_MS, NOW)) == 2
    again = [json.loads(value) for value in sent]
    for value in again:  # delivered twice, behind all else
        brokers.send(
            msgspec.convert(value | {"state": msgspec.Raw(json.dumps(value["state"]).encode())}, Merged)
        )
    brokers.run()
    assert state.events[slot] == 3001
    assert brokers.fates[Fate.DUPLICATE] == len(sent)


def test_a_state_that_no_worker_wrote_is_passed_over() -> None:
    bad = Merged(
        user_id="u", event="merged", merged_from="v", merge="0-0-0", timestamp=NOW,
        state=msgspec.Raw(b'{"v": 9}'),
    )  # fmt: skip
    brokers = settled(click("u", 1, "more-1"), bad)
    assert brokers.history("u") == [("more-1", "click")]
    assert brokers.fates[Fate.IDLE] == 1
