"""Nextclick and its parts under replay: who learns what after the split, and that none sees the future."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from learner.data.dataset import load_interactions, load_items
from learner.data.events import Kind
from learner.evaluation.leaks import leak
from learner.evaluation.plan import plan, stream_from
from learner.evaluation.replay import play
from learner.evaluation.system import Ask, Training
from learner.release.files import read_manifest
from streams.hot_path.policy import Policy
from streams.replay.parts import PARTS, part
from streams.replay.releases import ReplayReleaseError, check
from streams.wire.contract import Rules
from streams.wire.steering import Cap, Pin, Tilt
from tests.worlds.replay_world import EVENTS, ITEMS, POLICY, USERS, stream, untrained_release

RULES = Rules(
    filter={"not": {"field": "categories", "eq": "nothing"}}, caps=[Cap("categories", 2)], diversity=0.2,
    boost=[Tilt({"field": "title", "exists": True}, 2.0)],
)  # fmt: skip


@pytest.fixture
def trained(tmp_path):
    """A release for a first part; with `known` of that many items of the stream."""
    return lambda first, known=None: untrained_release(
        first, tmp_path / f"release-{first.size}-{known}", known
    )


@pytest.fixture
def trainable(monkeypatch):
    """Releases of `trained` get a ranker that can be trained further."""
    torch = pytest.importorskip("torch")
    from learner.models.ranker import Ranker, RankerConfig
    from learner.models.ranker_export import ranker_model
    from learner.ranking.columns import FEATURES

    torch.manual_seed(0)
    model = ranker_model([Ranker(np.zeros(len(FEATURES)), np.ones(len(FEATURES)), RankerConfig()).eval()])
    monkeypatch.setattr("tests.worlds.replay_world.ranker", lambda: model)


def test_under_a_scenario_lists_obey_it_and_what_acted_is_counted(trained):
    made = plan(stream(), split=0.7, repeats=False)
    blocked = made.stream.item_ids[int(made.stream.item[0])]
    rules = Rules(block=[blocked], pin=[Pin(made.stream.item_ids[int(made.stream.item[1])], 1)])
    system = walked(part("nextclick_scenario", trained, POLICY, rules=rules)(), made, made.split)
    for number in made.asked[:20].tolist():
        event = made.stream.event(number)
        ranking = system.rank(Ask(event.user, event.time_ms, None))
        assert made.stream.item_ids.index(blocked) not in ranking.items.tolist()
    told = system.describe()
    assert told["lists"] >= 20
    assert set(told["rules_acted"]) <= {"block", "pin"}
    assert told["rules_acted"]["pin"] > 0


def walked(system, made, until):
    """The system after the events before `until`."""
    system.fit(made.first_part())
    for number in range(until):
        event = made.stream.event(number)
        for item in made.entries_before.get(number, ()):
            system.announce(item, made.stream.records[item], event.time_ms)
        for item in made.entries_after.get(number, ()):
            system.announce(item, made.stream.records[item], event.time_ms)
        system.learn(event, bool(made.lists[number]))
        if isinstance(system, Training) and number >= made.split:
            system.train()
    return system


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("announce", ["strict", "start"])
def test_no_part_sees_the_future(name, announce, trained):
    made = plan(stream(), split=0.7, announce=announce, repeats=False)
    asked = made.asked
    for number in (asked[0], asked[len(asked) // 2])[: 1 if name == "teacher" else 2]:
        made_part = part(name, trained, POLICY, distilled=trained, rules=RULES, blind=trained)
        assert leak(made_part, made, int(number)) is None


@pytest.mark.parametrize("name", ["nextclick", "student"])
def test_on_recorded_clicks_no_part_sees_the_future(name, data_folder, trained):
    folder = data_folder("movietweetings-100k")
    clicks = load_interactions(folder / "interactions.csv.gz").in_order(0).at(slice(0, 1000))
    made = plan(stream_from(clicks, load_items(folder / "items.csv.gz")), split=0.9)
    known = next(n for n in made.asked.tolist() if not made.slices["cold_users"][n])
    for number in (known, int(made.asked[-1])):
        assert leak(part(name, trained, Policy(exploration=0.0)), made, number) is None


def test_a_clicks_list_is_the_ranking_right_after_it(trained):
    """But for what the learner adds: the worker answers before the learner has told it of the click."""
    made = plan(stream(), split=0.7, repeats=False)
    system = walked(part("nextclick_state", trained, POLICY)(), made, made.split + 5)
    event = made.stream.event(made.split + 5)
    shown = system.learn(event, True)
    ranking = system.rank(Ask(event.user, event.time_ms, None))
    assert shown.tolist() == ranking.top(10, made.id_rank).tolist()


def test_the_first_part_folded_many_at_a_time_is_the_first_part_folded_one_by_one(trained, monkeypatch):
    made = plan(stream(), split=0.7, repeats=False)
    found = {}
    for at_once in (1, 64):
        monkeypatch.setattr("streams.replay.systems.AT_ONCE", at_once)
        system = part("nextclick", trained, POLICY)()
        found[at_once] = play(system, made), system.offline
    (one, single), (many, batched) = found.values()
    np.testing.assert_array_equal(one.position, many.position)
    np.testing.assert_array_equal(one.last_list, many.last_list)
    assert single.world.catalogue.ids == batched.world.catalogue.ids
    assert single.states.index == batched.states.index
    users = list(single.states.index.values())
    np.testing.assert_array_equal(single.states.events[users], batched.states.events[users])
    np.testing.assert_allclose(single.states.hidden[users], batched.states.hidden[users], atol=1e-5)


def test_what_stands_still_after_the_split(trained):
    made = plan(stream(), split=0.7, repeats=False)
    rest = made.stream.size - made.split
    ends = {}
    for name in ("nextclick", "nextclick_state", "nextclick_frozen"):
        system = walked(part(name, trained, POLICY)(), made, made.stream.size)
        world = system.offline
        ends[name] = (int(world.states.events.sum()), world.world.signals.total)
    impressions = int((made.stream.kind == Kind.IMPRESSION).sum())
    clicks = int(made.interest.sum())
    late_clicks = int(made.interest[-rest:].sum())
    assert ends["nextclick"] == (EVENTS - impressions, clicks)
    assert ends["nextclick_state"] == (EVENTS - impressions, clicks - late_clicks)
    assert ends["nextclick_frozen"][1] == clicks - late_clicks
    assert ends["nextclick_frozen"][0] < EVENTS - impressions


def test_a_frozen_user_is_not_shown_what_was_had_since(trained):
    made = plan(stream(), split=0.7, repeats=False)
    system = walked(part("nextclick_frozen", trained, POLICY)(), made, made.stream.size)
    for user in range(USERS):
        mine = (made.stream.user == user) & (made.stream.kind == Kind.CLICK)
        had = set(made.stream.item[mine].tolist())
        assert not had & set(system.rank(Ask(user, int(made.stream.time_ms[-1]), None)).items.tolist())


def test_the_student_ranks_everything_by_its_own_score(trained):
    made = plan(stream(), split=0.7, repeats=False)
    system = walked(part("student", trained, POLICY)(), made, made.split)
    ask = Ask(3, int(made.stream.time_ms[made.split]), None)
    ranking = system.rank(ask)
    world, states = system.offline.world, system.offline.states
    user = states.vector[system.offline.slot("u3")]
    ids = [made.stream.item_ids[item] for item in ranking.items]
    numbers = np.array([world.catalogue.index[item] for item in ids])
    plain = world.live.release.model.vectors[numbers] @ user
    assert world.live.release.model.prior_weight == 0.25
    assert np.corrcoef(plain, ranking.scores)[0, 1] > 0.8  # the rest is the popularity prior
    before, mine = slice(0, made.split), made.stream.user == 3
    known = set(made.stream.item[before].tolist())
    barred = set(made.stream.item[before][(mine & (made.stream.kind != Kind.IMPRESSION))[before]].tolist())
    assert set(ranking.items.tolist()) == known - barred


def test_an_ask_that_comes_again_knows_what_has_been_learned_since(trained):
    made = plan(stream(), split=0.7, repeats=False)
    system = walked(part("nextclick", trained, POLICY)(), made, made.split)
    for event in map(made.stream.event, np.flatnonzero(made.lists)[-40:].tolist()):
        ask = Ask(event.user, event.time_ms, None)
        before, (named, by) = system.rank(ask), system.proposals(ask)
        assert set(before.items.tolist()) <= set(named.tolist())
        assert by.shape == (len(named), len(system.sources))
        if event.item in before.items:
            break
    system.learn(event, True)
    assert event.item not in system.rank(ask).items
    assert event.item not in system.proposals(ask)[0]


@pytest.mark.parametrize("name", ["cold_random", "cold_no_content"])
def test_controls_have_the_slots_of_nextclick_and_differ_in_them_alone(name, trained):
    made = plan(stream(), split=0.7, announce="start", repeats=False)
    whole = walked(part("nextclick", trained, POLICY)(), made, made.split)
    control = walked(part(name, trained, POLICY)(), made, made.split)
    never = np.bincount(made.stream.item[: made.split][made.interest[: made.split]], minlength=ITEMS) == 0
    assert never.any()
    slots = 0
    for user in range(USERS):
        ask = Ask(user, int(made.stream.time_ms[made.split]), None)
        ours = whole.rank(ask)
        ours_items = ours.top(len(ours.items), made.id_rank)
        theirs = control.rank(ask).items
        assert len(set(theirs.tolist())) == len(theirs) == len(ours_items)
        np.testing.assert_array_equal(never[theirs], never[ours_items])
        np.testing.assert_array_equal(theirs[~never[theirs]], ours_items[~never[ours_items]])
        slots += int(never[theirs].sum())
    assert slots


def test_what_a_release_knows_too_early_is_left_out_until_it_enters(trained):
    made = plan(stream(), split=0.7, repeats=False)
    first = made.first_part()
    # As `nextclick train --items` makes it: with the whole catalogue.
    late = [n for n in range(ITEMS) if made.entry[n] >= made.split]
    assert late
    knowing = replace(first, records=made.stream.records)
    system = part("nextclick", lambda _: trained(knowing, ITEMS), POLICY)()
    system.fit(first)
    ranking = system.rank(Ask(0, int(first.time_ms[-1]), None))
    assert not set(late) & set(ranking.items.tolist())
    item = late[0]
    system.announce(item, made.stream.records[item], 0)
    number = system.offline.world.catalogue.index[made.stream.item_ids[item]]
    assert system.offline.world.catalogue.available[number]


def test_a_late_item_gets_the_vector_of_its_text(trained):
    made = plan(stream(), split=0.7, repeats=False)
    system = part("nextclick", trained, POLICY)()
    system.fit(made.first_part())
    late = next(n for n in range(ITEMS) if made.entry[n] >= made.split)
    system.announce(late, made.stream.records[late], 0)
    world = system.offline.world
    number = world.catalogue.index[made.stream.item_ids[late]]
    release = world.live.release
    assert release.own[number]
    assert release.model.content[number].any()
    np.testing.assert_allclose(
        release.model.vectors[number], release.embed(release.model.content[number], []), atol=1e-6
    )
    assert system.describe()["texts_read_later"] == 1


def test_proposals_name_their_sources(trained):
    made = plan(stream(), split=0.7, repeats=False)
    outcome = play(part("nextclick", trained, POLICY)(), made)
    assert {"ann", "popular_now", "rules", "union"} <= set(outcome.recalled)
    hit = outcome.recalled["union"]
    for source in outcome.recalled.values():
        assert not (source & ~hit).any()
    assert not (np.isfinite(outcome.position) & ~hit).any()


def test_a_release_that_has_seen_the_answers_is_refused(trained, tmp_path):
    made = plan(stream(), split=0.7, repeats=False)
    manifest = read_manifest(Path(trained(made.first_part())))
    check(manifest, made.first_part(), tmp_path)
    check(manifest, plan(stream(), split=0.8, repeats=False).first_part(), tmp_path)
    with pytest.raises(ReplayReleaseError, match="has seen what will be asked"):
        check(manifest, plan(stream(), split=0.6, repeats=False).first_part(), tmp_path)
    with pytest.raises(ReplayReleaseError, match="seed 0"):
        check(manifest, plan(stream(), split=0.7, repeats=False, seed=1).first_part(), tmp_path)
    with pytest.raises(ReplayReleaseError, match="repeat_consumption"):
        check(manifest, plan(stream(), split=0.7, repeats=True).first_part(), tmp_path)


@pytest.mark.learner
def test_the_teacher_learns_a_walk_and_ranks_what_comes_next(trained, monkeypatch):
    pytest.importorskip("torch")
    from learner.models.teacher import TeacherConfig
    from streams.replay.teacher import TeacherAlone

    quick = TeacherConfig(epochs=80, learning_rate=1e-2, dropout=0.0, id_dropout=0.0, warmup_steps=5)
    monkeypatch.setattr(TeacherAlone, "transformer", quick)
    user = np.tile(np.arange(USERS, dtype=np.int32), EVENTS // USERS + 1)[:EVENTS]
    place = (np.arange(EVENTS) // USERS + 7 * user) % ITEMS
    walk = replace(stream(), user=user, item=place.astype(np.int32), kind=np.full(EVENTS, 1, np.uint8))
    made = plan(walk, split=0.7, repeats=True)
    outcome = play(part("teacher", trained, POLICY)(), made)
    assert np.mean(outcome.position <= 3) > 0.7


@pytest.mark.learner
@pytest.mark.usefixtures("trainable")
def test_a_ranker_that_goes_on_learning_sees_no_future(trained, monkeypatch):
    from streams.replay import refreshed

    monkeypatch.setattr(refreshed.Refreshed, "every", 10)
    monkeypatch.setattr(refreshed, "_lost_more", lambda *_: 0.0)  # the refreshed one always answers
    made = plan(stream(), split=0.6, repeats=True)
    assert leak(part("nextclick", trained, POLICY, "ranker"), made, int(made.asked[-1])) is None
    system = part("nextclick", trained, POLICY, "ranker")()
    play(system, made)
    assert system.refreshes_served == system.refreshes >= 5


@pytest.mark.learner
@pytest.mark.usefixtures("trainable")
@pytest.mark.parametrize("worth", [1.0, -1.0])
def test_a_refreshed_ranker_answers_only_while_it_is_no_worse(trained, monkeypatch, worth):
    from streams.replay import refreshed

    monkeypatch.setattr(refreshed.Refreshed, "every", 10)
    monkeypatch.setattr(refreshed, "_lost_more", lambda *_: worth)
    monkeypatch.setattr(
        refreshed.Calibration, "offsets", lambda _, size: np.zeros(size, np.float32)
    )  # which are served by a rule of their own
    made = plan(stream(), split=0.6, repeats=True)
    system = part("nextclick", trained, POLICY, "ranker")()
    play(system, made)
    assert system.refreshes_served == (system.refreshes if worth > 0 else 0)
    still = walked(part("nextclick", trained, POLICY)(), made, made.stream.size)
    ask = Ask(1, int(made.stream.time_ms[-1]), None)
    ours, theirs = system.rank(ask), still.rank(ask)
    assert ours.items.tolist() == theirs.items.tolist()
    assert np.allclose(ours.scores, theirs.scores, atol=1e-5) == (worth < 0)


@pytest.mark.learner
@pytest.mark.usefixtures("trainable")
def test_what_rankers_have_lost_fades(trained, monkeypatch):
    from streams.replay import refreshed

    lost = iter([1.0, -3.0, 5.0])  # of the lead 1, -2.1, 3.1, and it stays above 0
    monkeypatch.setattr(refreshed.Refreshed, "every", 10)
    monkeypatch.setattr(refreshed, "_lost_more", lambda *_: next(lost, 0.0))
    system = part("nextclick", trained, POLICY, "ranker")()
    play(system, plan(stream(), split=0.6, repeats=True))
    assert system.refreshes_served == system.refreshes - 1 >= 3


@pytest.mark.learner
def test_what_a_ranker_lost_is_the_answers_cross_entropy():
    pytest.importorskip("torch")
    from learner.models.ranker import Ranker, RankerConfig
    from learner.ranking.lists import Lists
    from streams.replay.refreshed import _lost_more

    def linear(weight):
        return Ranker(
            np.zeros(1, np.float32), np.ones(1, np.float32), RankerConfig(), np.array([weight], np.float32)
        )

    features = np.array([[[2.0], [0.0], [9.0]], [[1.0], [3.0], [0.0]]], np.float32)
    lists = Lists(features, np.array([0, 1]), np.array([[True, True, False], [True, True, True]]))
    ignorant = math.log(2) + math.log(3)  # all candidates alike; the third of the first list is none
    knowing = math.log1p(math.exp(-2)) + math.log1p(math.exp(-2) + math.exp(-3))
    one, other = (linear(weight).scores(lists.features) for weight in (0.0, 1.0))
    assert _lost_more(one, other, lists) == pytest.approx(ignorant - knowing, abs=1e-5)


@pytest.mark.learner
@pytest.mark.usefixtures("trainable")
def test_what_is_trained_from_time_to_time_knows_no_later_click(trained, monkeypatch):
    from streams.replay import retrained

    monkeypatch.setattr(retrained.Retrained, "growth", 0.4)
    seen = []
    genuine = retrained.train_release

    def watched(data, records, folder, *rest, **options):
        seen.append((len(data), int(data.time_ms.max()), len(records)))
        return genuine(data, records, folder, *rest, **options)

    monkeypatch.setattr(retrained, "train_release", watched)
    made = plan(stream(), split=0.6, repeats=True)
    system = part("nextclick", trained, POLICY, "periodic", 0.03)()
    outcome = play(system, made)
    assert system.trainings == len(seen) == 1
    clicks = made.split + int(0.4 * made.split)
    assert seen[0][:2] == (clicks, int(made.stream.time_ms[clicks - 1]))
    assert seen[0][2] <= len(set(made.stream.item[:clicks].tolist()))
    live = system.offline.world.live
    assert live.release.manifest.data.events == clicks
    current = {
        system.offline.states.releases[n] for n in system.offline.states.release[: len(system.offline.states)]
    }
    assert current == {live.release.id}
    assert np.isfinite(outcome.position).any()


def test_without_content_neither_training_nor_lists_know_what_items_are_about(trained):
    made = plan(stream(), split=0.7, repeats=False)
    seen = []

    def train(first):
        seen.append([record for record in first.records if record is not None])
        return trained(first)

    system = walked(part("nextclick_no_content", trained, POLICY, blind=train)(), made, made.stream.size)
    assert seen[0]
    assert not any(record.title or record.categories or record.tags for record in seen[0])
    world = system.offline.world
    assert world.catalogue.records
    assert not any(record.title for record in world.catalogue.records.values())
    assert not world.live.release.model.content.any()
    told = walked(part("nextclick_signals", trained, POLICY)(), made, made.stream.size)
    assert told.offline.world.live.release.model.content.any()
