"""What is known of a user, for those who ask for it along with a list. Changes nothing."""

import math
from collections import Counter

import numpy as np

from learner.data.events import INTEREST, Kind
from streams.hot_path.fallen import least_bar
from streams.hot_path.user_states import UserStates
from streams.hot_path.world import World
from streams.wire.contract import CategoryWeight, Profile, ProfileEvent

NEWEST = 50  # events that a profile names
CATEGORIES = 20  # that it names, the weightiest first
_FADING = 0.9  # weight of a click beside the next newer one's, as the ranker sees the user's taste


def _told(value: float) -> float | None:
    """A value as it was sent: states keep some seven digits of it."""
    return None if math.isnan(value) else float(f"{value:.7g}")


def profile(slot: int, states: UserStates, world: World) -> Profile:
    """The profile of the user in a slot, -1 of one nobody knows."""
    catalogue, release = world.catalogue, world.live.release
    histories = states.gather(np.array([slot], np.int64))
    length = int(histories.length[0])
    items = histories.items[0, :length].tolist()
    kinds, times = histories.kinds[0, :length].tolist(), histories.times[0, :length].tolist()
    values = histories.values[0, :length].tolist()
    events = [
        ProfileEvent(catalogue.ids[item], Kind(kind).word, time, _told(value))
        for item, kind, time, value in zip(items, kinds, times, values, strict=True)
    ]
    consumed = least_bar(consumed=True, views=release.manifest.views_consume)
    liked = [item for item, kind in zip(items, kinds, strict=True) if Kind(kind) in INTEREST]
    weights: Counter[int] = Counter()
    for distance, item in enumerate(reversed(liked)):
        for category in catalogue.categories[item].tolist():
            if category >= 0:
                weights[category] += _FADING**distance  # type: ignore[assignment]
    whole = sum(_FADING**distance for distance in range(len(liked))) or 1.0
    return Profile(
        events=int(states.events[slot]) if slot >= 0 else 0,
        consumed=len(set(states.barred(slot, histories, 0, consumed).tolist())),
        history=events[::-1][:NEWEST],
        categories=[
            CategoryWeight(catalogue.category_names[category], round(weight / whole, 4))
            for category, weight in weights.most_common(CATEGORIES)
        ],
        release=release.id,
        applied_offset=int(states.applied[slot]) if slot >= 0 else None,
    )
