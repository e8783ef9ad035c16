"""Which releases answer now: the live one, beside it a canary for some users, and the one before.

Owns the division of users among releases and the way back: arrivals whose release fails are answered under
another one as if nothing had been. Pure: `release_follower` has releases loaded and tells everybody of
failures, the worker brings arrivals. A failing release with none to go back to fails the caller.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from streams.hot_path.fold import reencode
from streams.hot_path.live import Live
from streams.hot_path.pace import Pace
from streams.hot_path.recommend import recommend
from streams.hot_path.stragglers import Stragglers
from streams.hot_path.user_states import UserStates
from streams.hot_path.work import work_of
from streams.hot_path.world import Mark, Outcome, World, unmarked
from streams.releases.canary import assign
from streams.wire.contract import Request
from streams.wire.intake import Arrival

# A release that has gone live stays on probation, the one before it in memory, for so long at least.
PROBATION_SECONDS, PROBATION_CLICKS = 60.0, 1000

TAKEN_ALONG = 8  # users whose states are re-encoded with those of a round
_IDLE_STRETCHES = 16  # looked through at once for such users while nobody waits

Failed = Callable[[str, str], None]  # told of a release's id and what is wrong with it


@dataclass(frozen=True, slots=True)
class Round:
    """Arrivals that are answered at once, and all that `recommend` needs for it but the world."""

    arrivals: Sequence[Arrival]
    states: UserStates
    now_ms: int
    rng: np.random.Generator | None
    made_ms: int
    mark: Mark = unmarked

    def of(self, places: Sequence[int]) -> "Round":
        """The same for some of the arrivals."""
        some = [self.arrivals[place] for place in places]
        return Round(some, self.states, self.now_ms, self.rng, self.made_ms, self.mark)


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
        self._stragglers = Stragglers()
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

    def answer(self, work: Round) -> list[Outcome]:
        """`recommend` for a round, each user under one release; outcomes in the order of the arrivals."""
        self._blamed.clear()
        outcomes: dict[int, Outcome] = {}
        everyone = range(len(work.arrivals))
        on_trial = [] if self.canary is None else [self.canary]
        if self.before is not None:
            on_trial.append(self.world)
        for world in on_trial:
            places = [
                place
                for place in everyone
                if place not in outcomes
                and (world is self.world or self.world_of(work.arrivals[place].key) is world)
            ]
            if not places:
                continue
            part = work.of(places)
            taken = self._taken_over(part, world)
            before = work.states.checkpoint(
                (each.user_id for each in part.arrivals if not isinstance(each.message, Request)), taken
            )
            try:
                made = self._run(part, world, taken)
            except Exception as error:  # whatever it is: there is a release that works
                work.states.undo(before)
                self._give_up(world, f"{type(error).__name__}: {error}")
                continue
            work.states.keep()
            outcomes.update(zip(places, made, strict=True))
            self._prove(world, len(places))
        rest = [place for place in everyone if place not in outcomes]
        if rest:
            part = work.of(rest)
            made = self._run(part, self.world, self._taken_over(part, self.world))
            outcomes.update(zip(rest, made, strict=True))
        # Only now: where the next release fails at the same round, it is no release's fault.
        for release, reason in self._blamed:
            self._failed(release, reason)
        return [outcomes[place] for place in everyone]

    def idle(self, states: UserStates, users: int) -> int:
        """Re-encodes up to `users` states that belong to no release in use; returns how many."""
        slots: list[int] = []
        for _ in range(_IDLE_STRETCHES):
            slots = self._stragglers.some(states, self._used, users, lambda _: True)
            if slots:
                break
        self._blamed.clear()
        for world in (self.world, self.canary):
            if world is None:
                continue
            mine = [slot for slot in slots if self.world_of(states.users[slot]) is world]
            try:
                reencode(mine, states, world.live)
            except Exception as error:
                if world is self.world and self.before is None:
                    raise
                self._give_up(world, f"{type(error).__name__}: {error}")
                break  # who is whose has changed
        for release, reason in self._blamed:
            self._failed(release, reason)
        self.reencoded += len(slots)
        return len(slots)

    def _run(self, work: Round, world: World, taken: Sequence[int]) -> list[Outcome]:
        """A round under one release, timed; what a swap costs its first users counts against no release.

        `taken`: slots that are re-encoded before.
        """
        release, states = world.live.release, work.states
        states.fit(release.id, release.hidden_size, release.vector_size)
        reencode(taken, states, world.live)
        started = self._clock()
        outcomes = recommend(work.arrivals, states, world, work.now_ms, work.rng, work.made_ms, work.mark)
        lists = sum(work_of(arrival, world.steering.given) for arrival in work.arrivals)
        self._paces.setdefault(release.id, Pace()).observe(self._clock() - started, lists)
        return outcomes

    @property
    def _used(self) -> list[str]:
        """The releases that answer."""
        return [each.live.release.id for each in (self.world, self.canary) if each is not None]

    def _taken_over(self, work: Round, world: World) -> list[int]:
        """Slots of the round's users whose state is another release's, and of others who wait for the same.

        128 steps of the student take 5.5 ms for one user, 7.5 for 8 and 12 for 24: alone, each would hold up
        a round, and many at once the next one.
        """
        states = work.states
        theirs = states.foreign((arrival.user_id for arrival in work.arrivals), world.live.release.id)
        if not theirs:
            return []
        others = self._stragglers.some(
            states, self._used, TAKEN_ALONG,
            lambda slot: slot not in theirs and self.world_of(states.users[slot]) is world,
        )  # fmt: skip
        return [*theirs, *others]

    def _prove(self, world: World, clicks: int) -> None:
        """What a round without a failure says of a release on trial."""
        release, live = world.live.release.id, self.world.live.release.id
        on_probation = world is self.world
        usual = self.before.release.id if on_probation and self.before is not None else live
        slow = self._paces[release].slower_than(self._paces.get(usual))
        if slow is not None:  # the lists are good: only the next ones come from another release
            self._give_up(world, slow)
        elif on_probation:
            self._clicks += clicks
            if self._clicks >= PROBATION_CLICKS and self._clock() - self._since >= PROBATION_SECONDS:
                self.forget_before()

    def _give_up(self, world: World, reason: str) -> None:
        """Takes a release on trial out: there is another one for its users."""
        release = world.live.release.id
        if world is self.canary:
            self.end_canary()
        else:
            self.go_back()
        self._blamed.append((release, reason))

    def _tidy(self) -> None:
        """Forgets the paces of releases that are gone."""
        kept: Iterator[str] = (live.release.id for live in self.loaded)
        self._paces = {name: self._paces.get(name, Pace()) for name in kept}
