"""Lists as they are sent: ranked candidates and the places that the policy gave them become a message.

Owns a list's id, its trigger, and what it says of each item: score, source, reason. Chooses nothing.
"""

from collections.abc import Sequence

import numpy as np

from learner.ranking.sources import SOURCES
from streams.hot_path.policy import Place
from streams.hot_path.world import Ranked, World
from streams.wire.contract import Click, Forget, ListedItem, Reason, Recommendation, Trigger
from streams.wire.intake import Arrival


def compose(
    arrival: Arrival,
    places: Sequence[Place],
    ranked: Ranked,
    row: int,
    world: World,
    at_ms: int,
    made_ms: int,
) -> Recommendation:
    """The list that an arrival called for. `places` are columns of `row` of what was ranked.

    `at_ms` is the moment that a request without a timestamp is about, `made_ms` the list's `created_at`.
    """
    message = arrival.message
    timestamp = message.timestamp if message.timestamp is not None else at_ms
    assert not isinstance(message, Forget)  # such a wish calls for no list
    if isinstance(message, Click):
        letter, trigger = "c", Trigger("click", message.event_id, timestamp)
    else:
        letter, trigger = "r", Trigger("request", message.request_id, timestamp)
    return Recommendation(
        recommendation_id=f"{letter}-{arrival.partition}-{arrival.offset}",
        user_id=message.user_id,
        trigger=trigger,
        items=_listed(places, ranked, row, world),
        release=world.live.release.id,
        policy=world.policy.name,
        scenario=message.scenario,
        created_at=made_ms,
    )


def _listed(places: Sequence[Place], ranked: Ranked, row: int, world: World) -> list[ListedItem]:
    found, ids, sought = ranked.candidates, world.catalogue.ids, ranked.sought
    columns = np.array([place.column for place in places], np.int64)
    asked_for = [False] * len(places) if sought is None else sought[row, columns].tolist()
    said = zip(
        places,
        found.items[row, columns].tolist(),
        found.source[row, columns].tolist(),
        found.because[row, columns].tolist(),
        ranked.scores[row, columns].tolist(),
        asked_for,
        strict=True,
    )
    listed = []
    for place, item, source, because, score, is_asked_for in said:
        name = "query" if is_asked_for and not place.explored else SOURCES[source]
        if place.explored:
            reason = Reason("explore")
        elif is_asked_for:
            reason = Reason("matches_query")
        elif because >= 0:
            reason = Reason("because_clicked", [ids[because]])
        elif name.startswith("popular"):
            reason = Reason("popular")
        else:
            reason = Reason("new" if name == "fresh" else "for_you")
        listed.append(ListedItem(ids[item], round(score, 6), name, reason, place.propensity))
    return listed
