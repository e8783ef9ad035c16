"""Clicks into the states of their users: one step of the student for all of them, then each history.

Owns the agreement of hidden states with the release that answers: those of another one's student are computed
anew from the histories. Knows no lists.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from learner.data.events import KIND_OF_WORD, Kind
from learner.data.inputs import log_gap
from streams.hot_path.live import Live
from streams.hot_path.user_states import UserStates
from streams.hot_path.world import Fate, Outcome, Unsound, World
from streams.wire.contract import Click
from streams.wire.intake import Arrival


def fold(outcomes: Sequence[Outcome], states: UserStates, world: World) -> None:
    """Applies clicks to the states of their users, who are all different."""
    clicks: list[tuple[Outcome, Click]] = []
    undone: list[tuple[Outcome, Click]] = []
    for outcome in outcomes:
        click = outcome.arrival.message
        assert isinstance(click, Click)
        if click.event == Kind.IMPRESSION.word:
            _see(outcome, click, states, world)
        elif click.undo:
            undone.append((outcome, click))
        else:
            clicks.append((outcome, click))
    if undone:
        _take_back(undone, states, world)
    if not clicks:
        return
    release = world.live.release
    slots = np.array([outcome.slot for outcome, _ in clicks], np.int64)
    items, times, kinds, values = _columns([click for _, click in clicks], world)
    gaps = log_gap(times, np.where(states.events[slots] == 0, -1, states.last_ms[slots]))
    hidden, vector = release.step(
        release.model.vectors[items],
        kinds,
        gaps,
        release.normalised(kinds, values),
        states.hidden[slots, : release.hidden_size],
    )
    if world.checked and not (np.isfinite(hidden).all() and np.isfinite(vector).all()):
        raise Unsound(f"{release.id}: the student gives states that are not finite; train a new release")
    states.hidden[slots, : release.hidden_size] = hidden
    states.vector[slots, : release.vector_size] = vector
    states.stamp(slots, release.id)
    for row, (outcome, click) in enumerate(clicks):
        states.append(
            outcome.slot,
            int(items[row]),
            click.timestamp,
            int(kinds[row]),
            float(values[row]),
            outcome.digest,
        )
        states.note_applied(outcome.slot, outcome.arrival.partition, outcome.arrival.offset)


def _see(outcome: Outcome, click: Click, states: UserStates, world: World) -> None:
    """Notes what a user was shown; an item that nobody announced or clicked on does not join for that."""
    index = world.catalogue.index
    states.see(outcome.slot, [index[item] for item in click.shown if item in index], click.timestamp)
    states.note_applied(outcome.slot, outcome.arrival.partition, outcome.arrival.offset)


def _take_back(undone: Sequence[tuple[Outcome, Click]], states: UserStates, world: World) -> None:
    """Takes events back; the states of their users are encoded anew from what is left."""
    changed = []
    for outcome, click in undone:
        item = world.catalogue.index.get(click.item_id, -1)
        if states.take_back(outcome.slot, item, KIND_OF_WORD[click.event]):
            changed.append(outcome.slot)
        else:
            outcome.fate = Fate.IDLE
        states.remember_id(outcome.slot, outcome.digest)
        states.note_applied(outcome.slot, outcome.arrival.partition, outcome.arrival.offset)
    reencode(changed, states, world.live)


def prepare(arrivals: Sequence[Arrival], states: UserStates, live: Live) -> None:
    """What comes before `recommend`, where no `Serving` sees to it: the arrivals' users are `live`'s."""
    users = (arrival.user_id for arrival in arrivals)
    reencode(list(states.foreign(users, live.release.id)), states, live)


def reencode(slots: Sequence[int], states: UserStates, live: Live) -> None:
    """Computes hidden states anew from the histories, for users whose state is another student's.

    Items may have joined under another release meanwhile: this one follows first. At most 128 student steps,
    whatever the number of users.
    """
    if not slots:
        return
    live.follow()
    release = live.release
    states.fit(release.id, release.hidden_size, release.vector_size)
    rows = np.array(slots, np.int64)
    histories = states.gather(rows)
    # Longest first, so that whoever has a further event comes before all others; all that can be looked up at
    # once is: what a step does around the student took longer than the student.
    order = np.argsort(-histories.length, kind="stable")
    rows, length = rows[order], histories.length[order]
    steps = int(length.max(initial=0))
    by_step = np.ix_(order, np.arange(steps))
    times = histories.times[by_step].T
    gaps = log_gap(times, np.concatenate([np.full((1, len(rows)), -1), times])[:steps])
    kinds = histories.kinds[by_step].T.astype(np.int64)
    vectors = release.model.vectors[histories.items[by_step].T]
    values = release.normalised(histories.kinds, histories.values)[by_step].T
    hidden = np.zeros((len(rows), release.hidden_size), np.float32)
    vector = np.tile(release.initial_vector, (len(rows), 1))
    for step, n in enumerate((length[None] > np.arange(steps)[:, None]).sum(1).tolist()):
        hidden[:n], vector[:n] = release.step(
            vectors[step, :n], kinds[step, :n], gaps[step, :n], values[step, :n], hidden[:n]
        )
    states.hidden[rows, : release.hidden_size] = hidden
    states.vector[rows, : release.vector_size] = vector
    states.stamp(rows, release.id)
    states.reencoded += len(slots)


def _columns(
    clicks: Sequence[Click], world: World
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Numbers of the items, times, kinds and values (n,) each; a click without a value has nan."""
    items = np.array([_number(click.item_id, world) for click in clicks], np.int32)
    times = np.array([click.timestamp for click in clicks], np.int64)
    kinds = np.array([KIND_OF_WORD[click.event] for click in clicks], np.int64)
    values = np.full(len(clicks), np.nan, np.float32)
    for row, click in enumerate(clicks):
        if click.value is not None:
            values[row] = click.value
    return items, times, kinds, values


def _number(item_id: str, world: World) -> int:
    """The item's number; an item nobody announced joins the catalogue without content."""
    number = world.catalogue.index.get(item_id)
    if number is None:
        number = world.catalogue.intern(item_id)
        world.live.follow()
    return number
