"""What a person sees of recommendations: lists by title, and what is known of one user.

Owns reading `recommendations`, `items` and `user-states` for a terminal.
Knows nothing of how lists come about.
"""

import contextlib
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from learner.release.bundle import ReleaseError
from learner.release.files import read_manifest, read_release
from streams.releases.topic import roles_now
from streams.settings import Settings
from streams.transport.topic_reader import Record, follow, read_to_end
from streams.transport.topics import Names
from streams.wire.contract import (
    UNREADABLE,
    Recommendation,
    decode_click,
    decode_item,
    decode_list,
)

# Lists come milliseconds after their clicks; a click this much older is not shown any more.
CLICKS_REMEMBERED = 10_000
# Two topics are fetched side by side, so a list may arrive before the click it answers.
CLICK_WAIT_S = 0.6


class UserUnknown(Exception):  # noqa: N818
    """No state is kept of a user."""


@dataclass
class Titles:
    """Titles of items, from the live release and the topic `items`; an id stands for itself otherwise."""

    names: dict[str, str] = field(default_factory=dict)

    def learn(self, record: Record) -> None:
        """Take one record of the topic."""
        try:
            item = decode_item(record.value)
        except UNREADABLE:  # tombstones among them
            return
        if item.title:
            self.names[item.item_id] = item.title

    def of(self, item_id: str) -> str:
        """The title, or the id where there is none."""
        return self.names.get(item_id, item_id)

    @classmethod
    def read(cls, settings: Settings) -> "Titles":
        """All titles known now."""
        titles = cls()
        release = roles_now(settings).live
        if release is not None:
            with contextlib.suppress(ReleaseError, OSError):  # it may lie on another machine
                items = read_release(Path(release.url)).items
                titles.names.update({item.item_id: item.title for item in items if item.title})
        for record in read_to_end(settings, Names(settings.prefix).items):
            titles.learn(record)
        return titles


@dataclass(frozen=True)
class Shown:
    """One list with what is needed to read it. `clicked`: the item whose click triggered it, if known."""

    recommendation: Recommendation
    raw: bytes
    clicked: str | None
    freshness_ms: int | None


def lists(
    settings: Settings, titles: Titles, *, user: str | None = None, from_beginning: bool = False
) -> Iterator[Shown]:
    """Lists as they are made, for ever; `titles` follows the topic `items` meanwhile."""
    names = Names(settings.prefix)
    start = "beginning" if from_beginning else "end"
    clicks: dict[str, tuple[str, int]] = {}
    held: deque[tuple[float, Record, Recommendation]] = deque()
    topics = {names.items: "end", names.clicks: start, names.recommendations: start}
    for record in follow(settings, topics):
        if record is None:
            pass
        elif record.topic == names.items:
            titles.learn(record)
        elif record.topic == names.clicks:
            _remember(clicks, record, settings.event_names)
        elif user is None or record.key == user.encode():
            with contextlib.suppress(*UNREADABLE):
                held.append((time.monotonic() + CLICK_WAIT_S, record, decode_list(record.value)))
        while held:
            give_up, waiting, made = held[0]
            known = clicks.pop(made.trigger.id, None)
            if known is None and made.trigger.kind == "click" and time.monotonic() < give_up:
                break
            held.popleft()
            clicked, sent_ms = known or (None, None)
            yield Shown(
                made, waiting.value, clicked, None if sent_ms is None else waiting.timestamp - sent_ms
            )


def known_of(settings: Settings, user: str) -> dict[str, Any]:
    """What is kept of a user: history, consumed items, applied offset, release, hidden state.

    Raises UserUnknown where nothing is.
    """
    from streams.hot_path.state_record import StateError, decode_state
    from streams.operate.one_user import newest_state

    newest = newest_state(settings, user)
    if newest is None:
        raise UserUnknown(
            f"nothing is known of user {user!r} under prefix {settings.prefix!r}; a worker keeps a state "
            "from the first click on"
        )
    try:
        state = decode_state(newest.value)
    except StateError as error:
        raise UserUnknown(f"what is kept of user {user!r} cannot be read: {error}") from error
    return {
        "user_id": state.user_id,
        "events": state.events,
        "merged_into": state.moved_to if isinstance(state.moved_to, str) else None,
        "history": state.history(),
        "consumed": state.consumed(_views_consume(settings, state.release)),
        "applied": {"partition": newest.partition, "offset": state.applied},
        "release": state.release,
        "hidden": [round(float(value), 7) for value in state.hidden_state()],
        "updated_at": newest.timestamp,
    }


def _views_consume(settings: Settings, release: str) -> bool:
    """Whether a view makes an item consumed, as the release says that the state was made with."""
    known = roles_now(settings).records.get(release)
    if known is None:
        return False
    try:
        return read_manifest(Path(known.url)).views_consume
    except (ReleaseError, OSError):
        return False


def _remember(clicks: dict[str, tuple[str, int]], record: Record, names: Mapping[str, str]) -> None:
    try:
        click = decode_click(record.value, names)
    except UNREADABLE:
        return
    clicks[click.event_id] = click.item_id, record.timestamp
    if len(clicks) > CLICKS_REMEMBERED:
        del clicks[next(iter(clicks))]
