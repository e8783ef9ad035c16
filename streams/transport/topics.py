"""The topics: their names, partitions and cleanup, created by whoever starts first.

Owns what each topic of the wire contract is configured to be, and the rule that `clicks`, `requests`
and `user-states` have equally many partitions (so that a user's records meet on one worker). Knows
nothing of what the records contain.
"""

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from learner.data.times import DAY_MS
from streams.settings import Settings
from streams.transport.refusals import NEEDED, allowed

if TYPE_CHECKING:
    from kafka import KafkaAdminClient

log = structlog.get_logger()

# The brokers' default for one batch (1 MiB) refuses the state of a user with thousands of items consumed,
# a list of 1,000 items with long ids, and the letter of a bad record that only just fitted. As much as the
# worker's producer sends at once (`streams.transport.delivery`), and as hosted brokers allow.
LARGE = {"max.message.bytes": str(8 * 1024 * 1024)}

# Compaction as soon as a tenth of a log is superseded, in segments small enough to be closed soon:
# restoring states and signals reads the whole log, and a log of old versions makes every start slow.
COMPACTION = {
    "cleanup.policy": "compact",
    "min.cleanable.dirty.ratio": "0.1",
    "segment.bytes": str(64 * 1024 * 1024),
    "segment.ms": str(DAY_MS),
}

# Compaction drops a tombstone after this, a day by the brokers' default. Who reads `items` later would not
# learn of the withdrawal, and the live release still holds the item: it would be recommended again, for as
# long as no other release is trained. A hundred years and not the largest number, to which brokers add now.
WITHDRAWALS = {"delete.retention.ms": str(36_500 * DAY_MS)}

# Of interest for seconds. Only closed segments go, so they are closed soon; times are the broker's, since
# those who speak need not agree on what time it is.
FIGURES = {
    "cleanup.policy": "delete",
    "retention.ms": str(60 * 60 * 1000),
    "segment.ms": str(10 * 60 * 1000),
    "message.timestamp.type": "LogAppendTime",
}

# Of these a topic may have more than is planned, but not less.
AT_LEAST = ("max.message.bytes", "delete.retention.ms")

# Hosts have limits of their own; a year outlives every release that knows what was withdrawn.
ENOUGH = {"delete.retention.ms": 365 * DAY_MS}

# INVALID_CONFIG, INVALID_REQUEST, POLICY_VIOLATION: what brokers answer where they refuse a setting.
_REFUSED = (40, 42, 44)
_MOST_TRIES = 8  # to make a topic, one setting less each time


class TopicsError(Exception):
    """Topics that do not fit together: says which, how, and the command that mends it."""

    exit_code = os.EX_CONFIG  # 78: a start again would end in the same way


@dataclass(frozen=True)
class Names:
    """Full names of the topics under one prefix."""

    prefix: str

    @property
    def clicks(self) -> str:
        """Events, keyed by user."""
        return self.prefix + "clicks"

    @property
    def items(self) -> str:
        """The catalogue, keyed by item."""
        return self.prefix + "items"

    @property
    def scenarios(self) -> str:
        """The rules of lists, keyed by the scenario's name."""
        return self.prefix + "scenarios"

    @property
    def requests(self) -> str:
        """Lists asked for without a click, keyed by user."""
        return self.prefix + "requests"

    @property
    def recommendations(self) -> str:
        """Lists, keyed by user."""
        return self.prefix + "recommendations"

    @property
    def user_states(self) -> str:
        """The workers' changelog, keyed by user."""
        return self.prefix + "user-states"

    @property
    def signals(self) -> str:
        """What all users' clicks say about an item, keyed by item."""
        return self.prefix + "signals"

    @property
    def releases(self) -> str:
        """Roles of releases, keyed by release id."""
        return self.prefix + "releases"

    @property
    def keys(self) -> str:
        """Who may ask over HTTP, by the key's name; of keys only their SHA-256."""
        return self.prefix + "keys"

    @property
    def dead_letters(self) -> str:
        """Bad records, unchanged, with their original key."""
        return self.prefix + "dead-letters"

    @property
    def figures(self) -> str:
        """What each process says of itself once a second, keyed by process."""
        return self.prefix + "figures"

    @property
    def worker_group(self) -> str:
        """The consumer group in which workers share clicks and requests."""
        return self.prefix + "worker"

    @property
    def copartitioned(self) -> tuple[str, str, str]:
        """The topics that must have equally many partitions."""
        return self.clicks, self.requests, self.user_states

    def all(self) -> tuple[str, ...]:
        """All topics in the order of a click's journey."""
        return (
            self.clicks, self.items, self.scenarios, self.requests, self.recommendations,
            self.user_states, self.signals, self.releases, self.keys, self.dead_letters,
            self.figures,
        )  # fmt: skip


@dataclass(frozen=True)
class Topic:
    """What one topic is configured to be."""

    name: str
    partitions: int
    configs: dict[str, str]


@dataclass(frozen=True)
class Described:
    """What one topic is; `partitions` is 0 where the topic does not exist."""

    name: str
    partitions: int
    configs: dict[str, str]


@dataclass(frozen=True)
class Low:
    """A setting of a topic that is smaller than planned: it was made by hand, or by an earlier version."""

    topic: str
    setting: str
    found: int
    planned: int


@dataclass(frozen=True)
class Cleanup:
    """A topic whose records go otherwise than planned."""

    topic: str
    found: str
    planned: str

    @property
    def told(self) -> str:
        """What is wrong, in a few words."""
        return f"{self.topic} has cleanup.policy={self.found}, not {self.planned}"


def plan(settings: Settings, partitions: int | None = None) -> list[Topic]:
    """The topics as they are created. `partitions` overrides the setting for the topics keyed by user.

    Topics keyed by item, scenario or release have one partition: every worker reads them whole, in order.
    """
    names = Names(settings.prefix)
    by_user = partitions or settings.partitions
    clicks_ms = str(round(settings.retention_days * DAY_MS))
    return [
        Topic(names.clicks, by_user, _deleted_after(clicks_ms)),
        Topic(names.items, 1, COMPACTION | WITHDRAWALS),
        Topic(names.scenarios, 1, COMPACTION),
        Topic(names.requests, by_user, _deleted_after(str(DAY_MS))),
        Topic(names.recommendations, by_user, _deleted_after(str(7 * DAY_MS)) | LARGE),
        Topic(names.user_states, by_user, COMPACTION | LARGE),
        Topic(names.signals, 1, COMPACTION | LARGE),
        Topic(names.releases, 1, COMPACTION),
        Topic(names.keys, 1, COMPACTION | WITHDRAWALS),  # who was away learns that a key was revoked
        Topic(names.dead_letters, 1, _deleted_after(clicks_ms) | LARGE),
        Topic(names.figures, 1, FIGURES),
    ]  # fmt: skip


def create_missing(admin: "KafkaAdminClient", settings: Settings) -> list[str]:
    """Create the topics that do not exist and wait until they can be used; returns their names.

    Two processes may do this at once: the one that comes second finds the topics made. Where one of
    the co-partitioned topics exists already, the others follow its number of partitions.
    """
    from kafka.errors import TopicAlreadyExistsError, for_code

    existing = partition_counts(admin, [topic.name for topic in plan(settings)])
    copartitioned = [existing[name] for name in Names(settings.prefix).copartitioned if existing[name]]
    wanted = plan(settings, partitions=max(copartitioned, default=None))
    missing = [topic for topic in wanted if not existing[topic.name]]
    if not missing:
        return []
    created = []
    for result in _make(admin, settings, missing):
        error = for_code(result["error_code"])
        if result["error_code"] == 0:
            created.append(result["name"])
        elif error is not TopicAlreadyExistsError:
            raise TopicsError(
                f"cannot create topic {result['name']}: {error.__name__} "
                f"{result.get('error_message') or ''}; create it by hand with the settings that "
                "`nextclick topics describe` shows, or ask whoever administers the brokers"
            )
    admin.wait_for_topics([topic.name for topic in missing])
    _await_leaders(admin, missing)
    return created


def _make(admin: "KafkaAdminClient", settings: Settings, missing: list[Topic]) -> list[dict[str, Any]]:
    """The answer for each topic; where brokers refuse settings that are wishes it is made without them."""
    configs = {topic.name: topic.configs for topic in missing}
    answers: dict[str, dict[str, Any]] = {}
    trying = missing
    for _ in range(_MOST_TRIES):
        answer = admin.create_topics(
            {
                topic.name: {
                    "num_partitions": topic.partitions,
                    "replication_factor": settings.replication,
                    "configs": configs[topic.name],
                }
                for topic in trying
            },
            raise_errors=False,
        )
        answers |= {result["name"]: result for result in answer["topics"]}
        refused = []
        for topic in trying:
            result = answers[topic.name]
            if result["error_code"] in _REFUSED:
                less = allowed(configs[topic.name], said := result.get("error_message") or "")
                if less is not None:
                    changed = {key for key, value in configs[topic.name].items() if less.get(key) != value}
                    log.warning(
                        "the brokers refuse a topic's settings, so it is made with what they allow",
                        topic=topic.name, said=said,
                        settings=", ".join(f"{key}={less.get(key, 'default')}" for key in sorted(changed)),
                    )  # fmt: skip
                    configs[topic.name] = less
                    refused.append(topic)
        if not refused:
            break
        trying = refused
    return list(answers.values())


def check(admin: "KafkaAdminClient", settings: Settings) -> int:
    """The number of partitions that clicks, requests and user-states share.

    Raises TopicsError where one is missing or their numbers differ, with the command that mends it.
    """
    counts = partition_counts(admin, Names(settings.prefix).copartitioned)
    absent = [name for name, count in counts.items() if not count]
    where = f"--bootstrap-servers {settings.bootstrap_servers} --prefix {settings.prefix}"
    if absent:
        raise TopicsError(
            f"missing topics: {', '.join(absent)}; create them with `nextclick topics create {where}`"
        )
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise TopicsError(
            f"clicks, requests and user-states must have equally many partitions, but {listed}; stop the "
            f"workers and run `nextclick topics repair {where}`"
        )
    described = describe(admin, settings)
    if spread := wrong_spread(settings, described):
        raise TopicsError(f"{spread}; stop workers and learner and run `nextclick topics repair {where}`")
    if wrong := wrong_cleanup(settings, described):
        raise TopicsError(
            f"{'; '.join(each.told for each in wrong)}: records would go that are needed, "
            f"by age or by key; run `nextclick topics repair {where}`"
        )
    return next(iter(counts.values()))


def partition_counts(admin: "KafkaAdminClient", names: Iterable[str]) -> dict[str, int]:
    """For each name its number of partitions, 0 where there is no such topic."""
    wanted = list(names)
    found = {topic["name"]: len(topic["partitions"]) for topic in _metadata(admin, wanted)}
    return {name: found.get(name, 0) for name in wanted}


def describe(admin: "KafkaAdminClient", settings: Settings) -> list[Described]:
    """Each topic of the contract as the brokers have it; without settings where it may not ask for them."""
    from kafka.admin import ConfigResource, ConfigResourceType
    from kafka.errors import ClusterAuthorizationFailedError, TopicAuthorizationFailedError

    counts = partition_counts(admin, Names(settings.prefix).all())
    existing = [name for name, count in counts.items() if count]
    configs: dict[str, dict[str, str]] = {}
    if existing:
        with contextlib.suppress(ClusterAuthorizationFailedError, TopicAuthorizationFailedError):
            answer: dict[str, Any] = admin.describe_configs(
                [ConfigResource(ConfigResourceType.TOPIC, name) for name in existing], config_filter="all"
            )
            for name, entries in answer["topic"].items():
                configs[name] = {key: str(entry["value"]) for key, entry in entries.items()}
    return [Described(name, count, configs.get(name, {})) for name, count in counts.items()]


def too_low(settings: Settings, described: Iterable[Described]) -> list[Low]:
    """Where topics have less than is planned of what they may only have more of (`AT_LEAST`)."""
    planned = {topic.name: topic.configs for topic in plan(settings)}
    lacking = []
    for topic in described:
        for setting in AT_LEAST:
            if setting in planned[topic.name] and setting in topic.configs:
                found, wanted = int(topic.configs[setting]), int(planned[topic.name][setting])
                if found < min(wanted, ENOUGH.get(setting, wanted)):
                    lacking.append(Low(topic.name, setting, found, wanted))
    return lacking


def wrong_cleanup(settings: Settings, described: Iterable[Described]) -> list[Cleanup]:
    """Topics that exist and are not cleaned up as planned; those whose settings nobody tells are left out."""
    planned = {topic.name: topic.configs[NEEDED] for topic in plan(settings)}
    return [
        Cleanup(topic.name, found, planned[topic.name])
        for topic in described
        if topic.partitions and (found := topic.configs.get(NEEDED, "")) not in ("", planned[topic.name])
    ]


def wrong_spread(settings: Settings, described: Iterable[Described]) -> str:
    """What is wrong where `releases` has several partitions: the order of its records says what is live."""
    releases = Names(settings.prefix).releases
    count = max((topic.partitions for topic in described if topic.name == releases), default=0)
    if count < 2:
        return ""
    return (
        f"{releases} has {count} partitions, not 1: which release is live depends on the order of its records"
    )


def _metadata(admin: "KafkaAdminClient", names: list[str]) -> list[dict[str, Any]]:
    return [topic for topic in admin.describe_topics(names) if topic["error_code"] == 0]


def _await_leaders(admin: "KafkaAdminClient", created: list[Topic]) -> None:
    """Wait until each partition's leader serves it, which is a little later than the metadata say so.

    Producers would find out by themselves, with a retry and a line in the log for each partition.
    """
    from kafka import TopicPartition
    from kafka.errors import KafkaError
    from kafka.protocol.consumer import OffsetSpec

    everywhere = {
        TopicPartition(topic.name, number): OffsetSpec.LATEST
        for topic in created
        for number in range(topic.partitions)
    }
    with contextlib.suppress(KafkaError):
        admin.list_partition_offsets(everywhere, timeout_ms=10_000)


def _deleted_after(retention_ms: str) -> dict[str, str]:
    return {"cleanup.policy": "delete", "retention.ms": retention_ms}
