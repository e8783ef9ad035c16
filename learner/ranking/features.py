"""Features: what the ranker knows of each candidate, computed for a whole batch in one kernel.

Owns the order of the work; the columns' names and places are `columns`', what stands in them the blocks'
(`feature_items`, `feature_users`, `feature_pairs`, `look_back`). Knows no ranker: columns are raw, with
logarithms taken; standardising is the ranker's. Everything is computed at the ask's time from signals
learned so far; nothing is stored for it. `tests/worlds/plain_signals.py` says the same slowly.

Numbers that mean "none" lie just outside the range of real ones, so that a column stays smooth.
Distances count the user's events of interest from the newest; dislikes and hides are no evidence for
anything and appear in `dislike_similarity` alone.
"""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from kernels.groups import one_by_one
from learner.data.catalogue import Catalogue
from learner.ranking.arrays import (
    Asks,
    Candidates,
    CatalogueArrays,
    Floats,
    ModelArrays,
    PairArrays,
    SignalArrays,
    catalogue_arrays,
    pair_arrays,
    signal_arrays,
)
from learner.ranking.asker import Asker, asker_of
from learner.ranking.columns import (
    CENTRED,
    FEATURES,
    ITEM_CLICKS,
    LAYOUT,
    OWN_ITEM_COLUMNS,
    OWN_ITEMS,
    RAW,
    SPAN,
)
from learner.ranking.feature_content import cool_categories, warm_categories, write_content
from learner.ranking.feature_items import write_depth, write_popularity, write_student
from learner.ranking.feature_math import age, log
from learner.ranking.feature_pairs import write_pairs
from learner.ranking.feature_users import write_rest, write_user
from learner.ranking.look_back import look_back, write_follows
from learner.ranking.pair_search import find_pairs
from learner.signals.kernels import Doubles
from learner.signals.state import Signals

_CENTRED_COLUMNS = np.array([RAW.index(name) for name in CENTRED])


@dataclass(frozen=True)
class Features:
    """Features of B lists of C candidates, those by place in their parts: most say nothing of a candidate.

    alone (B, C, A) float32: the columns up to `LAYOUT.begin`, 0 where there is no candidate
    own (B, `OWN_ITEMS`, 5) float32: of each own item, newest first, the columns from `there` to `clicks`
    pairs (B, C, 2 · `OWN_ITEMS`) float32: `cosine` with each own item, then `rule_cosine`
    count (B,) int32: how many candidates a list has
    """

    alone: NDArray[np.float32]
    own: NDArray[np.float32]
    pairs: NDArray[np.float32]
    count: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.alone)

    def table(self) -> NDArray[np.float32]:
        """All columns (B, C, F), 0 where there is no candidate: what a ranker learns from."""
        batch, size, width = self.alone.shape
        table = np.zeros((batch, size, len(FEATURES)), np.float32)
        table[..., :width] = self.alone
        places = np.zeros((batch, size, OWN_ITEMS, len(OWN_ITEM_COLUMNS)), np.float32)
        places[..., : self.own.shape[2]] = self.own[:, None]
        places[..., -3] = self.alone[..., ITEM_CLICKS, None]
        places[..., -2], places[..., -1] = self.pairs[..., :OWN_ITEMS], self.pairs[..., OWN_ITEMS:]
        places *= places[..., :1]
        places[np.arange(size) >= self.count[:, None]] = 0.0
        table[..., width:] = places.reshape(batch, size, LAYOUT.places * LAYOUT.columns)
        return table


def features(
    asks: Asks, candidates: Candidates, catalogue: Catalogue, signals: Signals, model: ModelArrays
) -> Features:
    """Features of candidates, as of the asks' time."""
    batch, size = candidates.items.shape
    made = Features(
        np.zeros((batch, size, LAYOUT.begin), np.float32),
        np.zeros((batch, OWN_ITEMS, OWN_ITEM_COLUMNS.index("item_clicks")), np.float32),
        np.zeros((batch, size, 2 * OWN_ITEMS), np.float32),
        candidates.count,
    )
    arrays = signal_arrays(signals)
    pairs = pair_arrays(signals.neighbours)
    _features_one_by_one(
        *asks, *candidates, *arrays, *pairs, *catalogue_arrays(catalogue), *model,
        made.alone, made.own, made.pairs,
    )  # fmt: skip
    return made


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _features(
    asks: Asks,
    candidates: Candidates,
    signals: SignalArrays,
    pairs: PairArrays,
    catalogue: CatalogueArrays,
    model: ModelArrays,
    alone: Floats,
    own: Floats,
    near: Floats,
) -> None:
    """Writes `alone`, `own` and `pairs` of `Features`."""
    in_list = signals.marks[0]
    warm_categories(signals, catalogue, model.popular_now)
    for b in range(candidates.items.shape[0]):
        n = candidates.count[b]
        if n == 0:
            continue
        asker = asker_of(asks, b, signals)
        listed, x = candidates.items[b, :n], alone[b, :n]
        for c in range(n):
            in_list[listed[c]] = c
        write_student(_of(x, SPAN.student), listed, asker, asks, signals, model)
        popularity = _of(x, SPAN.popularity)
        write_popularity(popularity, listed, asker, signals, catalogue)
        write_depth(_of(x, SPAN.depth), listed, asker, signals)
        write_user(_of(x, SPAN.user), popularity, listed, asker, asks, signals, catalogue, model)
        found = find_pairs(asker.items[: asker.found], listed, signals, pairs)
        write_pairs(_of(x, SPAN.pairs), near[b, :n], listed, asker, signals, pairs.weight, found)
        write_content(_of(x, SPAN.content), popularity, listed, asker, asks, signals, catalogue, model)
        write_rest(_of(x, SPAN.rest), candidates.ranks[b], listed, asker, signals, model)
        for j in listed:
            in_list[j] = -1
        write_follows(_of(x, SPAN.follows), x, look_back(asker, signals, catalogue, pairs, model))
        _write_centred(x)
        _write_own_items(own[b], asker, signals.clicks)
    cool_categories(signals, catalogue, model.popular_now)


_features_one_by_one = one_by_one(_features)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _of(x: Floats, span: slice) -> Floats:
    """The columns of a block, as a view."""
    return x[:, span]


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _write_centred(x: Floats) -> None:
    """The columns `CENTRED`, less their mean over the list, into those after the raw ones."""
    n, columns = x.shape[0], _CENTRED_COLUMNS.shape[0]
    means = np.zeros(columns)
    for c in range(n):
        for k in range(columns):
            means[k] += x[c, _CENTRED_COLUMNS[k]]
    for k in range(columns):
        means[k] /= n
    for c in range(n):
        for k in range(columns):
            x[c, len(RAW) + k] = x[c, _CENTRED_COLUMNS[k]] - means[k]


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _write_own_items(x: Floats, asker: Asker, clicks: Doubles) -> None:
    """The columns from `there` to `clicks` of the newest own items into x (OWN_ITEMS, 5)."""
    for d in range(min(asker.found, OWN_ITEMS)):
        x[d, 0] = 1.0
        x[d, 1] = log(d + 1.0)
        x[d, 2] = age(asker.now, asker.times[d])
        x[d, 3] = asker.values[d]
        x[d, 4] = log(clicks[asker.items[d]] + 1.0)
