"""What the kernels of candidates and features read and write, in groups: arrays by row or by item number.

Owns the shapes and types of these groups, and where signals and catalogue keep what kernels need of them.
Knows nothing of what is computed. A group is a NamedTuple, since numba takes those as arguments.

Arrays by item number have at least `catalogue.size` rows and are replaced when they grow: read them anew
for each call.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from learner.data.catalogue import Catalogue
from learner.signals.kernels import Doubles, Items, Ties, Wholes
from learner.signals.neighbours import Neighbours
from learner.signals.state import Signals

Floats = NDArray[np.float32]

_NO_ITEMS = np.full((0, 1), -1, np.int32)
_NO_WEIGHTS = np.zeros((0, 1), np.float32)
_NOTHING = np.zeros(0, np.float32)


class Asks(NamedTuple):
    """Lists to be made, one a row; rows need not be distinct users."""

    items: Items  # (B, 128) oldest first, left-aligned
    times: Wholes  # (B, 128) Unix ms
    kinds: NDArray[np.uint8]  # (B, 128) learner.data.events.Kind
    values: Floats  # (B, 128) normalised by kind, 0 where there is none
    length: Items  # (B,) events in the row
    events: Wholes  # (B,) events of the user ever
    now_ms: Wholes  # (B,)
    user_vector: Floats  # (B, D)
    excluded_from: Wholes  # (B + 1,) where each row begins in `excluded`
    excluded: Items  # items that a row's list must not hold

    def rows(self, rows: Wholes) -> "Asks":
        """Some of the asks (n,), without what their lists must not hold: for lists that are made already."""
        return Asks(
            self.items[rows], self.times[rows], self.kinds[rows], self.values[rows], self.length[rows],
            self.events[rows], self.now_ms[rows], self.user_vector[rows],
            np.zeros(len(rows) + 1, np.int64), np.zeros(0, np.int32),
        )  # fmt: skip


class Candidates(NamedTuple):
    """Candidates of a batch of asks, in the order in which the sources proposed them."""

    items: Items  # (B, C) -1 padded
    source: NDArray[np.uint8]  # (B, C) index into SOURCES of the first source to propose it
    because: Items  # (B, C) the item of the history that speaks for it most, or -1
    ranks: NDArray[np.int16]  # (B, C, S) rank from 0 in each source, -1 where it was not looked at
    count: Items  # type: ignore[assignment]  # (B,); a tuple's own `count` is of no use here

    def rows(self, rows: Wholes) -> "Candidates":
        """The candidates of some of the asks, (n,)."""
        return Candidates(
            self.items[rows], self.source[rows], self.because[rows], self.ranks[rows], self.count[rows]
        )


class ModelArrays(NamedTuple):
    """What candidates and features need of a release, by item number."""

    vectors: Floats  # (cap, D)
    bias: Floats  # (cap,)
    content: Floats  # (cap, T) unit rows, or 0 where there is no text
    prior_weight: float = 0.0  # of log popularity in the student's score
    # Indices into the half-lives: popular at short notice (also by depth, and the prior); in the long run.
    popular_now: int = 2
    popular: int = 4
    # Static item-item model: row q lists the items it speaks for, then -1 to its end. May have fewer rows.
    ease_item: Items = _NO_ITEMS  # (rows, Ke)
    ease_weight: Floats = _NO_WEIGHTS  # (rows, Ke)
    calibration: Floats = _NOTHING  # (cap,) added to the ranker's scores


class CatalogueArrays(NamedTuple):
    """What the catalogue says of items: see `learner.data.catalogue.Catalogue`."""

    size: int
    available: NDArray[np.bool_]  # (cap,)
    published: Doubles  # (cap,) year with fraction, or nan
    categories: Items  # (cap, 6) -1 padded
    category_weight: Floats  # (categories,)


class SignalArrays(NamedTuple):
    """What signals say of items: see `learner.signals.state.Signals`."""

    half_lives: Doubles  # (H + 1,) ms; the last: of pairs
    reference: Wholes  # (H + 1,)
    popularity: Doubles  # (cap, H)
    by_depth: Doubles  # (cap, 3, 7)
    clicks: Doubles  # (cap,)
    value_sum: Doubles  # (cap,)
    first_ms: Wholes  # (cap,)
    last_ms: Wholes  # (cap,)
    born_ms: Wholes  # (cap,)
    total: float  # clicks on all items, by their weights
    tie: Ties  # (cap,)
    top: Items  # (H, TOP)
    top_count: Wholes  # (H,)
    depth_top: Items  # (3, 7, TOP)
    depth_top_count: Wholes  # (3, 7)
    depth_column: Wholes  # (H,)
    newest: Items  # (NEWEST + BORN,)
    newest_count: Wholes  # (2,)
    marks: Items  # (2, cap): the kernels' to work in, all -1 between calls
    places: NDArray[np.int8]  # (cap,): the same
    category_scratch: Doubles  # (3, categories at least): the same, all 0 between calls
    event_weights: Doubles  # (K,): how much an event of each kind counts


class PairArrays(NamedTuple):
    """Pairs of items clicked one after the other: see `learner.signals.neighbours.Neighbours`."""

    before: Wholes  # (cap, 3) where the row before an item starts in its pool, its pairs, its room
    before_item: Items  # (pool,)
    weight: Floats  # (pool, 5)
    after: Wholes  # (cap, 3) the same of the row after an item
    after_item: Items  # (pool,)
    after_slot: Items  # (pool,) where the pair stands in the row before its item


def catalogue_arrays(catalogue: Catalogue) -> CatalogueArrays:
    """The catalogue's arrays of this moment."""
    return CatalogueArrays(
        catalogue.size, catalogue.available, catalogue.published,
        catalogue.categories, catalogue.category_weight,
    )  # fmt: skip


def signal_arrays(signals: Signals) -> SignalArrays:
    """The signals' arrays of this moment, after what joined the catalogue was taken in."""
    signals.follow()
    return SignalArrays(
        signals.half_lives, signals.reference, signals.popularity, signals.by_depth, signals.count,
        signals.value_sum, signals.first_ms, signals.last_ms, signals.born_ms, signals.total, signals.tie,
        signals.top, signals.top_count, signals.depth_top, signals.depth_top_count, signals.depth_column,
        signals.newest, signals.newest_count, signals.marks, signals.places, signals.category_scratch,
        signals.by_kind,
    )  # fmt: skip


def pair_arrays(neighbours: Neighbours) -> PairArrays:
    """The pairs' arrays of this moment."""
    before, after = neighbours.before, neighbours.after
    return PairArrays(before.rows, before.item, before.weight, after.rows, after.item, after.place)
