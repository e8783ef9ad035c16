"""Events that are taken back, and impressions: against a plain list of what happened."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from learner.data.events import AVERSION, CONSUMPTION, KIND_OF_WORD, Kind
from learner.data.times import DAY_MS
from streams.hot_path.fallen import Bar
from streams.hot_path.fold import reencode
from streams.hot_path.histories import BLOCK, BLOCKS, HISTORY
from streams.hot_path.impressions import MOST, TIMES
from streams.hot_path.recommend import recommend
from streams.hot_path.state_record import decode_state
from streams.hot_path.user_states import UserStates
from streams.hot_path.world import Fate, World
from streams.wire.contract import Click
from streams.wire.intake import Arrival
from tests.worlds.rounds import NOW, world

WORDS = [kind.word for kind in Kind]


def bar_of(kind: Kind) -> Bar:
    if kind in AVERSION:
        return Bar.REFUSED
    return Bar.CONSUMED if kind in CONSUMPTION else Bar.VIEWED


@dataclass
class Plain:
    """What the state should know, in lists and dicts."""

    events: list[tuple[str, Kind, int]] = field(default_factory=list)  # item, kind, time
    older: dict[str, tuple[Bar, int]] = field(default_factory=dict)  # strongest bar, last day
    shown: dict[str, list[int]] = field(default_factory=dict)  # times

    def take(self, click: Click) -> bool:
        """Whether it changes anything."""
        kind = KIND_OF_WORD[click.event]
        if kind is Kind.IMPRESSION:
            for item in reversed(click.shown[:MOST]):
                self.shown[item] = sorted({*self.shown.pop(item, []), click.timestamp})
            self.shown = dict(list(self.shown.items())[-MOST:])
            return True
        if not click.undo:
            self.shown.pop(click.item_id, None)
            if len(self.events) == BLOCK * BLOCKS:
                for item, met, time_ms in self.events[:BLOCK]:
                    bar, day = self.older.get(item, (bar_of(met), 0))
                    self.older[item] = max(bar, bar_of(met)), max(day, time_ms // DAY_MS)
                del self.events[:BLOCK]
            self.events.append((click.item_id, kind, click.timestamp))
            return True
        for place in reversed(range(len(self.events))):
            if self.events[place][:2] == (click.item_id, kind):
                del self.events[place]
                return True
        if self.older.get(click.item_id, (None,))[0] == bar_of(kind):
            del self.older[click.item_id]
            return True
        return False

    def barred(self, least: Bar, back_before_ms: int | None) -> set[str]:
        met = {(item, bar_of(kind), time_ms) for item, kind, time_ms in self.events}
        met |= {(item, bar, (day + 1) * DAY_MS - 1) for item, (bar, day) in self.older.items()}
        return {
            item
            for item, bar, time_ms in met
            if bar >= least and (bar is Bar.REFUSED or back_before_ms is None or time_ms >= back_before_ms)
        }

    def too_often(self, times: int, within_ms: int, now_ms: int) -> set[str]:
        return {
            item
            for item, at in self.shown.items()
            if len(at) >= times and now_ms - at[-min(times, TIMES)] < within_ms
        }


def happenings(rng: np.random.Generator, count: int) -> list[Click]:
    """Events of one user, an eighth of them taken back sooner or later, on days that pass."""
    items = [f"more-{number}" for number in range(30)]
    made: list[Click] = []
    time_ms = NOW
    for n in range(count):
        time_ms += int(rng.exponential(DAY_MS / 8))
        word, undo = str(rng.choice(WORDS)), bool(rng.random() < 0.2)
        if word == "impression":
            shown = [str(item) for item in rng.choice(items, rng.integers(1, 9))]
            made.append(
                Click(event_id=f"e{n}", user_id="u", event="impression", timestamp=time_ms, items=shown)
            )
            continue
        item, of = str(rng.choice(items)), [each for each in made if each.item_id and not each.undo]
        if undo and of and rng.random() < 0.8:  # else of something that may never have been
            back = of[-int(min(rng.geometric(0.02), len(of)))]
            item, word = back.item_id, back.event
        made.append(Click(
            event_id=f"e{n}", user_id="u", item_id=item, event=word, timestamp=time_ms,  # type: ignore[arg-type]
            undo=undo, history=True,
        ))  # fmt: skip
    return made


def check(states: UserStates, plain: Plain, known: World, rng: np.random.Generator, now_ms: int) -> None:
    ids, slot = known.catalogue.ids, states.index["u"]
    histories = states.gather(np.array([slot]))
    length = int(histories.length[0])
    assert [ids[item] for item in histories.items[0, :length]] == [e[0] for e in plain.events[-HISTORY:]]
    assert histories.kinds[0, :length].tolist() == [e[1] for e in plain.events[-HISTORY:]]
    back = [None, now_ms - int(rng.integers(60 * DAY_MS))]
    for least in Bar:
        for before in back:
            barred = {ids[item] for item in states.barred(slot, histories, 0, least, before)}
            assert barred == plain.barred(least, before), (least, before)
    times, within = int(rng.integers(1, 11)), int(rng.integers(60 * DAY_MS))
    found = {ids[item] for item in states.shown_too_often(slot, times, within, now_ms)}
    assert found == plain.too_often(times, within, now_ms)


@pytest.mark.parametrize("seed", range(6))
def test_states_follow_a_plain_list_of_what_happened(seed: int) -> None:
    """Through undos, replays, rounds that fail and the changelog alike."""
    rng = np.random.default_rng(seed)
    known, states = world()
    plain = Plain()
    fates: dict[Fate, int] = {}
    for offset, click in enumerate(happenings(rng, 900)):
        arrival = Arrival(click, 0, offset)
        if rng.random() < 0.1:  # a round that fails
            before = states.checkpoint(["u"])
            recommend([arrival], states, known, click.timestamp, rng=None)
            states.undo(before)
        (outcome,) = recommend([arrival], states, known, click.timestamp, rng=None)
        changed = plain.take(click)
        assert outcome.fate is (Fate.DONE if changed else Fate.IDLE), click
        assert outcome.recommendation is None
        fates[outcome.fate] = fates.get(outcome.fate, 0) + click.undo
        if rng.random() < 0.1:  # delivered again, and sent again
            again = recommend([arrival, Arrival(click, 0, offset)], states, known, click.timestamp, rng=None)
            assert {each.fate for each in again} == {Fate.REPLAYED}
        if click.undo and changed and rng.random() < 0.2:
            fresh = UserStates(known.live.release.hidden_size, known.live.release.vector_size)
            slot = fresh.restore(decode_state(states.encode(0, known.catalogue)), known.catalogue)
            reencode([slot], fresh, known.live)
            np.testing.assert_allclose(states.hidden[0], fresh.hidden[slot], rtol=1e-5, atol=1e-6)
        if rng.random() < 0.1:
            states.restore(decode_state(states.encode(0, known.catalogue)), known.catalogue)
        if rng.random() < 0.2:
            check(states, plain, known, rng, click.timestamp)
    check(states, plain, known, rng, click.timestamp)
    assert min(fates.values()) > 5
    assert plain.older


def sent(offset: int, word: str, item: str, undo: bool = False, event: str = "") -> Arrival:
    click = Click(
        event_id=event or f"e{offset}", user_id="u", item_id=item, event=word,  # type: ignore[arg-type]
        timestamp=NOW + offset, undo=undo,
    )  # fmt: skip
    return Arrival(click, 0, offset)


def test_an_undo_that_is_sent_twice_takes_back_one_event() -> None:
    known, states = world()
    bought = [sent(0, "purchase", "more-1"), sent(1, "purchase", "more-1"), sent(2, "hide", "more-2")]
    recommend(bought, states, known, NOW, rng=None)
    undos = [
        sent(3, "purchase", "more-1", undo=True, event="undo"),
        sent(4, "purchase", "more-1", True, "undo"),
    ]
    outcomes = recommend([*undos, sent(5, "purchase", "more-1", event="e1")], states, known, NOW, rng=None)
    assert [outcome.fate for outcome in outcomes] == [Fate.DONE, Fate.DUPLICATE, Fate.DUPLICATE]
    assert states.events[states.index["u"]] == 2
    assert states.applied[states.index["u"]] == 5


def test_what_was_hidden_or_returned_is_listed_again() -> None:
    known, states = world()
    first = [sent(0, "hide", "more-2"), sent(1, "purchase", "more-1"), sent(2, "view", "more-3")]
    outcomes = recommend(first, states, known, NOW, rng=None)
    later = [sent(3, "hide", "more-2", True), sent(4, "purchase", "more-1", True)]
    outcomes = recommend(later, states, known, NOW, rng=None)
    assert [outcome.recommendation for outcome in outcomes] == [None, None]
    slot = states.index["u"]
    histories = states.gather(np.array([slot]))
    assert states.barred(slot, histories, 0, Bar.CONSUMED).tolist() == []
    alone, fresh = world()
    recommend([sent(2, "view", "more-3")], fresh, alone, NOW, rng=None)
    np.testing.assert_allclose(states.hidden[slot], fresh.hidden[fresh.index["u"]], rtol=1e-5, atol=1e-6)


def test_all_that_is_taken_back_leaves_a_new_user() -> None:
    known, states = world()
    recommend([sent(0, "click", "more-2"), sent(1, "click", "more-2", True)], states, known, NOW, rng=None)
    slot = states.index["u"]
    assert states.events[slot] == 0
    np.testing.assert_array_equal(states.vector[slot], known.live.release.initial_vector)


def test_an_impression_of_unknown_items_adds_none() -> None:
    known, states = world()
    size = known.catalogue.size
    seen = Click(
        event_id="s", user_id="u", event="impression", timestamp=NOW, items=["never-heard-of", "more-1"]
    )
    recommend([Arrival(seen, 0, 0)], states, known, NOW, rng=None)
    assert known.catalogue.size == size
    slot = states.index["u"]
    assert states.shown_too_often(slot, 1, DAY_MS, NOW).tolist() == [known.catalogue.index["more-1"]]
    assert states.shown_too_often(-1, 1, DAY_MS, NOW).tolist() == []
    assert states.idle(NOW + 1).tolist() == [slot]  # it leaves memory as others do
    assert states.idle(NOW).tolist() == []


def impression(time_ms: int, *items: str) -> Arrival:
    event = f"s{time_ms}-{items}"
    seen = Click(event_id=event, user_id="u", event="impression", timestamp=time_ms, items=tuple(items))
    return Arrival(seen, 0, time_ms)


def test_what_was_away_takes_as_many_impressions_again() -> None:
    known, states = world()
    item = known.catalogue.index["more-1"]

    def away(now_ms: int, times: int = 3) -> bool:
        return item in states.shown_too_often(states.index["u"], times, DAY_MS, now_ms).tolist()

    before = NOW - 10 * DAY_MS
    recommend([impression(before + n, "more-1") for n in range(3)], states, known, before, rng=None)
    assert away(before + 2)
    assert not away(before + DAY_MS)
    recommend([impression(NOW, "more-1"), impression(NOW + 5, "more-1")], states, known, NOW, rng=None)
    assert not away(NOW + 5)
    assert away(NOW + 5, times=2)
    recommend([impression(NOW + 9, "more-1")], states, known, NOW, rng=None)
    assert away(NOW + 9)
    assert not away(NOW + DAY_MS)


def test_an_impression_that_is_sent_again_counts_once_also_behind_later_ones() -> None:
    known, states = world()
    recommend([impression(NOW, "more-1")], states, known, NOW, rng=None)
    slot = states.index["u"]
    for time_ms in (NOW + 1, NOW, NOW + 1, NOW):
        states.see(slot, [known.catalogue.index["more-1"]], time_ms)
    assert states.shown[slot].counts.tolist() == [2]
    for time_ms in (*range(NOW + 2, NOW + 12), NOW, NOW + 1):  # of those ten the newest eight are known
        states.see(slot, [known.catalogue.index["more-1"]], time_ms)
    assert states.shown[slot].counts.tolist() == [12]
    assert states.shown_too_often(slot, 12, 9, NOW + 12).tolist() == [known.catalogue.index["more-1"]]
    assert states.shown_too_often(slot, 13, 9, NOW + 12).tolist() == []
