"""Which releases answer now: the live one, beside it a canary for some users, and the one before.

Owns the division of users among releases and the way back: arrivals whose release fails are answered under
another one as if nothing had been. Pure: `knowledge` loads releases, `worker` brings arrivals and tells
everybody of failures. A failing release with none to go back to fails the caller.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from streams.hot_path.live import Live
from streams.hot_path.pace import Pace
from streams.hot_path.recommend import Outcome, World, recommend, reencode
from streams.hot_path.user_states import UserStates
from streams.releases.canary import assign
from streams.wire.contract import Click
from streams.wire.intake import Arrival

# A release that has gone live stays on probation, the one before it in memory, for so long at least.
PROBATION_SECONDS, PROBATION_CLICKS = 60.0, 1000

TAKEN_ALONG = 8  # users whose states are re-encoded with those of a round

Failed = Callable[[str, str], None]  # told of a release's id and what is wrong with it


class Serving:
    """`failed(release, reason)` is told of each release that was taken out because it failed.

    world: what users get who are not the canary's; its catalogue, signals and policy are everybody's
    canary: the same with the canary's release, or None
    before: the release that was live before, as long as the live one is on probation
    """

    def __init__(self, world: World, failed: Failed, clock: Callable[[], float] = time.perf_counter) -> None:
        self.world = world
        self.canary: World | None = None
        self.share = 0.0
        self.before: Live | None = None
        self.swaps = 0
        self.reencoded = 0  # in idle time
        self._failed = failed
        self._blamed: list[tuple[str, str]] = []
        self._clock = clock
        self._paces = {world.live.release.id: Pace()}
        self._since, self._clicks = clock(), 0

    @property
    def loaded(self) -> list[Live]:
        """All releases in memory, the live one first; each is to follow items and signals."""
        others = [self.canary.live if self.canary else None, self.before]
        return [self.world.live, *(live for live in others if live is not None)]

    def swap(self, live: Live) -> None:
        """Puts a release live that is loaded and warm; between two rounds only."""
        if live is self.world.live:
            return
        if self.canary is not None and self.canary.live is live:
            self.canary = None
        self.before, self.world.live = self.world.live, live
        self.world.checked = True
        self._since, self._clicks = self._clock(), 0
        self.swaps += 1
        self._tidy()

    def begin_canary(self, live: Live, share: float) -> None:
        """Gives a share of the users to a release that is loaded and warm."""
        self.canary = replace(self.world, live=live, checked=True)
        self.share = share
        self._tidy()

    def end_canary(self) -> None:
        """All users get the live release."""
        self.canary = None
        self._tidy()

    def go_back(self) -> bool:
        """Puts the release before live again; False where there is none in memory."""
        if self.before is None:
            return False
        self.world.live, self.before = self.before, None
        self.swaps += 1
        self._tidy()
        return True

    def begin_probation(self, before: Live) -> None:
        """Keeps a way back from the live release, to one that is loaded and warm."""
        self.before = before
        self.world.checked = True
        self._since, self._clicks = self._clock(), 0
        self._tidy()

    def forget_before(self) -> None:
        """There is no way back: the release before has failed, or the live one has proven itself."""
        self.before = None
        self._tidy()

    def world_of(self, user_id: str) -> World:
        """What the user's lists are computed from."""
        canary = self.canary
        if canary is not None and assign(user_id, self.share, canary.live.release.id):
            return canary
        return self.world

    def answer(
        self, arrivals: Sequence[Arrival], states: UserStates, now_ms: int, rng: np.random.Generator | None,
        made_ms: int,
    ) -> list[Outcome]:  # fmt: skip
        """`recommend` for a round, each user under one release; outcomes in the order of the arrivals."""
        self._blamed.clear()
        outcomes = self._answer(arrivals, states, now_ms, rng, made_ms)
        # Only now: where the next release fails at the same round, it is no release's fault.
        for release, reason in self._blamed:
            self._failed(release, reason)
        return outcomes

    def _answer(
        self, arrivals: Sequence[Arrival], states: UserStates, now_ms: int, rng: np.random.Generator | None,
        made_ms: int,
    ) -> list[Outcome]:  # fmt: skip
        canary = self.canary
        if canary is None:
            return self._under_live(arrivals, states, now_ms, rng, made_ms)
        theirs = [self.world_of(arrival.user_id) is canary for arrival in arrivals]
        outcomes: dict[int, Outcome] = {}
        places = [place for place, chosen in enumerate(theirs) if chosen]
        if places:
            some = [arrivals[place] for place in places]
            made = self._attempt(some, states, canary, now_ms, rng, made_ms, self._drop_canary)
            if made is not None:
                outcomes.update(zip(places, made, strict=True))
        rest = [place for place in range(len(arrivals)) if place not in outcomes]
        if rest:
            some = [arrivals[place] for place in rest]
            outcomes.update(zip(rest, self._under_live(some, states, now_ms, rng, made_ms), strict=True))
        return [outcomes[place] for place in range(len(arrivals))]

    def idle(self, states: UserStates, users: int) -> int:
        """Re-encodes up to `users` states that belong to no release in use; returns how many."""
        used = [self.world.live.release.id]
        if self.canary is not None:
            used.append(self.canary.live.release.id)
        slots = states.stale(used)[:users]
        self._blamed.clear()
        for world in (self.world, self.canary):
            if world is None:
                continue
            mine = [slot for slot in slots.tolist() if self.world_of(states.users[slot]) is world]
            try:
                reencode(mine, states, world.live)
            except Exception as error:
                if world is self.canary:
                    self._drop_canary(f"{type(error).__name__}: {error}")
                elif self.before is not None:
                    self._return(f"{type(error).__name__}: {error}")
                else:
                    raise
                break  # who is whose has changed
        for release, reason in self._blamed:
            self._failed(release, reason)
        self.reencoded += len(slots)
        return len(slots)

    def _under_live(
        self, arrivals: Sequence[Arrival], states: UserStates, now_ms: int,
        rng: np.random.Generator | None, made_ms: int,
    ) -> list[Outcome]:  # fmt: skip
        if self.before is not None:
            made = self._attempt(arrivals, states, self.world, now_ms, rng, made_ms, self._return)
            if made is not None:
                return made
        return self._timed(arrivals, states, self.world, now_ms, rng, made_ms)

    def _attempt(
        self, arrivals: Sequence[Arrival], states: UserStates, world: World, now_ms: int,
        rng: np.random.Generator | None, made_ms: int, give_up: Callable[[str], None],
    ) -> list[Outcome] | None:  # fmt: skip
        """A round under a release on probation; None where it failed, with the states as they were."""
        before = states.checkpoint(
            arrival.user_id for arrival in arrivals if isinstance(arrival.message, Click)
        )
        try:
            made = self._timed(arrivals, states, world, now_ms, rng, made_ms)
        except Exception as error:  # whatever it is: there is a release that works
            states.undo(before)
            give_up(f"{type(error).__name__}: {error}")
            return None
        states.keep()
        live = self.world.live
        usual = self._paces.get((self.before if world is self.world and self.before else live).release.id)
        slow = self._paces[world.live.release.id].slower_than(usual)
        if slow is not None:  # the lists are good: only the next ones come from another release
            give_up(slow)
        elif world is self.world:
            self._clicks += len(arrivals)
            if self._clicks >= PROBATION_CLICKS and self._clock() - self._since >= PROBATION_SECONDS:
                self.forget_before()
        return made

    def _timed(
        self, arrivals: Sequence[Arrival], states: UserStates, world: World, now_ms: int,
        rng: np.random.Generator | None, made_ms: int,
    ) -> list[Outcome]:  # fmt: skip
        release = world.live.release
        states.fit(release.id, release.hidden_size, release.vector_size)
        self._take_over(arrivals, states, world)
        encoded, started = states.reencoded, self._clock()
        outcomes = recommend(arrivals, states, world, now_ms, rng, made_ms)
        if states.reencoded == encoded:  # that is the swap's cost, not the release's
            self._paces.setdefault(release.id, Pace()).observe(self._clock() - started, len(arrivals))
        return outcomes

    def _take_over(self, arrivals: Sequence[Arrival], states: UserStates, world: World) -> None:
        """Re-encodes the round's users whose state is another release's, and others who wait for the same.

        128 steps of the student take 5.5 ms for one user, 7.5 for 8 and 12 for 24: alone, each would hold up
        a round, and many at once the next one.
        """
        number = states.number_of(world.live.release.id)
        slots = {states.index.get(arrival.user_id, -1) for arrival in arrivals}
        stale = {
            slot for slot in slots if slot >= 0 and states.events[slot] and states.release[slot] != number
        }
        if not stale:
            return
        used = [each.live.release.id for each in (self.world, self.canary) if each is not None]
        others = (slot for slot in states.stale(used).tolist() if self.world_of(states.users[slot]) is world)
        along = itertools.islice((slot for slot in others if slot not in stale), TAKEN_ALONG)
        reencode([*stale, *along], states, world.live)

    def _drop_canary(self, reason: str) -> None:
        assert self.canary is not None
        release = self.canary.live.release.id
        self.end_canary()
        self._blamed.append((release, reason))

    def _return(self, reason: str) -> None:
        release = self.world.live.release.id
        self.go_back()
        self._blamed.append((release, reason))

    def _tidy(self) -> None:
        """Forgets the paces of releases that are gone."""
        kept: Iterator[str] = (live.release.id for live in self.loaded)
        self._paces = {name: self._paces.get(name, Pace()) for name in kept}
