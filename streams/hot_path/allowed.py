"""What filters leave of the catalogue, for lists that are made at once, and what of it is nearest to a user.

Owns how far an index is searched where a filter takes most of what it finds, and that a narrow filter makes
all its items candidates. Knows no rules and no messages.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from learner.filters.language import Filter
from learner.ranking.candidates import Allowed
from streams.hot_path.searching import mask_of
from streams.hot_path.wanted import Wanted
from streams.hot_path.world import World

NARROW = 500  # items that a filter leaves, up to which all of them are candidates
# Where a filter leaves less than this share, its items are looked at one by one: of an index most of what is
# found would be thrown away. It is so for few items in any case.
_THIN, _FEW = 0.05, 2_000


def allowed_by(wants: Sequence[Wanted], world: World) -> Allowed | None:
    """The masks of some lists, by their filters or their only items; None where none has any.

    Lists with the same filter share a mask.
    """
    steering, catalogue = world.steering, world.catalogue
    rows: list[NDArray[np.bool_]] = []
    places: dict[Filter, int] = {}
    of = np.full(len(wants), -1, np.int64)
    for row, want in enumerate(wants):
        if want.only is not None:
            mask = np.zeros(catalogue.capacity, np.bool_)
            mask[want.only] = True
            of[row] = len(rows)
            rows.append(mask & catalogue.available)
        elif want.reading is not None and want.reading.narrows:
            mask = mask_of(want, world)
            if want.reading.narrows or want.filter is not None:
                of[row] = len(rows)
                rows.append(mask)
        elif want.filter is not None:
            if want.filter not in places:
                places[want.filter] = len(rows)
                rows.append(steering.mask(want.filter))
            of[row] = places[want.filter]
    if not rows:
        return None
    return Allowed(rows[0][None] if len(rows) == 1 else np.stack(rows), of)


def nearest_allowed(
    vectors: NDArray[np.float32], wanted: int, depths: NDArray[np.int64], allowed: Allowed, world: World
) -> NDArray[np.int32]:
    """As `Live.nearest` for users (B, D), of the items that each one's mask leaves: (B, A) int32, -1 padded.

    `wanted` of each are to be left over; `depths` (B,) are as many and those that the user may not have, of
    which a filter takes no part: they are what lies nearest, whatever is filtered.
    """
    catalogue = world.catalogue
    found: list[NDArray[np.int32]] = [np.zeros((1, 0), np.int32)] * len(depths)
    for mask in range(-1, len(allowed.masks)):
        rows = np.flatnonzero(allowed.of == mask)
        if not len(rows):
            continue
        if mask < 0:
            near = _from_index(vectors[rows], int(depths[rows].max()), world)
            for row, items in zip(rows.tolist(), near, strict=True):
                found[row] = items[: depths[row]]
            continue
        listed = allowed.masks[mask]
        count = int(np.count_nonzero(listed))
        share = count / max(int(np.count_nonzero(catalogue.available)), 1)
        if count <= NARROW:
            for row in rows.tolist():
                found[row] = np.flatnonzero(listed).astype(np.int32)
        elif count <= _FEW or share < _THIN:
            _look_through(found, rows, np.flatnonzero(listed), vectors, depths, world)
        else:
            near = _from_index(vectors[rows], int(wanted / share + depths[rows].max() - wanted), world)
            for row, items in zip(rows.tolist(), near, strict=True):
                found[row] = items[(items >= 0) & listed[items]][: depths[row]]
    nearest = np.full((len(found), max(1, max(map(len, found)))), -1, np.int32)
    for row, items in enumerate(found):
        nearest[row, : len(items)] = items
    return nearest


def _from_index(vectors: NDArray[np.float32], depth: int, world: World) -> NDArray[np.int32]:
    return world.live.nearest(vectors, max(min(depth, len(world.live.index)), 1))


def _look_through(
    found: list[NDArray[np.int32]], rows: NDArray[np.int64], items: NDArray[np.int64],
    vectors: NDArray[np.float32], depths: NDArray[np.int64], world: World,
) -> None:  # fmt: skip
    """Of items (n,) the nearest to each of the rows' users, by the score that the index goes by."""
    model = world.live.release.model
    scores = vectors[rows] @ model.vectors[items].T + model.bias[items]
    for row, score in zip(rows.tolist(), scores, strict=True):
        wanted = min(int(depths[row]), len(items))
        best = np.argpartition(-score, wanted - 1)[:wanted] if wanted < len(items) else np.arange(len(items))
        found[row] = items[best[np.argsort(-score[best], kind="stable")]].astype(np.int32)
