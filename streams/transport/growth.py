"""Topics by user that are given more partitions while processes run.

Owns the order in which they grow, by which everyone can tell how far it is: first `user-states`, last
`clicks`. So while states have more partitions than clicks, states are being moved: workers leave, and those
that start wait. Knows nothing of what is moved.
"""

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import structlog

from streams.settings import Settings
from streams.transport import topics
from streams.transport.topics import Names

if TYPE_CHECKING:
    from kafka import KafkaAdminClient

log = structlog.get_logger()

FORWARDED = (
    "forwarded"  # the header of a record that a worker sent on to its partition: where it stood, "3-1208"
)
_LOOK_SECONDS = 1.0
_TOLD_SECONDS = 60.0


class Grown(Exception):  # noqa: N818 (it names what is the matter)
    """The topics by user grow, or have grown: this process began with fewer partitions, and begins again."""


def under_way(counts: Mapping[str, int], names: Names) -> bool:
    """Whether states are being moved, or were when somebody stopped it, by the partitions of each topic."""
    return counts.get(names.user_states, 0) > counts.get(names.clicks, 0) > 0


def settled(
    admin: "KafkaAdminClient", settings: Settings, sleep: Callable[[float], None] = time.sleep
) -> int:
    """The number of partitions by user, as `topics.check` has it; waits while the topics grow."""
    names, since, told = Names(settings.prefix), time.monotonic(), 0.0
    while under_way(topics.partition_counts(admin, names.copartitioned), names):
        if time.monotonic() >= told:
            told = time.monotonic() + _TOLD_SECONDS
            log.warning(
                "the topics grow: this process waits until states are moved",
                seconds=round(time.monotonic() - since),
                mend="nothing, while `nextclick topics grow` runs; run it again where it was stopped",
            )  # fmt: skip
        sleep(_LOOK_SECONDS)
    return topics.check(admin, settings)
