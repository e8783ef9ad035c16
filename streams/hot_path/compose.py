"""Lists as they are sent: ranked candidates and the places that the policy gave them become a message.

Owns a list's id, its trigger, and what it says of each item: score, source, reason. Chooses nothing.
"""

from collections.abc import Sequence

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
        items=[_listed(place, ranked, row, world) for place in places],
        release=world.live.release.id,
        policy=world.policy.name,
        scenario=message.scenario,
        created_at=made_ms,
    )


def _listed(place: Place, ranked: Ranked, row: int, world: World) -> ListedItem:
    found, column, ids = ranked.candidates, place.column, world.catalogue.ids
    source = SOURCES[found.source[row, column]]
    because = int(found.because[row, column])
    if place.explored:
        reason = Reason("explore")
    elif ranked.sought is not None and ranked.sought[row, column]:
        source, reason = "query", Reason("matches_query")
    elif because >= 0:
        reason = Reason("because_clicked", [ids[because]])
    elif source.startswith("popular"):
        reason = Reason("popular")
    else:
        reason = Reason("new" if source == "fresh" else "for_you")
    return ListedItem(
        item_id=ids[found.items[row, column]],
        score=round(float(ranked.scores[row, column]), 6),
        source=source,
        reason=reason,
        propensity=place.propensity,
    )
