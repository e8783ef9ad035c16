"""The hot path: a batch of arrivals and the state of the world go in, lists and changed states come out.

One function for the online worker, the offline replay and the tests. Time and randomness are
arguments. Knows no Kafka and no clock: `worker` brings arrivals and takes outcomes away.

The way of a click: fold it into the user's state, one student step, nearest items from the index,
union with the candidates of the signals, one feature kernel, one ranker call, the policy.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from learner.data.catalogue import Catalogue
from learner.data.events import INTEREST, KIND_OF_WORD, Kind
from learner.data.inputs import log_gap
from learner.ranking.candidates import SOURCES, Asks, Candidates, propose
from learner.ranking.features import KNOWN, Features, features
from learner.signals.state import Signals
from streams.hot_path import queries
from streams.hot_path.live import Live
from streams.hot_path.policy import Place, Policy, draw_up
from streams.hot_path.user_states import Histories, UserStates, event_hash
from streams.wire.contract import Click, ListedItem, Reason, Recommendation, Request, Trigger
from streams.wire.intake import Arrival


class Unsound(Exception):  # noqa: N818 (it says what the release is)
    """A release whose models give what is no number."""


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
    hurried: bool = False  # drawn from fewer candidates, since many lists were made at once

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
    checked: bool = False  # states and scores that are not finite raise `Unsound`


@dataclass(slots=True)
class Ranked:
    """Candidates of a batch of asks with their scores, both (B, C), padded with -1 and -inf."""

    candidates: Candidates
    features: Features
    scores: NDArray[np.float32]
    sought: NDArray[np.bool_] | None = None  # (B, C) nearest to the request's query, where it has one


def recommend(
    arrivals: Sequence[Arrival],
    states: UserStates,
    world: World,
    now_ms: int,
    rng: np.random.Generator | None,
    made_ms: int | None = None,
) -> list[Outcome]:
    """Folds each arrival into its user's state and draws up the lists that the arrivals call for.

    A user's arrivals are folded in one after the other, and each list knows what came before it and not what
    comes after; all lists are made at once, of fewer candidates where they are many
    (`Policy.candidates_for`). `now_ms` is the clock's time, which clicks are answered at; a
    request may carry its own. `made_ms` is what lists carry as `created_at`, by default the same. `rng` None
    switches exploration off. Outcomes stand in the order of the arrivals. Raises `Unsound` where the world is
    checked; the states are then in the middle of it all (`UserStates.undo`).
    """
    world.live.follow()  # items may have joined under another release
    _take_over(arrivals, states, world.live)
    outcomes: dict[int, Outcome] = {}
    asking: list[Outcome] = []
    asks: list[Asks] = []
    for step in _steps(arrivals):
        admitted = [_admit(arrivals[place], states) for place in step]
        outcomes.update(zip(step, admitted, strict=True))
        done = [outcome for outcome in admitted if outcome.fate is Fate.DONE]
        fold([outcome for outcome in done if _is_click(outcome)], states, world)
        now_asking = [outcome for outcome in done if calls_for_list(outcome.arrival)]
        if now_asking:
            asking += now_asking
            asks.append(_asks_of(now_asking, states, world, now_ms))
    if asking:
        _answer(asking, joined(asks), world, rng, now_ms if made_ms is None else made_ms)
    return [outcomes[place] for place in range(len(arrivals))]


def _steps(arrivals: Sequence[Arrival]) -> list[list[int]]:
    """Places of the arrivals: each user's first ones, then each user's second ones, and so on."""
    seen: dict[str, int] = {}
    steps: list[list[int]] = []
    for place, arrival in enumerate(arrivals):
        nth = seen.get(arrival.user_id, 0)
        seen[arrival.user_id] = nth + 1
        if nth == len(steps):
            steps.append([])
        steps[nth].append(place)
    return steps


def fold(outcomes: Sequence[Outcome], states: UserStates, world: World) -> None:
    """Applies clicks to their users' states: history first, then one student step for all of them."""
    stepping: list[Outcome] = []
    for outcome in outcomes:
        click, slot = outcome.arrival.message, outcome.slot
        assert isinstance(click, Click)
        if click.event == Kind.IMPRESSION.word:
            states.applied[slot] = outcome.arrival.offset
        else:
            stepping.append(outcome)
    if not stepping:
        return
    release = world.live.release
    slots = np.array([outcome.slot for outcome in stepping], np.int64)
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
    for row, outcome in enumerate(stepping):
        click = outcome.arrival.message
        assert isinstance(click, Click)
        digest = event_hash(click.event_id)
        states.fold(
            outcome.slot, int(items[row]), click.timestamp, int(kinds[row]), float(values[row]), digest
        )
        states.stamp(outcome.slot, release.id)
        states.applied[outcome.slot] = outcome.arrival.offset


def reencode(slots: Sequence[int], states: UserStates, live: Live) -> None:
    """Computes hidden states anew from the histories, for users whose state is another student's.

    At most 128 student steps, whatever the number of users.
    """
    if not slots:
        return
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
    gaps = log_gap(times, np.concatenate([np.full((1, len(rows)), -1), times[:-1]]))
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
    for slot in slots:
        states.stamp(slot, release.id)
    states.reencoded += len(slots)


def rank(slots: NDArray[np.int64], now_ms: NDArray[np.int64], states: UserStates, world: World) -> Ranked:
    """Candidates and scores for a batch of asks; changes nothing.

    `slots` (B,) int64, -1 for users nobody knows; `now_ms` (B,) int64.
    """
    return rank_asks(ask(slots, now_ms, states, world), world)


def ask(
    slots: NDArray[np.int64],
    now_ms: NDArray[np.int64],
    states: UserStates,
    world: World,
    excluded: Sequence[Sequence[str]] = (),
) -> Asks:
    """What is known of the askers now: lists made of it later know no later click.

    `excluded`: item ids a row that the asker does not want.
    """
    release = world.live.release
    histories = states.gather(slots)
    vectors = states.vector[slots, : release.vector_size]  # a copy
    vectors[histories.length == 0] = release.initial_vector
    barred = _barred(slots, histories, states, world, excluded)
    excluded_from = np.zeros(len(barred) + 1, np.int64)
    np.cumsum([len(row) for row in barred], out=excluded_from[1:])
    return Asks(
        items=histories.items,
        times=histories.times,
        kinds=histories.kinds,
        values=release.normalised(histories.kinds, histories.values),
        length=histories.length,
        events=histories.events,
        now_ms=now_ms,
        user_vector=vectors,
        excluded_from=excluded_from,
        excluded=barred[0] if len(barred) == 1 else np.concatenate(barred),
    )


def rank_asks(asks: Asks, world: World, size: int | None = None) -> Ranked:
    """Candidates and scores of asks; `size` C defaults to the policy's."""
    candidates = candidates_of(asks, world, size)
    columns = features_of(asks, candidates, world)
    return Ranked(candidates, columns, _scores(candidates, columns, world))


def _scores(candidates: Candidates, columns: Features, world: World) -> NDArray[np.float32]:
    """The ranker's scores (B, C), calibrated; -inf where there is no candidate.

    Lists of users without a past have an order of their own, which calibration is not learned for.
    """
    release = world.live.release
    scores = release.rank(columns)
    scores += release.model.calibration[candidates.items] * (columns.alone[:, :1, KNOWN] > 0)
    scores[candidates.items < 0] = -np.inf
    return scores


def candidates_of(asks: Asks, world: World, size: int | None = None) -> Candidates:
    """The union of the nearest items with what signals propose."""
    live = world.live
    wanted = size or world.policy.candidates
    # Sources take turns, so half of a list is the most that one of them gives where others have anything to
    # say. A heavy user's nearest items are mostly consumed ones: look further, within reason.
    depth = min(wanted // 2 + min(int(np.diff(asks.excluded_from).max(initial=0)), 300), len(live.index))
    nearest = live.nearest(asks.user_vector, max(depth, 1))
    return propose(asks, world.catalogue, world.signals, live.release.model, nearest, size=wanted)


def features_of(asks: Asks, candidates: Candidates, world: World) -> Features:
    """What the ranker reads of the candidates."""
    return features(asks, candidates, world.catalogue, world.signals, world.live.release.model)


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


def calls_for_list(arrival: Arrival) -> bool:
    """Whether an arrival is answered with a list; all others only change states."""
    message = arrival.message
    if isinstance(message, Request):
        return True
    return not message.history and KIND_OF_WORD[message.event] in INTEREST


def _take_over(arrivals: Sequence[Arrival], states: UserStates, live: Live) -> None:
    """Re-encodes the states of all users of a round that are another student's, in one go."""
    found = {states.index.get(arrival.user_id, -1) for arrival in arrivals}
    slots = np.array([slot for slot in found if slot >= 0], np.int64)
    other = slots[(states.events[slots] > 0) & (states.release[slots] != states.number_of(live.release.id))]
    reencode(other.tolist(), states, live)


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


def _asks_of(asking: Sequence[Outcome], states: UserStates, world: World, now_ms: int) -> Asks:
    slots = np.array([outcome.slot for outcome in asking], np.int64)
    times = np.full(len(asking), now_ms, np.int64)
    excluded: list[Sequence[str]] = [()] * len(asking)
    for row, outcome in enumerate(asking):
        message = outcome.arrival.message
        if isinstance(message, Request):
            excluded[row] = message.exclude
            if message.timestamp is not None:
                times[row] = message.timestamp
    return ask(slots, times, states, world, excluded)


def joined(parts: Sequence[Asks]) -> Asks:
    """Asks noted at different moments, as one batch."""
    if len(parts) == 1:
        return parts[0]
    joined = {
        entry.name: np.concatenate([getattr(part, entry.name) for part in parts]) for entry in fields(Asks)
    }
    counts = np.concatenate([np.diff(part.excluded_from) for part in parts])
    joined["excluded_from"] = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Asks(**joined)


def _answer(
    asking: Sequence[Outcome], asks: Asks, world: World, rng: np.random.Generator | None, made_ms: int
) -> None:
    lengths = [_wanted(outcome.arrival.message) or world.policy.k for outcome in asking]
    size = max(world.policy.candidates_for(len(asking)), *lengths)
    ranked = rank_asks(asks, world, size)
    if world.checked and not np.isfinite(ranked.scores[ranked.candidates.items >= 0]).all():
        raise Unsound(
            f"{world.live.release.id}: the ranker gives scores that are not finite; train a new release"
        )
    for row, outcome in enumerate(asking):
        made, at = ranked, row
        if query := _query(outcome.arrival.message):
            made, at = _heed(query, ranked, row, asks, world), 0
        count = int(made.candidates.count[at])
        places = draw_up(
            made.scores[at, :count],
            made.candidates.items[at, :count],
            world.catalogue.ids,
            lengths[row],
            world.policy,
            known_user=bool(asks.events[row] > 0),
            vectors=world.live.release.model.vectors,
            rng=rng,
        )
        outcome.recommendation = _compose(
            outcome.arrival, places, made, at, world, int(asks.now_ms[row]), made_ms
        )
        outcome.hurried = size < world.policy.candidates


def _heed(query: str, ranked: Ranked, row: int, asks: Asks, world: World) -> Ranked:
    """The row's candidates and those that the query asks for, with scores that mix both."""
    near = world.live.nearness(query)
    allowed = world.catalogue.available[: len(near)].copy()
    allowed[asks.excluded[asks.excluded_from[row] : asks.excluded_from[row + 1]]] = False
    found = queries.join(ranked.candidates, row, near, allowed, ranked.candidates.items.shape[1] // 2)
    if not found.candidates.count[0]:  # nothing is left for this user
        return Ranked(ranked.candidates.rows(np.array([row])), ranked.features, ranked.scores[row : row + 1])
    columns = features_of(asks.rows(np.array([row])), found.candidates, world)
    scores = queries.mixed(_scores(found.candidates, columns, world)[0], found.nearness)
    return Ranked(found.candidates, columns, scores[None], found.sought[None])


def _query(message: Click | Request) -> str | None:
    return message.query if isinstance(message, Request) else None


def _wanted(message: Click | Request) -> int | None:
    return message.k if isinstance(message, Request) else None


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
    elif ranked.sought is not None and ranked.sought[row, column]:
        source, reason = "query", Reason("matches_query")
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
