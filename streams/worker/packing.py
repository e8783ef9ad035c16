"""From a round's outcomes to the records that tell of them.

Owns what is counted of outcomes and which states a round leaves to the changelog. Sends nothing.
"""

from collections.abc import Iterable, Sequence

from learner.data.catalogue import Catalogue
from learner.data.events import Kind
from streams.hot_path.world import Fate, Outcome
from streams.transport.delivery import Outgoing
from streams.wire.contract import Click, Forget, Merge, Merged, Request, encode
from streams.wire.intake import Arrival
from streams.worker.assignment import Parcel
from streams.worker.rounds import Pending
from streams.worker.users import Users


def pack(
    pending: Sequence[Pending[Arrival]], outcomes: Sequence[Outcome],
    users: Users, catalogue: Catalogue, counts: dict[str, int],
) -> Iterable[Parcel]:  # fmt: skip
    """Lists and states of a round, one parcel a partition; `outcomes` are those of `pending`, in its order.

    A state's value is fixed here, once for each user, before anything is sent; None deletes it. `counts` rise
    with it.
    """
    parcels: dict[int, Parcel] = {}
    last = {outcome.arrival.user_id: outcome for outcome in outcomes if outcome.changed}
    for record, outcome in zip(pending, outcomes, strict=True):
        arrival = outcome.arrival
        partition, key = arrival.partition, arrival.key.encode()
        parcel = parcels.setdefault(partition, Parcel(partition))
        parcel.records.append(record)
        if outcome.recommendation is not None:
            counts["lists"] += 1
            counts["hurried_lists"] += outcome.hurried
            # By key: the topic of lists may have another number of partitions than clicks.
            parcel.lists.append(Outgoing(key, encode(outcome.recommendation)))
            asked = isinstance(arrival.message, Request)
            counts["asked_lists"] += asked
            (parcel.asked_ms if asked else parcel.clicked_ms).append(arrival.sent_ms)
        for sent in outcome.forwards:
            where = parcel.requests if isinstance(sent, Request) else parcel.clicks
            where.append(Outgoing(sent.user_id.encode(), encode(sent)))  # type: ignore[union-attr]
        if outcome.fate is Fate.MOVED:
            counts["moved_on"] += 1
        if isinstance(arrival.message, Click) and arrival.message.event == Kind.IMPRESSION.word:
            counts["impressions"] = counts.get("impressions", 0) + 1
        if outcome.changed:
            wish = isinstance(arrival.message, Forget)
            if not isinstance(arrival.message, Merge | Merged):
                counts["forgotten" if wish else "clicks"] += 1
            if outcome is last[arrival.user_id]:
                if wish:
                    users.states.forget(arrival.user_id)
                    parcel.states[key] = None
                elif (state := users.encoded(arrival.user_id, catalogue)) is not None:
                    parcel.states[key] = state
        counts["replayed"] += outcome.fate is Fate.REPLAYED
        if outcome.fate is Fate.IDLE:
            counts["idle_undos"] += 1
        counts["duplicates"] += outcome.fate is Fate.DUPLICATE
    return parcels.values()
