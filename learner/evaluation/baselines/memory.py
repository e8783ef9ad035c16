"""What streaming baselines remember: users' histories, clicks by item, decayed popularity, pairs of items.

Owns the bookkeeping that every memory-based baseline shares, exact and unbounded: a baseline may not be
weakened by forgetting what the stream has said. Knows no scoring rule.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from learner.data.events import AVERSION, INTEREST
from learner.evaluation.baselines.pairs import PairTable
from learner.evaluation.system import Event, FirstPart, Ints

WINDOW = 50  # earlier items of a user that a click is paired with
RULE_WINDOW = 10  # earlier items that a click counts as a successor of

Doubles = npt.NDArray[np.float64]


class Eligible(NamedTuple):
    """What a user may be shown of V items: those known whose mark is not the stamp. `tie` orders equals."""

    mark: npt.NDArray[np.int64]  # (V,)
    stamp: int
    known: npt.NDArray[np.bool_]  # (V,)
    tie: Doubles  # (V,) log2 of decayed popularity

    def shown(self) -> npt.NDArray[np.bool_]:
        """(V,): may be shown."""
        return np.asarray(self.known & (self.mark != self.stamp))

    def items(self) -> Ints:
        """Numbers of the items that may be shown, (n,) int32."""
        return np.flatnonzero(self.shown()).astype(np.int32)


class Memory:
    """Counts events; the arrays are indexed by the stream's item numbers.

    `popularity` (H, V) float64: log2 of clicks decayed by each half-life, up to a term that is the same
    for all items (so a comparison needs no clock); `clicks` (V,); `known` (V,): may be listed.
    `together` holds how often two items stood within 50 of each other in a history, one float32 column;
    `rules` how often the second followed the first, by 1 / distance: plain, then decayed columns, which
    are in units of 2 ** -scale[c] of a click now (see `unit`).
    """

    def __init__(
        self,
        first: FirstPart,
        half_lives_ms: Sequence[float] = (),
        *,
        together: bool = False,
        rules: Sequence[float] | None = None,
    ) -> None:
        items = len(first.item_ids)
        self.rates = np.array([1.0 / h for h in half_lives_ms], np.float64)  # (H,) halvings a ms
        self.popularity = np.full((len(self.rates), items), -np.inf)
        self._tie = self.popularity[0] if len(self.rates) else np.zeros(items)
        self.clicks = np.zeros(items)
        self.known = np.zeros(items, np.bool_)
        decays = list(rules) if rules is not None else []
        self.together = PairTable(items, 1, np.float32)
        self.rules = PairTable(items, 1 + len(decays))
        self._wanted = together, rules is not None
        self.rule_rates = np.array([1.0 / h for h in decays], np.float64)
        self.rule_reference = np.zeros(len(decays))  # halvings at which a click weighs 1, by column
        self._consumes, self._repeats = first.consumes, first.repeats
        self._last = np.full(1024, -1, np.int64)  # by user: number of the latest event in the chain
        self._previous = np.empty(4096, np.int64)  # by chained event: the user's one before
        self._item = np.empty(4096, np.int32)
        self._flags = np.empty(4096, np.uint8)  # 1 interest, 2 bars the item
        self._size = 0
        self._mark = np.full(items, -1, np.int64)
        self._stamp = 0
        self._recent = np.empty(WINDOW, np.int32)

    def announce(self, item: int) -> None:
        """The item may be listed from now on."""
        self.known[item] = True

    def learn(self, event: Event) -> None:
        """Counts one event: O(window)."""
        self.count(event, event.item)

    def count(self, event: Event, clicked: int) -> None:
        """Counts one event as if `clicked` had been its item, which a control does; bars its true item."""
        interest = event.kind in INTEREST
        bars = event.kind in AVERSION or (self._consumes[event.kind] and not self._repeats)
        if interest:
            recent, _ = self.recall(event.user)
            self._click(clicked, event.time_ms, recent)
        if interest and bars and clicked == event.item:
            self._chain(event.user, event.item, 3)
            return
        if interest:
            self._chain(event.user, clicked, 1)
        if bars:
            self._chain(event.user, event.item, 2)

    def recall(self, user: int) -> tuple[Ints, Eligible]:
        """The user's last items of interest, newest first (at most 50), and what the user may be shown.

        Both are valid until the next call.
        """
        self._stamp += 1
        newest = self._last[user] if user < len(self._last) else -1
        found = _recall(
            newest, self._previous, self._item, self._flags, self._mark, self._stamp, self._recent
        )
        return self._recent[:found], Eligible(self._mark, self._stamp, self.known, self._tie)

    def unit(self, time_ms: int) -> Doubles:
        """What a click now weighs in each decayed column of `rules`: divide by it. (G,) float64."""
        return np.asarray(np.exp2(time_ms * self.rule_rates - self.rule_reference))

    def _click(self, item: int, time_ms: int, recent: Ints) -> None:
        self.known[item] = True
        self.clicks[item] += 1.0
        if len(self.rates):
            self.popularity[:, item] = np.logaddexp2(self.popularity[:, item], time_ms * self.rates)
        together, rules = self._wanted
        if together:
            self.together.add(item, recent, np.ones((1, len(recent))), both=True)
        if rules:
            near = recent[:RULE_WINDOW]
            self._keep_in_range(time_ms)
            weights = np.r_[1.0, self.unit(time_ms)][:, None] / np.arange(1.0, len(near) + 1)
            self.rules.add(item, near, weights)

    def _keep_in_range(self, time_ms: int) -> None:
        """Moves a column's reference once a click now weighs 2 ** 500; whole halvings lose nothing."""
        ahead = np.floor(time_ms * self.rule_rates - self.rule_reference)
        for column in np.flatnonzero(ahead > 500):
            if self.rule_reference[column] > 0:
                self.rules.scale(1 + int(column), 2.0 ** -ahead[column])
            self.rule_reference[column] += ahead[column]

    def _chain(self, user: int, item: int, flags: int) -> None:
        while user >= len(self._last):
            self._last = np.r_[self._last, np.full(len(self._last), -1)]
        if self._size == len(self._item):
            self._previous = np.r_[self._previous, self._previous]
            self._item = np.r_[self._item, self._item]
            self._flags = np.r_[self._flags, self._flags]
        row = self._size
        self._previous[row], self._item[row], self._flags[row] = self._last[user], item, flags
        self._last[user] = row
        self._size += 1


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _recall(
    newest: int,
    previous: npt.NDArray[np.int64],
    item: Ints,
    flags: npt.NDArray[np.uint8],
    mark: npt.NDArray[np.int64],
    stamp: int,
    recent: Ints,
) -> int:
    found, row = 0, newest
    while row >= 0:
        if flags[row] & 1 and found < len(recent):
            recent[found] = item[row]
            found += 1
        if flags[row] & 2:
            mark[item[row]] = stamp
        row = previous[row]
    return found
