"""The components of the blend: what each streaming memory says of every item, as logarithms.

Owns which components there can be, the constant inside each logarithm, and their computation for one user and
moment. Knows no weights.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from learner.evaluation.baselines.item_knn import ItemKnn
from learner.evaluation.baselines.memory import Doubles, Memory
from learner.evaluation.baselines.pair_model import Factors, Normaliser
from learner.evaluation.baselines.pairs import Pairs
from learner.evaluation.baselines.scoring import Sums, walk_row
from learner.evaluation.baselines.sequence_rules import DISTANCE
from learner.evaluation.system import Event, FirstPart, Ints

# Inside the logarithms: about the least that a component says of an item it knows (FINDINGS of prototypes).
POPULAR_FLOOR, SECOND_FLOOR = 0.02, 0.05
PART_FLOORS = (1e-3, 1e-3, 0.02)


@dataclass(frozen=True, slots=True)
class Part:
    """A memory component: which table column, how many last items, and the normaliser (shrink, power)."""

    source: int  # 0 item-kNN, 1 plain rules, 2 decayed rules
    last: int
    normaliser: Normaliser


@dataclass(frozen=True, slots=True)
class Recipe:
    """The components to compute, in this order: popularities, memory parts, log clicks."""

    popular_ms: tuple[float, ...]
    parts: tuple[Part, ...]
    decay_ms: float

    @property
    def columns(self) -> int:
        """How many components there are."""
        return len(self.popular_ms) + len(self.parts) + 1

    def only(self, columns: Ints) -> "Recipe":
        """The recipe of some of the columns; the last one, log clicks, always stays."""
        popular = len(self.popular_ms)
        return Recipe(
            tuple(self.popular_ms[c] for c in columns if c < popular),
            tuple(self.parts[c - popular] for c in columns if popular <= c < self.columns - 1),
            self.decay_ms,
        )


class _Parts(NamedTuple):
    """A recipe as the kernel takes it: H popularities, then P memory parts."""

    source: Ints  # (P,) as `Part.source`
    last: Ints  # (P,)
    factors: Doubles  # (V, P) normalisers
    floors: Doubles  # (H + P,) constants inside the logarithms


class _Moment(NamedTuple):
    """What an ask brings: a user's L last items, newest first, what each counts, what time makes of sums."""

    recent: Ints  # (L,)
    rarity: Doubles  # (L,) for item-kNN
    nearness: Doubles  # (10,) for rules
    unit: float  # of decayed rules
    halvings: Doubles  # (H,) from time 0 to now


class Components:
    """Memory and buffers that give the components of every item for one user and time."""

    def __init__(self, first: FirstPart, recipe: Recipe) -> None:
        items = len(first.item_ids)
        self.memory = Memory(first, recipe.popular_ms, together=True, rules=[recipe.decay_ms])
        self._factors = Factors(items, [part.normaliser for part in recipe.parts])
        self._sums = Sums.of(items)
        self._logs = np.zeros((recipe.columns, items), np.float32)
        popular = [POPULAR_FLOOR, *[SECOND_FLOOR] * (len(recipe.popular_ms) - 1)]
        self._parts = _Parts(
            source=np.array([part.source for part in recipe.parts], np.int32),
            last=np.array([part.last for part in recipe.parts], np.int32),
            factors=self._factors.values,
            floors=np.array(popular + [PART_FLOORS[part.source] for part in recipe.parts]),
        )

    def learn(self, event: Event) -> None:
        """Counts one event."""
        self.memory.learn(event)
        self.learned(event)

    def learned(self, event: Event) -> None:
        """Follows the memory, which knows the event already."""
        clicks = self.memory.clicks[event.item]
        self._factors.update(event.item, clicks)
        self._logs[-1, event.item] = np.log(clicks + 1.0)

    def logs(self, recent: Ints, time_ms: int) -> npt.NDArray[np.float32]:
        """Logarithms of all components for every item: (C, V) float32, valid until the next call."""
        memory = self.memory
        moment = _Moment(
            recent=recent,
            rarity=ItemKnn.scale(memory, recent),
            nearness=1.0 / DISTANCE,
            unit=1.0 / float(memory.unit(time_ms)[0]),
            halvings=time_ms * memory.rates,
        )
        together, rules = memory.together.pairs, memory.rules.pairs
        _components(together, rules, memory.popularity, moment, self._parts, self._sums, self._logs)
        return self._logs


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _memory_part(
    pairs: Pairs, moment: _Moment, parts: _Parts, part: int, floor: float, sums: Sums,
    out: npt.NDArray[np.float32],
) -> None:  # fmt: skip
    """Fills `out` (V,) with the logarithms of one memory part."""
    source, recent, totals = parts.source[part], moment.recent, sums.sums[0]
    scale = moment.nearness if source else moment.rarity
    unit = moment.unit if source == 2 else 1.0
    columns = np.full(1, max(source - 1, 0), np.int32)
    sums.seen[:] = -1
    out[:] = np.log(floor)
    count = 0
    for d in range(min(parts.last[part], len(recent))):
        count = walk_row(pairs, columns, recent[d], scale[d], sums, 0, count)
    for a in range(count):
        j = sums.touched[a]
        out[j] = np.log(unit * totals[j] * parts.factors[j, part] + floor)


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _components(
    together: Pairs, rules: Pairs, popularity: Doubles, moment: _Moment, parts: _Parts, sums: Sums,
    out: npt.NDArray[np.float32],
) -> None:  # fmt: skip
    """Fills all of `out` (C, V) but its last row."""
    popular, floors = len(popularity), parts.floors
    for h in range(popular):
        lowest = np.log(floors[h])
        for j in range(out.shape[1]):
            age = popularity[h, j] - moment.halvings[h]
            # Below 2 ** -40 of a click the floor is all that a float32 would see.
            out[h, j] = np.log(np.exp(age * 0.6931471805599453) + floors[h]) if age > -40.0 else lowest
    for part in range(len(parts.source)):
        row = popular + part
        if parts.source[part] == 0:
            _memory_part(together, moment, parts, part, floors[row], sums, out[row])
        else:
            _memory_part(rules, moment, parts, part, floors[row], sums, out[row])
