"""Is this installation in order? One finding for each thing that must work, and what to do if it does not.

Owns the order of the checks of `nextclick doctor`; a check that makes no sense because an earlier one failed
is left out.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kafka import TopicPartition
from kafka.errors import KafkaError

from streams.operate import machine_checks, topic_checks
from streams.operate.findings import Finding
from streams.releases.topic import roles_now
from streams.runtime.terminal import many
from streams.settings import Settings
from streams.transport import clients
from streams.transport.topic_reader import ReadTimeout, TopicMissing, ends_of
from streams.transport.topics import Names, describe

if TYPE_CHECKING:
    from kafka import KafkaAdminClient


def examine(settings: Settings) -> Iterator[Finding]:
    """All findings, each as soon as it is there."""
    yield machine_checks.python()
    yield from machine_checks.packages()
    yield machine_checks.java()
    yield machine_checks.disk(settings.data_dir)
    yield from machine_checks.writable(settings.data_dir)
    if settings.release:
        yield machine_checks.release(Path(settings.release))
    try:
        with clients.admin(settings) as admin:
            yield from _brokers(admin, settings)
    except clients.BrokerUnreachable as error:
        detail, remedy = str(error).split("; ", 1)
        yield Finding("fail", "brokers", detail, remedy)
    except (KafkaError, ReadTimeout, TopicMissing) as error:
        yield Finding(
            "fail", "brokers", f"they stopped answering while they were asked: {error}",
            "repeat `nextclick doctor`; workers and learner wait for a broker that is away and go on by "
            "themselves",
        )  # fmt: skip


def _brokers(admin: "KafkaAdminClient", settings: Settings) -> Iterator[Finding]:
    cluster = admin.describe_cluster()
    count = len(cluster["brokers"])
    yield Finding(
        "ok",
        "brokers",
        f"{many(count, 'broker')} at {settings.bootstrap_servers}, cluster {cluster['cluster_id']}",
    )
    yield topic_checks.clock(admin, settings)
    described = describe(admin, settings)
    yield from topic_checks.topics(settings, described)
    if all(topic.partitions for topic in described):
        yield from topic_checks.limits(settings, described)
        if not settings.release:
            yield live_release(settings)
        yield workers(admin, settings)
        yield topic_checks.signals(settings)
        yield topic_checks.scenarios(settings)
        yield from topic_checks.aside(settings)
        yield topic_checks.letters(settings)


def live_release(settings: Settings) -> Finding:
    """Whether one is live, and can be fetched and loaded here."""
    from streams.releases.store import StoreError, cache_of, fetch

    announced = roles_now(settings).live
    if announced is None:
        return Finding(
            "warn", "release", "none is live: workers without --release wait for one",
            "`nextclick train`, then start the learner with --release DIR",
        )  # fmt: skip
    try:  # as a worker does
        return machine_checks.release(fetch(announced.url, announced.sha256, cache_of(settings)))
    except (StoreError, OSError) as error:
        detail, _, remedy = str(error).partition("; ")
        return Finding(
            "fail", "release", detail, remedy or "look at what `nextclick releases list` says of it"
        )


def workers(admin: "KafkaAdminClient", settings: Settings) -> Finding:
    """How many run, and how far they are behind."""
    names = Names(settings.prefix)
    running = clients.members(admin, names.worker_group)
    if not running:
        return Finding(
            "warn", "workers", "none is running: clicks wait and requests go unanswered", "nextclick worker"
        )
    committed = admin.list_group_offsets(names.worker_group)[names.worker_group]
    behind = sum(
        max(0, end - committed[place].offset)
        for partition, end in ends_of(settings, names.clicks).items()
        if (place := TopicPartition(names.clicks, partition)) in committed
    )
    return Finding("ok", "workers", f"{running} running, {many(behind, 'click')} behind")
