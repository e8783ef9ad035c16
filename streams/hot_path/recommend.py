"""The hot path: a batch of arrivals and the state of the world go in, lists and changed states come out.

One function for the online worker, the offline replay and the tests. Time and randomness are
arguments. Knows no Kafka and no clock: `worker` brings arrivals and takes outcomes away.

The way of a click, with the file beside this one that owns each step: into its user's state (`fold`), to
scored candidates (`rank`), to the places of a list (`policy`; `ruled`, where rules or a request's own wishes
have a say, which `wanted` tells), to a message (`compose`).
"""

from collections.abc import Sequence

import numpy as np

from learner.ranking.arrays import Asks
from learner.ranking.candidates import Allowed
from streams.hot_path.allowed import NARROW, allowed_by
from streams.hot_path.asked import kept_out, note
from streams.hot_path.compose import compose
from streams.hot_path.fold import fold
from streams.hot_path.merging import sent_on, take_wish
from streams.hot_path.policy import draw_up
from streams.hot_path.rank import Bars, ask, joined, rank_asks, rows_of
from streams.hot_path.ruled import draw_up_ruled
from streams.hot_path.user_states import UserStates
from streams.hot_path.wanted import Wanted, wanted
from streams.hot_path.world import Fate, Mark, Outcome, Ranked, Unsound, World, unmarked
from streams.wire.contract import Click, Recommendation, Request, Wish
from streams.wire.event_ids import event_hash
from streams.wire.intake import Arrival


def recommend(
    arrivals: Sequence[Arrival],
    states: UserStates,
    world: World,
    now_ms: int,
    rng: np.random.Generator | None,
    made_ms: int | None = None,
    mark: Mark = unmarked,
) -> list[Outcome]:
    """Folds each arrival into its user's state and draws up the lists that the arrivals call for.

    A user's arrivals are folded in one after the other, and each list knows what came before it and not what
    comes after; all lists are made at once, of fewer candidates where they are many
    (`Policy.candidates_for`). `now_ms` is the clock's time, which clicks are answered at; a
    request may carry its own. `made_ms` is what lists carry as `created_at`, by default the same. `rng` None
    switches exploration off. `mark` is told of each stage that ends. Outcomes stand in the order of the
    arrivals.

    After a swap the users' hidden states are made the new release's first: `Serving` or `fold.prepare` sees
    to that. Raises `Unsound` where the world is checked; the states are then in the middle of it all
    (`UserStates.undo`).
    """
    assert not states.foreign((arrival.user_id for arrival in arrivals), world.live.release.id)
    world.live.follow()  # items may have joined under another release
    outcomes: dict[int, Outcome] = {}
    asking: list[Outcome] = []
    wants: list[Wanted] = []
    asks: list[Asks] = []
    for step in _steps(arrivals):
        met = [_outcome(arrivals[place], states, world, now_ms) for place in step]
        outcomes.update(zip(step, met, strict=True))
        done = [outcome for outcome in met if outcome.fate is Fate.DONE]
        fold([o for o in done if o.changed and isinstance(o.arrival.message, Click)], states, world)
        now_asking = [outcome for outcome in done if calls_for_list(outcome.arrival)]
        if now_asking:
            asking += now_asking
            now_wanted = [wanted(each.arrival.message, world.steering, world.policy) for each in now_asking]
            wants += now_wanted
            asks.append(_asks(now_asking, now_wanted, states, world, now_ms))
    mark("state update")
    if asking:
        _answer(asking, wants, joined(asks), world, rng, now_ms if made_ms is None else made_ms, mark)
        mark("places")
    return [outcomes[place] for place in range(len(arrivals))]


def calls_for_list(arrival: Arrival) -> bool:
    """Whether an arrival is answered with a list; all others only change states."""
    message = arrival.message
    if isinstance(message, Request):
        return True
    return isinstance(message, Click) and not message.history and message.is_interest


def _steps(arrivals: Sequence[Arrival]) -> list[list[int]]:
    """Places of the arrivals: each user's first ones, then each user's second ones, and so on.

    By their keys: strangers are no one user, and all of them are asked for at once.
    """
    seen: dict[str, int] = {}
    steps: list[list[int]] = []
    for place, arrival in enumerate(arrivals):
        nth = seen.get(arrival.key, 0)
        seen[arrival.key] = nth + 1
        if nth == len(steps):
            steps.append([])
        steps[nth].append(place)
    return steps


def _outcome(arrival: Arrival, states: UserStates, world: World, now_ms: int) -> Outcome:
    """What becomes of an arrival: a click that the user's state knows already is not folded again."""
    message = arrival.message
    if isinstance(message, Request):
        slot = states.index.get(arrival.user_id, -1)
        if slot >= 0 and states.moved[slot] is not None:
            return sent_on(arrival, message, slot, states, now_ms) or Outcome(arrival, Fate.DONE, slot)
        return Outcome(arrival, Fate.DONE, slot)
    if arrival.user_id in states.aside:
        return Outcome(arrival, Fate.DONE)
    slot = states.slot(arrival.user_id)
    if arrival.offset <= states.applied[slot]:
        return Outcome(arrival, Fate.REPLAYED, slot)
    if isinstance(message, Wish):
        return take_wish(arrival, message, slot, states, world)
    if states.moved[slot] is not None:
        sent = sent_on(arrival, message, slot, states, now_ms)
        if sent is not None:
            return sent
    digest = event_hash(message.event_id)
    if states.is_repeat(slot, digest):
        states.note_applied(slot, arrival.partition, arrival.offset)
        return Outcome(arrival, Fate.DUPLICATE, slot)
    return Outcome(arrival, Fate.DONE, slot, digest=digest)


def _asks(
    asking: Sequence[Outcome], wants: Sequence[Wanted], states: UserStates, world: World, now_ms: int
) -> Asks:
    """What is known of those who ask, at the moment they ask about."""
    slots = np.array([outcome.slot for outcome in asking], np.int64)
    times = np.full(len(asking), now_ms, np.int64)
    excluded: list[Sequence[str]] = [()] * len(asking)
    bars: dict[int, Bars | None] = {}
    special: list[int] = []
    for row, (outcome, want) in enumerate(zip(asking, wants, strict=True)):
        message = outcome.arrival.message
        if isinstance(message, Request):
            excluded[row] = message.exclude
            if message.timestamp is not None:
                times[row] = message.timestamp
        elif outcome.slot < 0 and isinstance(message, Click):  # set aside: a list knows the click alone
            excluded[row] = [message.item_id]
        if want.rules.acts or want.rules.keeps_out or want.personal:
            special.append(row)
            excluded[row], bars[row] = kept_out(want, excluded[row], world, int(times[row]))
    asks = ask(slots, times, states, world, excluded, bars)
    for row in special:
        note(wants[row], asks, row, asking[row], states, world)
    return asks


def _answer(
    asking: Sequence[Outcome], wants: Sequence[Wanted], asks: Asks, world: World,
    rng: np.random.Generator | None, made_ms: int, mark: Mark,
) -> None:  # fmt: skip
    """Gives each of the outcomes its list; `wants` and `asks` have a row for each."""
    allowed = None
    if any(not want.plain or want.filter is not None for want in wants):
        world.steering.masks.follow()
        allowed = allowed_by(wants, world)
    sizes = _sizes(wants, allowed, world)
    places: dict[int, tuple[Asks, Allowed | None, Ranked, int]] = {}
    for size in dict.fromkeys(sizes):
        rows = [row for row, each in enumerate(sizes) if each == size]
        part = asks if len(rows) == len(asking) else rows_of(asks, rows)
        theirs = None if allowed is None else Allowed(allowed.masks, allowed.of[rows])
        ranked = rank_asks(part, world, size, theirs, mark)
        if world.checked and not np.isfinite(ranked.scores[ranked.candidates.items >= 0]).all():
            raise Unsound(
                f"{world.live.release.id}: the ranker gives scores that are not finite; train a new release"
            )
        places.update((row, (part, theirs, ranked, at)) for at, row in enumerate(rows))
    for row, outcome in enumerate(asking):
        outcome.recommendation = _list_of(outcome, wants[row], *places[row], world, rng, made_ms)
        outcome.hurried = sizes[row] < world.policy.candidates


def _sizes(wants: Sequence[Wanted], allowed: Allowed | None, world: World) -> list[int]:
    """How many candidates each list is drawn from, by its length.

    Who asks for more than the others' candidates is ranked apart, together with those who ask for about as
    much: one list of a thousand must not make thirty of ten as dear. The size says nothing of the others.
    All items that a narrow filter leaves are candidates.
    """
    usual = max(world.policy.candidates_for(len(wants)), world.policy.k)
    reaches = [want.reach for want in wants]
    if allowed is not None:
        left = [int(np.count_nonzero(mask)) for mask in allowed.masks]  # by axis numpy takes a detour
        for row, mask in enumerate(allowed.of.tolist()):
            if mask >= 0 and left[mask] <= NARROW:
                reaches[row] = max(reaches[row], left[mask])
    return [usual if reach <= usual else 1 << (reach - 1).bit_length() for reach in reaches]


def _list_of(
    outcome: Outcome, want: Wanted, asks: Asks, allowed: Allowed | None, ranked: Ranked, row: int,
    world: World, rng: np.random.Generator | None, made_ms: int,
) -> Recommendation:  # fmt: skip
    """The list of one outcome, whose ask and candidates stand in `row`."""
    at_ms = int(asks.now_ms[row])
    if want.plain:
        count = int(ranked.candidates.count[row])
        places = draw_up(
            ranked.scores[row, :count],
            ranked.candidates.items[row, :count],
            world.catalogue.ids,
            want.length,
            want.policy,
            known_user=bool(asks.events[row] > 0),
            vectors=world.live.release.model.vectors,
            rng=rng,
        )
    else:
        ranked, places = draw_up_ruled(want, asks, ranked, row, allowed, world, rng)
        row = 0
    return compose(outcome.arrival, want, places, ranked, row, world, at_ms, made_ms)
