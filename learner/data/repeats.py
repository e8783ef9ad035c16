"""Does this data repeat? Whether consumed items may be recommended again, decided once from a first part.

Owns the rule and what counts as consumed. The trainer records the answer in the release; replay applies
it to every system alike.
"""

import numpy as np
import numpy.typing as npt

from learner.data.events import CONSUMPTION, INTEREST, Kind

# Above this share of repeats among the clicks of known users, hiding what was consumed hides too many
# right answers: ratings repeat in under 1 % of cases, shop sessions and groceries in 10 to 60 %.
REPEATS_FROM = 0.05


def consuming_kinds(kinds: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Which kinds, by code, consume an item: (8,) bool. A view does only where nothing stronger occurs."""
    consumes = np.zeros(len(Kind), np.bool_)
    consumes[[int(kind) for kind in CONSUMPTION]] = True
    consumes[Kind.VIEW] = not np.any(consumes[kinds])
    return consumes


def had_before(
    user: npt.NDArray[np.integer], item: npt.NDArray[np.integer], marks: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """For each event, in order: is there an earlier one of the same user and item with its mark set?"""
    if len(user) == 0:
        return np.zeros(0, np.bool_)
    key = user.astype(np.int64) * (int(item.max()) + 1) + item
    order = np.argsort(key, kind="stable")
    marked = marks[order].astype(np.int64)
    before = np.cumsum(marked) - marked
    first = np.r_[True, np.diff(key[order]) != 0]
    base = before[np.maximum.accumulate(np.where(first, np.arange(len(key)), 0))]
    found = np.empty(len(key), np.bool_)
    found[order] = before > base
    return found


def repeat_share(
    user: npt.NDArray[np.integer], item: npt.NDArray[np.integer], kind: npt.NDArray[np.uint8]
) -> float:
    """Share of repeats among the events of interest of users who have consumed something before."""
    interest = np.isin(kind, [int(k) for k in INTEREST])
    consumed = consuming_kinds(kind)[kind]
    known = had_before(user, np.zeros_like(user), consumed) & interest
    return float((had_before(user, item, consumed) & known).sum() / max(int(known.sum()), 1))


def data_repeats(
    user: npt.NDArray[np.integer], item: npt.NDArray[np.integer], kind: npt.NDArray[np.uint8]
) -> bool:
    """The rule of `repeat_consumption = auto`, for events in order."""
    return repeat_share(user, item, kind) >= REPEATS_FROM
