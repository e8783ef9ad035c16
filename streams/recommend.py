"""The hot path: a batch of arrivals and the state of the world go in, lists and changed states come out.

One function for the online worker, the offline replay and the tests. Time and randomness are
arguments. Knows no Kafka and no clock: `worker` brings arrivals and takes outcomes away.

The way of a click: fold it into the user's state, one student step, nearest items from the index,
union with the candidates of the signals, one feature kernel, one ranker call, the policy.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from learner.candidates import SOURCES, Asks, Candidates, propose
from learner.catalogue import Catalogue
from learner.events import INTEREST, KIND_OF_WORD, Kind
from learner.features import features
from learner.inputs import log_gap
from learner.signals import Signals
from streams.contract import Click, ListedItem, Reason, Recommendation, Request, Trigger
from streams.intake import Arrival
from streams.live import Live
from streams.policy import Place, Policy, draw_up
from streams.user_states import Histories, UserStates, event_hash


class Fate(Enum):
    """What became of an arrival."""

    DONE = "done"
    REPLAYED = "replayed"  # the state had already applied this offset
    DUPLICATE = "duplicate"  # a producer sent the same event id twice


@dataclass(slots=True)
class Outcome:
    """What an arrival led to: a list or none, and the slot whose state it changed or -1."""

    arrival: Arrival
    fate: Fate
    slot: int = -1
    recommendation: Recommendation | None = None

    @property
    def changed(self) -> bool:
        """Whether the user's state is another one now."""
        return self.fate is not Fate.REPLAYED and isinstance(self.arrival.message, Click)


@dataclass(slots=True)
class World:
    """All that lists are computed from, besides the users' states."""

    catalogue: Catalogue
    signals: Signals
    live: Live
    policy: Policy = field(default_factory=Policy)


@dataclass(slots=True)
class Ranked:
    """Candidates of a batch of asks with their scores, both (B, C), padded with -1 and -inf."""

    candidates: Candidates
    features: NDArray[np.float32]
    scores: NDArray[np.float32]


def recommend(
    arrivals: Sequence[Arrival],
    states: UserStates,
    world: World,
    now_ms: int,
    rng: np.random.Generator | None,
    made_ms: int | None = None,
) -> list[Outcome]:
    """Folds each arrival into its user's state and draws up the lists that the arrivals call for.

    At most one arrival a user (`rounds` sees to it): a user's next click is the next call's. `now_ms`
    is the clock's time, which clicks are answered at; a request may carry its own. `made_ms` is what
    lists carry as `created_at`, by default the same. `rng` None switches exploration off. Outcomes
    stand in the order of the arrivals.
    """
    outcomes = [_admit(arrival, states) for arrival in arrivals]
    clicks = [outcome for outcome in outcomes if outcome.fate is Fate.DONE and _is_click(outcome)]
    fold(clicks, states, world)
    asking = [outcome for outcome in outcomes if outcome.fate is Fate.DONE and _calls_for_list(outcome)]
    if asking:
        made_ms = now_ms if made_ms is None else made_ms
        _answer(asking, states, world, now_ms, rng, made_ms)
    return outcomes


def fold(outcomes: Sequence[Outcome], states: UserStates, world: World) -> None:
    """Applies clicks to their users' states: history first, then one student step for all of them."""
    stepping: list[Outcome] = []
    for outcome in outcomes:
        click, slot = outcome.arrival.message, outcome.slot
        assert isinstance(click, Click)
        states.applied[slot] = outcome.arrival.offset
        if click.event != Kind.IMPRESSION.word:
            stepping.append(outcome)
    if not stepping:
        return
    live, release = world.live, world.live.release
    slots = np.array([outcome.slot for outcome in stepping], np.int64)
    reencode([slot for slot in slots.tolist() if not _is_current(slot, states, live)], states, live)
    items = np.empty(len(stepping), np.int32)
    times = np.empty(len(stepping), np.int64)
    kinds = np.empty(len(stepping), np.int64)
    values = np.full(len(stepping), np.nan, np.float32)
    for row, outcome in enumerate(stepping):
        click = outcome.arrival.message
        assert isinstance(click, Click)
        items[row] = _number(click.item_id, world)
        times[row], kinds[row] = click.timestamp, KIND_OF_WORD[click.event]
        if click.value is not None:
            values[row] = click.value
    gaps = log_gap(times, np.where(states.events[slots] == 0, -1, states.last_ms[slots]))
    hidden, vector = release.step(
        release.model.vectors[items], kinds, gaps, release.normalised(kinds, values), states.hidden[slots]
    )
    states.hidden[slots], states.vector[slots] = hidden, vector
    for row, outcome in enumerate(stepping):
        click = outcome.arrival.message
        assert isinstance(click, Click)
        digest = event_hash(click.event_id)
        states.fold(
            outcome.slot, int(items[row]), click.timestamp, int(kinds[row]), float(values[row]), digest
        )
        states.stamp(outcome.slot, release.id)


def reencode(slots: Sequence[int], states: UserStates, live: Live) -> None:
    """Computes hidden states anew from the histories, for users whose state is another student's."""
    if not slots:
        return
    release = live.release
    rows = np.array(slots, np.int64)
    histories = states.gather(rows)
    states.hidden[rows] = 0
    states.vector[rows] = release.initial_vector
    for step in range(int(histories.length.max(initial=0))):
        alive = np.flatnonzero(histories.length > step)
        items, kinds = histories.items[alive, step], histories.kinds[alive, step].astype(np.int64)
        before = histories.times[alive, step - 1] if step else np.full(len(alive), -1)
        hidden, vector = release.step(
            release.model.vectors[items],
            kinds,
            log_gap(histories.times[alive, step], before),
            release.normalised(kinds, histories.values[alive, step]),
            states.hidden[rows[alive]],
        )
        states.hidden[rows[alive]], states.vector[rows[alive]] = hidden, vector
    for slot in slots:
        states.stamp(slot, release.id)


def rank(
    slots: NDArray[np.int64],
    now_ms: NDArray[np.int64],
    states: UserStates,
    world: World,
    excluded: Sequence[Sequence[str]] = (),
    size: int | None = None,
    *,
    score: bool = True,
) -> Ranked:
    """Candidates and scores for a batch of asks; changes nothing.

    `slots` (B,) int64, -1 for users nobody knows; `now_ms` (B,) int64; `excluded` item ids a row that
    the asker does not want. `size` C defaults to the policy's.
    """
    live = world.live
    histories = states.gather(slots)
    vectors: NDArray[np.float32] = np.where(
        (histories.length > 0)[:, None], states.vector[slots], live.release.initial_vector
    )
    barred = _barred(slots, histories, states, world, excluded)
    asks = Asks(
        items=histories.items,
        times=histories.times,
        kinds=histories.kinds,
        values=live.release.normalised(histories.kinds, histories.values),
        length=histories.length,
        events=histories.events,
        now_ms=now_ms,
        user_vector=vectors,
        excluded_from=np.concatenate([[0], np.cumsum([len(row) for row in barred])]).astype(np.int64),
        excluded=np.concatenate(barred).astype(np.int32),
    )
    wanted = size or world.policy.candidates
    # A heavy user's nearest items are mostly consumed ones: look further, within reason.
    depth = min(wanted + min(int(np.diff(asks.excluded_from).max(initial=0)), 300), len(live.index))
    nearest = live.nearest(vectors, max(depth, 1))
    candidates = propose(asks, world.catalogue, world.signals, live.release.model, nearest, size=wanted)
    columns = features(asks, candidates, world.catalogue, world.signals, live.release.model)
    if not score:
        return Ranked(candidates, columns, np.zeros(candidates.items.shape, np.float32))
    scores = live.release.rank(columns)
    return Ranked(candidates, columns, np.where(candidates.items >= 0, scores, -np.inf).astype(np.float32))


def _admit(arrival: Arrival, states: UserStates) -> Outcome:
    if isinstance(arrival.message, Request):
        return Outcome(arrival, Fate.DONE, states.index.get(arrival.user_id, -1))
    slot = states.slot(arrival.user_id)
    if arrival.offset <= states.applied[slot]:
        return Outcome(arrival, Fate.REPLAYED, slot)
    if states.is_repeat(slot, event_hash(arrival.message.event_id)):
        states.applied[slot] = arrival.offset
        return Outcome(arrival, Fate.DUPLICATE, slot)
    return Outcome(arrival, Fate.DONE, slot)


def _is_click(outcome: Outcome) -> bool:
    return isinstance(outcome.arrival.message, Click)


def _calls_for_list(outcome: Outcome) -> bool:
    message = outcome.arrival.message
    if isinstance(message, Request):
        return True
    return not message.history and KIND_OF_WORD[message.event] in INTEREST


def _is_current(slot: int, states: UserStates, live: Live) -> bool:
    return bool(states.events[slot] == 0) or states.releases[states.release[slot]] == live.release.id


def _number(item_id: str, world: World) -> int:
    """The item's number; an item nobody announced joins the catalogue without content."""
    number = world.catalogue.index.get(item_id)
    if number is None:
        number = world.catalogue.intern(item_id)
        world.live.follow()
    return number


def _barred(
    slots: NDArray[np.int64],
    histories: Histories,
    states: UserStates,
    world: World,
    excluded: Sequence[Sequence[str]],
) -> list[NDArray[np.int32]]:
    consumed = not world.live.repeat_consumption
    rows = [states.barred(slot, histories, row, consumed=consumed) for row, slot in enumerate(slots.tolist())]
    for row, ids in enumerate(excluded):
        if ids:
            index = world.catalogue.index
            numbers = np.array([index[i] for i in ids if i in index], np.int32)
            rows[row] = np.concatenate([rows[row], numbers])
    return rows


def _answer(
    asking: Sequence[Outcome],
    states: UserStates,
    world: World,
    now_ms: int,
    rng: np.random.Generator | None,
    made_ms: int,
) -> None:
    slots = np.array([outcome.slot for outcome in asking], np.int64)
    known = [slot for slot in slots.tolist() if slot >= 0]
    reencode([slot for slot in known if not _is_current(slot, states, world.live)], states, world.live)
    times = np.full(len(asking), now_ms, np.int64)
    excluded: list[Sequence[str]] = [()] * len(asking)
    lengths = [world.policy.k] * len(asking)
    for row, outcome in enumerate(asking):
        message = outcome.arrival.message
        if isinstance(message, Request):
            excluded[row] = message.exclude
            lengths[row] = message.k or world.policy.k
            if message.timestamp is not None:
                times[row] = message.timestamp
    size = max(world.policy.candidates, *lengths)
    ranked = rank(slots, times, states, world, excluded, size)
    for row, outcome in enumerate(asking):
        count = int(ranked.candidates.count[row])
        items = ranked.candidates.items[row, :count]
        places = draw_up(
            ranked.scores[row, :count],
            items,
            world.catalogue.ids,
            lengths[row],
            world.policy,
            known_user=slots[row] >= 0 and bool(states.events[slots[row]] > 0),
            vectors=world.live.release.model.vectors,
            rng=rng,
        )
        outcome.recommendation = _compose(
            outcome.arrival, places, ranked, row, world, int(times[row]), made_ms
        )


def _compose(
    arrival: Arrival,
    places: Sequence[Place],
    ranked: Ranked,
    row: int,
    world: World,
    at_ms: int,
    made_ms: int,
) -> Recommendation:
    message = arrival.message
    timestamp = message.timestamp if message.timestamp is not None else at_ms
    if isinstance(message, Click):
        letter, trigger = "c", Trigger("click", message.event_id, timestamp)
    else:
        letter, trigger = "r", Trigger("request", message.request_id, timestamp)
    return Recommendation(
        recommendation_id=f"{letter}-{arrival.partition}-{arrival.offset}",
        user_id=message.user_id,
        trigger=trigger,
        items=[_listed(place, ranked, row, world) for place in places],
        release=world.live.release.id,
        policy=world.policy.name,
        scenario=message.scenario,
        created_at=made_ms,
    )


def _listed(place: Place, ranked: Ranked, row: int, world: World) -> ListedItem:
    found, column, ids = ranked.candidates, place.column, world.catalogue.ids
    source = SOURCES[found.source[row, column]]
    because = int(found.because[row, column])
    if place.explored:
        reason = Reason("explore")
    elif because >= 0:
        reason = Reason("because_clicked", [ids[because]])
    elif source.startswith("popular"):
        reason = Reason("popular")
    else:
        reason = Reason("new" if source == "fresh" else "for_you")
    return ListedItem(
        item_id=ids[found.items[row, column]],
        score=round(float(ranked.scores[row, column]), 6),
        source=source,
        reason=reason,
        propensity=place.propensity,
    )
