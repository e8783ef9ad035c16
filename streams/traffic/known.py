"""Which recorded clicks have been loaded before, whatever their file is called and in what order it stands.

Owns the memory of that: the ids of recorded clicks (a hash of user, item, event, time, value, scenario and
the how-manieth of equals) that were sent from this data folder or stand in the topic `clicks`. A nightly file
holds also what producers have sent live, with ids of their own: told by user, item, event and second.
Workers and the learner remember a user's last 64 events only, so what is known must not be sent. It holds as
long as the users' states do: where `user-states` is made anew, nothing counts as loaded. Knows no files.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from streams.settings import Settings
from streams.transport import clients
from streams.transport.topic_reader import bounds_of, ends_of, read_to_end
from streams.transport.topics import Names, create_missing
from streams.wire.contract import UNREADABLE, Click, decode_click

FORMAT = 1
# As `learner.data.dataset` makes them: other producers' ids are never those of a file.
_RECORDED = re.compile(r"[0-9a-f]{24}")
_MANY = 50_000  # records whose reading takes seconds, which is said
_AT_ONCE = 100_000


class Place(NamedTuple):
    """Where to: a prefix of a cluster, and the topics' ids there ("" where a broker gives none)."""

    cluster: str
    clicks: str
    states: str


class Known:
    """Recorded and live clicks that count already.

    `read_to`: by partition the offset up to which the present topic has been looked through.
    A number of 64 bits for each click, in memory and on the disk.
    """

    def __init__(self, settings: Settings, place: Place) -> None:
        what = f"{place.cluster} {settings.prefix} {place.states}"
        name = f"known-{hashlib.sha256(what.encode()).hexdigest()[:24]}"
        folder = settings.data_dir / "loads"
        self._note, self._ids = folder / f"{name}.json", folder / f"{name}.ids"
        self._settings, self._clicks_id = settings, place.clicks
        self.read_to = self._read_note()
        self._numbers = _read_numbers(self._ids)  # ascending (n,) uint64

    def forget(self) -> None:
        """Nothing counts as loaded any more."""
        for path in (self._note, self._ids):
            path.unlink(missing_ok=True)

    @property
    def begun(self) -> bool:
        """Whether this data folder has loaded into this place before."""
        return self._note.exists()

    def catch_up(self, say: Callable[[str], None]) -> int:
        """Looks through what the topic holds beyond what was looked through before.

        Returns how many records were deleted (by their retention) before anybody looked at them here.
        `remember` makes that the last word on them.
        """
        topic = Names(self._settings.prefix).clicks
        bounds = bounds_of(self._settings, topic)
        start = {
            # An offset behind the end is of a topic that was made anew, on a broker that gives no ids.
            partition: read if (read := self.read_to.get(partition, 0)) <= end else 0
            for partition, (_, end) in bounds.items()
        }
        unread = sum(max(0, end - max(start[each], first)) for each, (first, end) in bounds.items())
        if unread > _MANY:
            say(f"looking through {unread:,} records of {topic} for clicks that were loaded before")
        if unread:
            self._gather(topic, start, say, unread)
        self.read_to = {partition: end for partition, (_, end) in bounds.items()}
        return sum(max(0, first - start[each]) for each, (first, _) in bounds.items())

    def holds(self, clicks: Sequence[Click]) -> NDArray[np.bool_]:
        """Which of these recorded clicks are known, (n,) bool."""
        if not len(self._numbers) or not clicks:
            return np.zeros(len(clicks), np.bool_)
        return self._among(_numbers_of(click.event_id for click in clicks)) | self._among(
            np.array([_moment(click) for click in clicks], np.uint64)
        )

    def note(self, clicks: Sequence[Click]) -> None:
        """Writes down that these are acknowledged; `holds` says so from the next `Known` on.

        Equal rows of a file have ids of their own, so that a load need not know what it sends itself.
        """
        self._append(_numbers_of(click.event_id for click in clicks))

    def sent(self, count: int) -> None:
        """So many were sent since `catch_up`: where nobody else wrote meanwhile, none need be looked through.

        Reading is slower than sending: 18,000 records a second.
        """
        ends = ends_of(self._settings, Names(self._settings.prefix).clicks)
        if sum(end - self.read_to.get(partition, 0) for partition, end in ends.items()) == count:
            self.read_to = ends
            self.remember()

    def _among(self, numbers: NDArray[np.uint64]) -> NDArray[np.bool_]:
        places = np.minimum(np.searchsorted(self._numbers, numbers), len(self._numbers) - 1)
        found: NDArray[np.bool_] = self._numbers[places] == numbers
        return found

    def _gather(self, topic: str, start: dict[int, int], say: Callable[[str], None], unread: int) -> None:
        found: list[NDArray[np.uint64]] = []
        some: list[int] = []
        for count, record in enumerate(read_to_end(self._settings, topic, start=start), 1):
            try:
                click = decode_click(record.value, self._settings.event_names)
            except UNREADABLE:
                continue  # a bad record, which counts nowhere, or the wish to forget somebody
            if click.undo or click.items or click.merged_from is not None:
                continue  # no row of a file
            if _RECORDED.fullmatch(click.event_id):
                some.append(_number(click.event_id))
            else:
                some.append(_moment(click))
            if len(some) == _AT_ONCE:
                found.append(np.array(some, np.uint64))
                some = []
            if count % 1_000_000 == 0:
                say(f"looked through {count:,} of {unread:,} records")
        news = np.unique(np.concatenate([*found, np.array(some, np.uint64)]))
        news = news[~np.isin(news, self._numbers)]
        self._append(news)
        self._numbers = np.union1d(self._numbers, news)

    def _append(self, numbers: NDArray[np.uint64]) -> None:
        if not len(numbers):
            return
        self._ids.parent.mkdir(parents=True, exist_ok=True)
        with self._ids.open("ab") as file:
            file.write(b"\0" * (-file.tell() % 8))  # a crash may have left half a number
            file.write(numbers.astype("<u8").tobytes())
            file.flush()
            os.fsync(file.fileno())

    def _read_note(self) -> dict[int, int]:
        """Offsets of the present topic; another topic is looked through from its beginning."""
        try:
            stored = json.loads(self._note.read_text(encoding="utf-8"))
            if stored["v"] != FORMAT or stored["clicks"] != self._clicks_id:
                return {}
            return {int(partition): int(offset) for partition, offset in stored["read_to"].items()}
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return {}  # none, or damaged: the topic says it again

    def remember(self) -> None:
        """Writes down how far the topic was looked through."""
        self._note.parent.mkdir(parents=True, exist_ok=True)
        draft = self._note.with_suffix(".tmp")
        with draft.open("w", encoding="utf-8") as file:
            json.dump({"v": FORMAT, "clicks": self._clicks_id, "read_to": self.read_to}, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._note)


def place_of(settings: Settings) -> Place:
    """Makes sure of the topics, and asks which they are."""
    names = Names(settings.prefix)
    with clients.admin(settings) as admin:
        create_missing(admin, settings)
        described = admin.describe_topics([names.clicks, names.user_states])
        cluster = str(admin.describe_cluster()["cluster_id"])
    ids = {
        each["name"]: str(topic_id)
        for each in described
        if (topic_id := each.get("topic_id")) and UUID(str(topic_id)).int
    }
    return Place(cluster, ids.get(names.clicks, ""), ids.get(names.user_states, ""))


def _number(event_id: str) -> int:
    """64 bits of a recorded click's id."""
    return int(event_id[:16], 16)


def _numbers_of(event_ids: Iterable[str]) -> NDArray[np.uint64]:
    return np.array([_number(each) for each in event_ids], np.uint64)


def _moment(click: Click) -> int:
    """64 bits of what a live click and its row in a file have in common: files often keep whole seconds."""
    user, item = click.user_id, click.item_id
    text = f"{len(user)} {len(item)} {user}{item} {click.event} {click.timestamp // 1000}"
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def _read_numbers(path: Path) -> NDArray[np.uint64]:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return np.zeros(0, np.uint64)
    return np.unique(np.frombuffer(raw[: len(raw) // 8 * 8], "<u8").astype(np.uint64))
