"""One contract for every baseline and control, then each streaming one against its slow, obvious self."""

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learner.data.events import Kind
from learner.data.times import DAY_MS, HOUR_MS
from learner.evaluation.baselines import BASELINES, CONTROLS, baseline
from learner.evaluation.baselines.memory import Memory
from learner.evaluation.baselines.pairs import PairTable
from learner.evaluation.leaks import altered_future, leak
from learner.evaluation.plan import plan
from learner.evaluation.replay import play
from learner.evaluation.report import report
from learner.evaluation.system import Ask, Stream
from learner.judging.metrics import hit

pytestmark = pytest.mark.learner
ITEMS, RING = 60, 12


def stream_of(user, item, time_ms=None, kind=None, items=ITEMS):
    n = len(user)
    return Stream(
        user=np.array(user, np.int32),
        item=np.array(item, np.int32),
        time_ms=np.arange(n) * int(HOUR_MS) + 10**12 if time_ms is None else np.array(time_ms, np.int64),
        kind=np.full(n, Kind.CLICK, np.uint8) if kind is None else np.array(kind, np.uint8),
        value=np.full(n, np.nan, np.float32),
        scenario=[None] * n,
        user_ids=[f"u{number}" for number in range(max(user) + 1)],
        item_ids=[f"i{number:03d}" for number in range(items)],
        records=[None] * items,
    )


def ring_world(users=120, length=8, seed=0, noise=0.1):
    """Each user walks round a ring of 12 of the 60 items from a random place; a tenth of steps are noise.

    After item 5 of a ring comes item 6: a world with one right answer.
    """
    rng = np.random.default_rng(seed)
    events = []
    for user in range(users):
        ring, place = rng.integers(ITEMS // RING), rng.integers(RING)
        taken = set()
        for step in range(length):
            item = int(ring * RING + (place + step) % RING)
            if rng.random() < noise:
                item = int(rng.integers(ITEMS))
            if item not in taken:
                taken.add(item)
                events.append((user * 2.0 + step + rng.random(), user, item))
    events.sort()
    return stream_of([event[1] for event in events], [event[2] for event in events])


@pytest.fixture(scope="module", autouse=True)
def few_epochs():
    """SASRec learns a ring in eight epochs; the figure for real data is three times that."""
    from learner.evaluation.baselines import sasrec

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sasrec, "EPOCHS", 8)
        yield


@pytest.fixture(scope="module")
def world():
    return plan(ring_world(), split=0.7)


@pytest.fixture(scope="module")
def outcomes(world):
    return {name: play(baseline(name)(), world) for name in BASELINES + CONTROLS}


@pytest.mark.parametrize("name", BASELINES + CONTROLS)
def test_lists_hold_what_is_eligible_and_nothing_else(name, world):
    system = baseline(name)()
    system.fit(world.first_part())
    known, consumed = set(), defaultdict(set)
    for number in range(world.stream.size):
        event = world.stream.event(number)
        if number >= world.split and number % 7 == 0:
            ranking = system.rank(Ask(event.user, event.time_ms, None))
            items = ranking.items.tolist()
            eligible = known - consumed[event.user]
            assert len(set(items)) == len(items)
            assert set(items) <= eligible
            assert len(items) >= min(20, len(eligible))
            assert len(ranking.scores) == len(items)
            shown = ranking.top(10, world.id_rank).tolist()
            assert len(shown) == min(10, len(eligible))
        known.add(event.item)
        consumed[event.user].add(event.item)
        listed = system.learn(event, listed=True)
        assert event.item not in listed.tolist()
        assert len(listed) == min(10, len(known - consumed[event.user]))


@pytest.mark.parametrize("name", BASELINES + CONTROLS)
@pytest.mark.parametrize("announce", ["strict", "start"])
def test_nothing_leaks_from_the_future(name, announce):
    stream = ring_world(users=60)
    made = plan(stream, split=0.7, announce=announce)
    # Training is slow, and what it may see is the same for all.
    for number in [made.split] if name == "sasrec" else (made.split, made.split + 41):
        assert leak(baseline(name), made, number) is None


def test_the_leak_test_finds_a_leak():
    stream = ring_world(users=20)
    made = plan(stream, split=0.7)

    class Peeking(baseline("popularity")):
        def rank(self, ask):
            ranking = super().rank(ask)
            ranking.scores = ranking.scores + (ranking.items == self.answer)
            return ranking

    def make(future):
        system = Peeking()
        system.answer = int(future.item[made.split])
        return system

    futures = iter([stream, altered_future(stream, made.split, 0)])
    assert leak(lambda: make(next(futures)), made, made.split) is not None


@pytest.mark.parametrize("name", BASELINES + CONTROLS)
def test_the_same_seed_gives_the_same_figures(name, world, outcomes):
    again = play(baseline(name)(), world)
    assert np.array_equal(again.position, outcomes[name].position)
    assert np.array_equal(again.last_list, outcomes[name].last_list, equal_nan=True)


@pytest.mark.parametrize("name", BASELINES)
def test_users_without_history_get_decayed_popularity(name, world):
    asked = Ask(len(world.stream.user_ids) - 1, int(world.stream.time_ms[-1]), None)
    lists = []
    for maker in (baseline(name), baseline("popularity")):
        system = maker()
        system.fit(world.first_part())
        for number in range(world.split):
            system.learn(world.stream.event(number), listed=False)
        lists.append(system.rank(asked).top(10, world.id_rank).tolist())
    assert lists[0] == lists[1]


@pytest.mark.parametrize("name", BASELINES)
def test_tuning_is_reported(name, outcomes):
    tuning = outcomes[name].description["tuning"]
    assert tuning["settings"] > 0
    assert tuning["events"] > 0
    assert tuning["chosen"]


def test_the_right_answer_is_found_where_there_is_one(outcomes):
    found = {name: hit(outcome.position).mean() for name, outcome in outcomes.items()}
    for name in ("item_knn", "sequence_rules", "blend", "vmis_knn", "ials", "sasrec"):
        assert found[name] > 1.5 * found["popularity"], (name, found)
    first = {name: (outcome.position == 1).mean() for name, outcome in outcomes.items()}
    assert first["sequence_rules"] > 0.5


@pytest.mark.parametrize("name", CONTROLS)
def test_controls_score_like_chance(name, world):
    positions, chances = [], []
    for seed in range(3):
        made = plan(ring_world(seed=seed), split=0.7, announce="start", seed=seed)
        outcome = play(baseline(name)(), made)
        positions.append(outcome.position)
        earlier = [np.sum(made.stream.user[:k] == made.stream.user[k]) for k in made.asked]
        chances.append(10 / (ITEMS - np.array(earlier)))
    found, chance = hit(np.concatenate(positions)), np.concatenate(chances)
    spread = np.sqrt((chance * (1 - chance)).sum()) / len(chance)
    assert abs(found.mean() - chance.mean()) < 4 * spread


def test_the_report_takes_every_system(world, outcomes):
    told = report([world], [list(outcomes.values())], main="blend", resamples=50)
    assert set(told["systems"]) == set(BASELINES + CONTROLS)
    assert told["best_baseline"] != "blend"


@settings(max_examples=30, deadline=None)  # the first example compiles
@given(
    st.lists(st.tuples(st.integers(0, 6), st.lists(st.integers(0, 6), max_size=5)), max_size=60),
    st.booleans(),
)
def test_the_pair_table_agrees_with_a_dictionary(rows, both):
    table, expected = PairTable(7, 2), Counter()
    for item, recent in rows:
        weights = np.array([np.arange(1.0, len(recent) + 1), np.full(len(recent), 0.5)])
        table.add(item, np.array(recent, np.int32), weights, both=both)
        for place, earlier in enumerate(recent):
            expected[earlier, item] += place + 1
            if both:
                expected[item, earlier] += place + 1
    for first in range(7):
        for second in range(7):
            assert table.get(first, second)[0] == expected[first, second]
    assert len(table) == len(expected)


def test_the_pair_table_grows():
    table = PairTable(300, 1)
    for item in range(300):
        recent = np.arange(item, dtype=np.int32)[-200:]
        table.add(item, recent, np.ones((1, len(recent))), both=True)
    assert len(table) == 2 * sum(min(item, 200) for item in range(300))
    assert table.get(299, 99)[0] == table.get(99, 299)[0] == 1.0
    assert table.get(299, 98)[0] == 0.0


def test_popularity_is_the_sum_of_decayed_clicks():
    made = plan(stream_of([0, 1, 2, 3], [5, 6, 5, 6], [0, 2 * HOUR_MS, 3 * HOUR_MS, 9 * HOUR_MS]), split=0.5)
    memory = Memory(made.first_part(), [HOUR_MS, DAY_MS, np.inf])
    for number in range(4):
        memory.learn(made.stream.event(number))
    now = 10
    for row, half_life in enumerate((1, 24)):
        told = 2.0 ** (memory.popularity[row] - now / half_life)
        assert told[5] == pytest.approx(2 ** (-10 / half_life) + 2 ** (-7 / half_life))
        assert told[6] == pytest.approx(2 ** (-8 / half_life) + 2 ** (-1 / half_life))
    assert 2.0 ** memory.popularity[2, [5, 6]] == pytest.approx([2, 2])


def naive(made, end):
    """Histories, clicks, co-occurrence and plain and decayed rules before event `end`, the slow way."""
    stream = made.stream
    history, clicks = defaultdict(list), Counter()
    together, rules = Counter(), defaultdict(list)
    for k in range(end):
        user, item = int(stream.user[k]), int(stream.item[k])
        for distance, earlier in enumerate(reversed(history[user][-50:]), 1):
            together[earlier, item] += 1
            together[item, earlier] += 1
            if distance <= 10:
                rules[earlier, item].append((1 / distance, int(stream.time_ms[k])))
        history[user].append(item)
        clicks[item] += 1
    return history, clicks, together, rules


def running(name, world):
    system = baseline(name)()
    system.fit(world.first_part())
    for number in range(world.split):
        system.learn(world.stream.event(number), listed=False)
    return system


def test_item_knn_agrees_with_its_formula(world):
    system = running("item_knn", world)
    history, clicks, together, _ = naive(world, world.split)
    shrink, power = system.normaliser
    for user in range(0, 80, 7):
        ranking = system.rank(Ask(user, 10**13, None))
        for item, score in zip(ranking.items.tolist(), ranking.scores.tolist(), strict=True):
            recent = history[user][-system.last :]
            total = sum(together[q, item] / np.sqrt(clicks[q] + 1) for q in recent)
            assert score == pytest.approx(total / (clicks[item] + shrink) ** power)


@pytest.mark.parametrize("half_life_ms", [None, 6 * HOUR_MS])
def test_sequence_rules_agree_with_their_formula(world, half_life_ms):
    system = baseline("sequence_rules")()
    system.fit(world.first_part())
    system.decay_ms, system.normaliser, system.last = half_life_ms, (2.0, 0.5), 5
    system.memory = system.remember(world.first_part())
    for number in range(world.split):
        system.learn(world.stream.event(number), listed=False)
    history, clicks, _, rules = naive(world, world.split)
    now = int(world.stream.time_ms[world.split])
    # Decayed sums are in units of a click at some reference time, the same for all.
    unit = 1.0 if half_life_ms is None else float(system.memory.unit(now)[0])
    checked = 0
    for user in range(0, 80, 7):
        recent = history[user][::-1][:5]
        ranking = system.rank(Ask(user, now, None))
        for item, score in zip(ranking.items.tolist(), ranking.scores.tolist(), strict=True):
            total = sum(
                weight / place * (1.0 if half_life_ms is None else 2 ** (-(now - at) / half_life_ms))
                for place, q in enumerate(recent, 1)
                for weight, at in rules[q, item]
            )
            assert score / unit == pytest.approx(total / (clicks[item] + 2.0) ** 0.5, rel=1e-6)
            checked += total > 0
    assert checked > 50


def test_decayed_rules_survive_a_reference_far_away():
    # Twenty years with a half-life of an hour: 175,000 halvings, far beyond what a float holds.
    years = [int(year * 365 * DAY_MS) + step * int(HOUR_MS) for year in range(0, 20, 5) for step in range(2)]
    made = plan(stream_of([0, 0, 1, 1, 2, 2, 3, 3], [1, 2, 1, 3, 1, 2, 1, 3], years), split=0.5)
    memory = Memory(made.first_part(), [DAY_MS], rules=[HOUR_MS])
    for number in range(8):
        memory.learn(made.stream.event(number))
    told = [memory.rules.get(1, item)[1] / memory.unit(years[-1])[0] for item in (2, 3)]
    assert told == [0.0, 1.0]
    assert memory.rules.get(1, 2)[0] == 2.0
