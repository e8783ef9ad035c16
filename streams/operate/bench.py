"""Freshness and swaps of a running system, measured from outside with plain Kafka clients.

Knows the contract and nothing else of the system: what is timed is what a producer and a consumer see, from
sending a record to holding the list that shows its effect. `nextclick bench` says how to call it.
"""

import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from kafka import TopicPartition

from learner.release.bundle import release_id
from learner.release.files import amend
from streams.operate.releases import add
from streams.releases.store import cache_of, fetch
from streams.releases.topic import roles_now
from streams.settings import Settings
from streams.transport import clients
from streams.transport.topic_reader import read_to_end
from streams.transport.topics import Names
from streams.wire.contract import Click, Recommendation, Request, encode

WAIT_SECONDS = 20.0  # for one list, and for one effect
ALL = 1000  # the longest list that the contract allows: what is not in it is not known
RECENT = 20_000  # clicks that users and items to measure with are taken from
_SWAP_WINDOW = 1.0  # seconds on either side of a swap in which lists count as made around it

_decode = msgspec.json.Decoder(Recommendation).decode


class BenchError(Exception):
    """Nothing could be measured: says why and what to do."""


@dataclass(slots=True)
class Answer:
    """A list, when it was in the consumer's hands (seconds of the monotonic clock), and its CreateTime."""

    made: Recommendation
    at: float
    created_ms: int


class Probe:
    """A producer of clicks, items and requests, and a consumer of lists in a thread of its own."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.names = settings, Names(settings.prefix)
        self.producer = clients.producer(settings, linger_ms=0)
        self.answers: dict[str, Answer] = {}
        self._news = threading.Condition()
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._ready.wait(WAIT_SECONDS):
            raise BenchError(f"{self.names.recommendations} cannot be read; see `nextclick doctor`")

    def close(self) -> None:
        """Ends the reading."""
        self._stop.set()
        self._reader.join(5)
        self.producer.close(5)

    def send(self, topic: str, key: str, message: Any) -> float:
        """Sends one record without waiting for it; returns the moment."""
        at = time.perf_counter()
        self.producer.send(topic, key=key.encode(), value=None if message is None else encode(message))
        return at

    def click(self, user: str, item: str, timestamp: int) -> tuple[str, float]:
        """Sends a click; returns its event id and the moment."""
        event_id = f"bench-{uuid.uuid4().hex}"
        message = Click(event_id=event_id, user_id=user, item_id=item, event="click", timestamp=timestamp)
        return event_id, self.send(self.names.clicks, user, message)

    def wait(self, trigger: str) -> Answer:
        """The list of a trigger. Raises BenchError where none comes."""
        with self._news:
            if not self._news.wait_for(lambda: trigger in self.answers, WAIT_SECONDS):
                raise BenchError(
                    f"no list within {WAIT_SECONDS:.0f} s: are a worker and a learner running on prefix "
                    f"{self.settings.prefix!r}? See `nextclick doctor`"
                )
            return self.answers.pop(trigger)

    def ask(self, user: str, timestamp: int, k: int = ALL) -> Answer:
        """The list of a user at a time of the stream."""
        request = Request(request_id=f"bench-{uuid.uuid4().hex}", user_id=user, timestamp=timestamp, k=k)
        self.send(self.names.requests, user, request)
        return self.wait(request.request_id)

    def until(self, since: float, holds: Callable[[], Answer | None], what: str) -> float:
        """Milliseconds from `since` until `holds` brings the list that shows it."""
        while time.perf_counter() < since + WAIT_SECONDS:
            answer = holds()
            if answer is not None:
                return (answer.at - since) * 1000
        raise BenchError(f"{what}: not within {WAIT_SECONDS:.0f} s")

    def _read(self) -> None:
        with clients.consumer(
            self.settings, self.names.recommendations, auto_offset_reset="latest", fetch_max_wait_ms=50
        ) as consumer:
            while not consumer.assignment():
                consumer.poll(timeout_ms=50)
            for place in consumer.assignment():
                consumer.position(place)
            self._ready.set()
            while not self._stop.is_set():
                fetched = consumer.poll(timeout_ms=100)
                at = time.perf_counter()
                with self._news:
                    for records in fetched.values():
                        for record in records:
                            self.take(Answer(_decode(record.value), at, record.timestamp))
                    self._news.notify_all()

    def take(self, answer: Answer) -> None:
        """Keeps the first list of each trigger; called by the reading thread."""
        self.answers.setdefault(answer.made.trigger.id, answer)


@contextmanager
def probing(settings: Settings) -> Iterator[Probe]:
    """A probe for the length of a block."""
    probe = Probe(settings)
    try:
        yield probe
    finally:
        probe.close()


def freshness(settings: Settings, samples: int, tick: Callable[[str], None]) -> dict[str, Any]:
    """Times how soon an effect shows; each figure in milliseconds, over `samples` trials one after another.

    own_click_ms: a click, to the list that it triggers. others_click_ms: a click by A, to a list of B's whose
    scores have changed. new_item_ms, withdrawn_item_ms: an `items` record, to a list with or without the
    item. new_release_ms: a copy of the live release announced, to its first list (a tenth of the trials).
    Without other traffic: others' clicks would be taken for A's.
    """
    users, items, now = _recent(settings)
    found: dict[str, list[float]] = {}
    with probing(settings) as probe:
        now = max(now, probe.ask(users[0], now).made.trigger.timestamp)
        for trial in range(samples):
            tick(f"clicks and items, {trial + 1} of {samples}")
            times = _trial(probe, users[trial % len(users)], items[trial % len(items)], now)
            for name, took in times.items():
                found.setdefault(name, []).append(took)
        for trial in range(max(samples // 10, 2)):
            tick(f"releases, {trial + 1} of {max(samples // 10, 2)}")
            found.setdefault("new_release_ms", []).append(_release_trial(probe, users[0], now))
    return {name: quantiles(times) for name, times in found.items()}


def _trial(probe: Probe, other: str, item: str, now: int) -> dict[str, float]:
    """One click by a new user, whose effect on `other` is awaited, and one item that comes and goes."""
    user, name = f"bench-{uuid.uuid4().hex[:8]}", f"bench-item-{uuid.uuid4().hex[:8]}"
    found = {}
    event_id, at = probe.click(user, item, now)
    found["own_click_ms"] = (probe.wait(event_id).at - at) * 1000

    before = probe.ask(other, now).made
    listed = before.items[0].item_id
    _, at = probe.click(user, listed, now)
    found["others_click_ms"] = probe.until(
        at, lambda: _changed(probe.ask(other, now), before, listed), "a click's effect on others"
    )
    at = probe.send(probe.names.items, name, {"item_id": name, "title": "measured", "published_at": now})
    found["new_item_ms"] = probe.until(
        at, lambda: _with(probe.ask(other, now), name, there=True), "a new item in a list"
    )
    at = probe.send(probe.names.items, name, {"item_id": name, "available": False})
    found["withdrawn_item_ms"] = probe.until(
        at, lambda: _with(probe.ask(other, now), name, there=False), "a list without a withdrawn item"
    )
    probe.send(probe.names.items, name, None)
    return found


def _release_trial(probe: Probe, user: str, now: int) -> float:
    """A copy of the live release, from its announcement to its first list."""
    with copy_of_live(probe.settings) as (folder, name):
        at = time.perf_counter()
        add(probe.settings, folder, "live", "measuring")
        return probe.until(at, lambda: _made_by(probe.ask(user, now, 10), name), "a list by a new release")


@dataclass
class Traffic:
    """Clicks sent at a steady pace by a thread, until stopped."""

    probe: Probe
    users: list[str]
    items: list[str]
    now: int
    rate: float
    sent: dict[str, int] = field(default_factory=dict)  # event id -> Unix ms of sending
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Sends; what it falls behind is sent at once."""
        began, number = time.perf_counter(), 0
        while not self._stop.is_set():
            due = int((time.perf_counter() - began) * self.rate)
            for _ in range(number, due):
                user, item = self.users[number % len(self.users)], self.items[(7 * number) % len(self.items)]
                event_id, _at = self.probe.click(user, item, self.now)
                self.sent[event_id] = int(time.time() * 1000)
                number += 1
            time.sleep(0.001)
        self.probe.producer.flush()

    def stop(self) -> None:
        """Ends the sending after what is due now."""
        self._stop.set()


def swaps(
    settings: Settings, rate: float, count: int, every: float, workers: list[int], tick: Callable[[str], None]
) -> dict[str, Any]:
    """Swaps the live release `count` times under `rate` clicks/s, once in `every` seconds.

    lost: clicks without a list. mixed: lists that name a release which was not announced, or another than
    lists of a later click of the same user had named already. longest_batch_delay_ms: the longest freshness
    of lists made within a second of a swap, over the longest of as many made elsewhere. rss_mb: memory of
    the processes `workers` (process ids on this machine) before the first and after the last swap, null
    without any.
    """
    users, items, now = _recent(settings)
    with probing(settings) as probe:
        now = max(now, probe.ask(users[0], now).made.trigger.timestamp)
        traffic = Traffic(probe, users, items, now, rate)
        known = {record.release for record in [roles_now(settings).live] if record is not None}
        first = rss_mb(workers)
        sender = threading.Thread(target=traffic.run, daemon=True)
        sender.start()
        moments = []
        for number in range(count):
            time.sleep(every)
            tick(f"swap {number + 1} of {count}")
            with copy_of_live(settings) as (folder, name):
                known.add(name)
                add(settings, folder, "live", "measuring")
            moments.append(int(time.time() * 1000))
        time.sleep(every)
        traffic.stop()
        sender.join()
        end = time.perf_counter() + WAIT_SECONDS
        while traffic.sent.keys() - probe.answers.keys() and time.perf_counter() < end:
            time.sleep(0.1)
        answers = {
            event_id: probe.answers[event_id] for event_id in traffic.sent if event_id in probe.answers
        }
        last = rss_mb(workers)
    order = {name: place for place, name in enumerate(_first_seen(answers, traffic.sent))}
    mixed, latest = 0, dict[str, int]()
    for event_id in traffic.sent:
        if event_id in answers:
            made = answers[event_id].made
            mixed += made.release not in known or order[made.release] < latest.get(made.user_id, 0)
            latest[made.user_id] = max(order[made.release], latest.get(made.user_id, 0))
    waited = np.array([[answers[e].created_ms, answers[e].created_ms - traffic.sent[e]] for e in answers])
    changes = _changes(answers)
    near = (np.abs(waited[:, :1] - np.array(changes)[None]) < _SWAP_WINDOW * 1000).any(1)
    beside = float(np.percentile(waited[~near, 1], 99.9)) if (~near).any() else 0.0
    longest = float(waited[near, 1].max(initial=0))
    return {
        "lost": len(traffic.sent) - len(answers),
        "mixed": int(mixed),
        "empty": sum(not answer.made.items for answer in answers.values()),
        "longest_batch_delay_ms": round(max(longest - beside, 0.0), 1),
        "rss_mb": [first, last],
        "clicks": len(traffic.sent),
        "swaps": len(changes),
        "freshness_ms": {
            "around_swaps": quantiles(waited[near, 1]),
            "elsewhere": quantiles(waited[~near, 1]),
        },
        "swap_ms": quantiles([min([c - m for c in changes if c >= m], default=np.nan) for m in moments]),
    }


def _first_seen(answers: dict[str, Answer], sent: dict[str, int]) -> list[str]:
    """Releases in the order in which clicks were first answered by them."""
    return list(dict.fromkeys(answers[event_id].made.release for event_id in sent if event_id in answers))


def _changes(answers: dict[str, Answer]) -> list[int]:
    """CreateTime of the first list of each release but the first."""
    first: dict[str, int] = {}
    for answer in answers.values():
        first[answer.made.release] = min(answer.created_ms, first.get(answer.made.release, answer.created_ms))
    return sorted(first.values())[1:]


def _recent(settings: Settings) -> tuple[list[str], list[str], int]:
    """Users and items of recent clicks, and the stream's time."""
    users: dict[str, None] = {}
    items: dict[str, None] = {}
    now = int(time.time() * 1000) if settings.clock == "wall" else 0
    decode = msgspec.json.Decoder(Click).decode
    topic = Names(settings.prefix).clicks
    with clients.consumer(settings) as consumer:
        places = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
        ends = consumer.end_offsets(places)
    starts = {place.partition: max(end - RECENT // len(ends), 0) for place, end in ends.items()}
    for record in read_to_end(settings, topic, start=starts):
        try:
            click = decode(record.value or b"")
        except msgspec.DecodeError:
            continue
        users[click.user_id] = items[click.item_id] = None
        now = max(now, click.timestamp) if settings.clock == "stream" else now
    if not users:
        raise BenchError(
            f"no clicks on prefix {settings.prefix!r}: load some first, `nextclick load --interactions …`"
        )
    return list(users), list(items), now


@contextmanager
def copy_of_live(settings: Settings) -> Iterator[tuple[Path, str]]:
    """The live release under another id: a folder, and the id."""
    record = roles_now(settings).live
    if record is None:
        raise BenchError(
            "no release is live; start the learner with --release DIR, or `nextclick releases add`"
        )
    source = fetch(record.url, record.sha256, cache_of(settings))
    with tempfile.TemporaryDirectory(prefix="nextclick-bench-") as folder:
        copy = Path(folder) / "release"
        shutil.copytree(source, copy)
        name = release_id(int(time.time() * 1000))
        amend(copy, release=name)
        yield copy, name


def _changed(answer: Answer, before: Recommendation, item: str) -> Answer | None:
    def score(made: Recommendation) -> float | None:
        return next((listed.score for listed in made.items if listed.item_id == item), None)

    return answer if score(answer.made) != score(before) else None


def _with(answer: Answer, item: str, *, there: bool) -> Answer | None:
    return answer if any(listed.item_id == item for listed in answer.made.items) == there else None


def _made_by(answer: Answer, release: str) -> Answer | None:
    return answer if answer.made.release == release else None


def quantiles(times: Any) -> dict[str, float | None]:
    """p50 and p99, None where there is nothing."""
    values = np.asarray(times, float)
    values = values[~np.isnan(values)]
    return {
        f"p{q}": round(float(np.percentile(values, q)), 1) if len(values) else None for q in (50, 99)
    }  # fmt: skip


def rss_mb(processes: list[int]) -> float | None:
    """Resident memory of processes of this machine, in all."""
    if not processes:
        return None
    pages = 0
    for process in processes:
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                pages += int(line.split()[1])
    return round(pages / 1024, 1)


def workers_here(prefix: str) -> list[int]:
    """Process ids of workers on this machine whose command line names the prefix, or none for the default."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        named = words[words.index("--prefix") + 1] if "--prefix" in words[:-1] else "nextclick."
        if "worker" in words[1:5] and any("streams" in w or "nextclick" in w for w in words[:4]):
            found += [int(entry.parent.name)] if named == prefix else []
    return found
