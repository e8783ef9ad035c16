"""Nextclick under a scenario's rules, as a replay measures what they cost and how often each had a say.

Owns the counting of rules that acted. What rules do is the hot path's: the lists are those that a worker
would send under the scenario.
"""

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learner.evaluation.system import Ask, FirstPart, Ranking
from learner.ranking.arrays import Asks
from streams.hot_path.allowed import allowed_by
from streams.hot_path.asked import kept_out, note
from streams.hot_path.placing import Caps
from streams.hot_path.policy import Place, Policy, draw_up
from streams.hot_path.rank import ask as asks_of
from streams.hot_path.rank import rank_asks
from streams.hot_path.ruled import draw_up_ruled
from streams.hot_path.wanted import Wanted, wanted
from streams.hot_path.world import Fate, Outcome, Ranked
from streams.replay.systems import HotPath, Train
from streams.wire.contract import Request, Rules
from streams.wire.intake import Arrival
from streams.wire.steering import DEFAULT

Items = NDArray[np.int32]


class Steered(HotPath):
    """The worker's hot path with a scenario in force for all lists."""

    name = "nextclick_scenario"

    def __init__(self, train: Train, policy: Policy, rules: Rules) -> None:
        super().__init__(train, policy)
        self._rules = rules
        self._acted: Counter[str] = Counter()
        self._lists = 0

    def fit(self, first: FirstPart) -> None:
        """As `HotPath.fit`; the rules are in force from then on."""
        super().fit(first)
        steering = self.offline.world.steering
        steering.put(DEFAULT, self._rules, None)
        self._acted.clear()
        self._lists = 0

    def rank(self, ask: Ask) -> Ranking:
        """The list under the rules, then all other candidates that the hard ones leave."""
        world, states = self.offline.world, self.offline.states
        slot, now_ms, had = self._asker(ask)
        request = Request(request_id="replay", timestamp=now_ms, exclude=had)
        want = wanted(request, world.steering, self.policy)
        outcome = Outcome(Arrival(request, 0, 0), Fate.DONE, slot)
        excluded, bars = kept_out(want, had, world, now_ms)
        slots, times = np.array([slot], np.int64), np.array([now_ms], np.int64)
        asks = asks_of(slots, times, states, world, [excluded], {0: bars})
        note(want, asks, 0, outcome, states, world)
        world.steering.masks.follow()
        allowed = allowed_by([want], world)
        ranked = rank_asks(asks, world, self.policy.candidates, allowed)
        own, places = draw_up_ruled(want, asks, ranked, 0, allowed, world, None)
        self._note(want, self._plain(slots, times, had), own, places)
        listed = [place.column for place in places]
        items, scores = own.candidates.items[0], own.scores[0]
        behind = np.setdiff1d(np.argsort(-scores, kind="stable"), listed)
        behind = behind[np.argsort(-scores[behind], kind="stable")]
        order = np.array([*listed, *behind.tolist()], np.int64)
        return Ranking(self._translated(items[order]), -np.arange(len(order), dtype=np.float64))

    def describe(self) -> dict[str, Any]:
        """With the rules, and in which share of the lists each had a say."""
        acted = {name: round(count / max(self._lists, 1), 4) for name, count in self._acted.items()}
        return super().describe() | {"rules_acted": acted, "lists": self._lists}

    def _plain(self, slots: NDArray[np.int64], times: NDArray[np.int64], had: list[str]) -> Items:
        """The items of the list that there would be without rules."""
        world = self.offline.world
        asks: Asks = asks_of(slots, times, self.offline.states, world, [had])
        ranked = rank_asks(asks, world)
        count = int(ranked.candidates.count[0])
        items = ranked.candidates.items[0, :count]
        places = draw_up(
            ranked.scores[0, :count], items, world.catalogue.ids, self.policy.k, self.policy,
            known_user=True, vectors=None, rng=None,
        )  # fmt: skip
        return items[[place.column for place in places]]

    def _note(self, want: Wanted, plain: Items, own: Ranked, places: list[Place]) -> None:
        """Counts the rules without which the list would be another one."""
        world, rules = self.offline.world, want.rules
        steering, index = world.steering, world.catalogue.index
        self._lists += 1
        acted = {place.rule for place in places} - {""}
        if (
            rules.filter is not None
            and not steering.masks.pool[steering.masks.row(rules.filter), plain].all()
        ):
            acted.add("filter")
        if np.isin(plain, [index[item] for item in rules.block if item in index]).any():
            acted.add("block")
        if want.late is not None and np.isin(plain, want.late).any():
            acted.add("shown_cap")
        caps = Caps(rules.caps, steering.fields)
        caps.read(plain)
        if not all(caps.takes(item) for item in plain.tolist()):
            acted.add("caps")
        listed = own.candidates.items[0, [place.column for place in places]]
        if (added := steering.tilt(listed, rules.tilts)).any():
            acted |= {name for name, hits in (("boost", added > 0), ("bury", added < 0)) if hits.any()}
        if want.policy.diversity > 0:
            acted.add("diversity")
        self._acted.update(acted)
