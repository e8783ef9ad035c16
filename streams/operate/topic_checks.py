"""What `nextclick doctor` asks a broker: topics, signals, scenarios, refused records, the clock.

Leaves everything as it is, apart from a topic that lives for a moment to ask for the broker's time.
"""

import contextlib
import re
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec
from kafka.errors import KafkaError

from streams.operate.findings import Finding
from streams.operate.scenarios import standing
from streams.runtime.terminal import many
from streams.settings import Settings
from streams.transport import clients
from streams.transport.letters import Retried, read_letters
from streams.transport.topic_reader import ends_of, newest_ms, read_to_end
from streams.transport.topics import Described, Names, too_low, wrong_cleanup, wrong_spread
from streams.wire.intake import cause_of
from streams.worker.aside import named

if TYPE_CHECKING:
    from kafka import KafkaAdminClient

# Clicks more than five minutes ahead are refused, so a clock off by one is worth a word, by four an alarm.
SKEW_WARN_S, SKEW_FAIL_S = 60.0, 240.0
# The learner publishes at most 200 ms after a click, and nothing where there is none to tell of.
SIGNALS_STALE_S = 60.0
_CAUSES_SHOWN = 5  # of what was wrong with records
_NUMBER = re.compile(r"\d+")  # what differs between two of one cause
_FRONTIER_BACK = 2000  # records from the end of `signals`: what was counted is said after each publishing


def topics(settings: Settings, described: list[Described]) -> Iterator[Finding]:
    """Whether all are there, with as many partitions and the cleanup they need."""
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


def limits(settings: Settings, described: list[Described]) -> Iterator[Finding]:
    """Whether records as large as states fit, and withdrawals are kept long enough."""
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


def signals(settings: Settings) -> Finding:
    """Whether they are of this `clicks` topic and as new as the clicks."""
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


def scenarios(settings: Settings) -> Finding:
    """Whether the rules that stand can be used."""
    found = standing(settings)
    broken = [f"{each.name}: {each.broken}" for each in found.values() if each.broken]
    if broken:
        return Finding(
            "warn", "scenarios", f"rules that cannot be used, so those before them hold: {'; '.join(broken)}",
            "`nextclick scenarios put`; a worker also writes the last good ones again",
        )  # fmt: skip
    return Finding("ok", "scenarios", f"{len(found)} have rules" if found else "none has rules")


def letters(settings: Settings) -> Finding:
    """What of the records that were refused waits to be sent again."""
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


def aside(settings: Settings) -> Iterator[Finding]:
    """Named by the workers of this machine alone: the others' logs name theirs."""
    users = list(named(settings.data_dir / "aside"))
    if users:
        shown = ", ".join(users[:5]) + (f" and {len(users) - 5} more" if len(users) > 5 else "")
        yield Finding(
            "warn", "states", f"cannot be kept, so lists come from the signals alone: {shown}",
            "the worker's log says why; `nextclick forget USER` lets one begin anew",
        )  # fmt: skip


def clock(admin: "KafkaAdminClient", settings: Settings) -> Finding:
    """How far this machine's clock is from the broker's."""
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
