"""The clicks that a trainer keeps, and what has been trained of them.

Owns when clicks move from their topic into the history (also while nothing is trained or judged: the topic
forgets them), and the notes in the history by which a trainer knows what is new. Knows no model.
"""

from collections.abc import Callable, Set
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from learner.data.dataset import Interactions
from learner.data.history import History
from learner.data.times import DAY_MS
from learner.release.bundle import Manifest, ReleaseError
from learner.release.files import read_manifest
from streams.releases.store import StoreError, cache_of, fetch
from streams.settings import Settings
from streams.training.makers import QUICK, Kind
from streams.training.wire import Wire
from streams.wire.contract import ReleaseRecord

log = structlog.get_logger()

MINUTE_MS = 60_000
MOST_CLICKS = 500_000  # that a training reads: the newest, and whole users of those before them
# Clicks are kept before the topic forgets them: when so many wait, and at least every so often.
KEPT_FROM, KEPT_EVERY_MS = 50_000, 60 * MINUTE_MS
FORGOTTEN_EVERY_MS = 60 * MINUTE_MS  # clicks that are too old


@dataclass(frozen=True)
class Past:
    """What has been trained: when the last training began, when the last full one did, new clicks since.

    `quick`: nothing was trained here yet, and the live release was made in haste
    """

    began_ms: int
    full_ms: int
    new: int
    quick: bool = False


class KeptClicks:
    """The history, with what `wire` brings. `wall_ms` is the wall clock."""

    def __init__(self, settings: Settings, wire: Wire, wall_ms: Callable[[], int]) -> None:
        self.history = History(settings.history_url)
        self._settings, self._wire, self._wall_ms = settings, wire, wall_ms
        self._kept_ms = self._looked_ms = wall_ms()
        self._forgot_ms = -FORGOTTEN_EVERY_MS

    @property
    def in_all(self) -> int:
        """Clicks kept, and records of clicks that wait to be."""
        return self.history.clicks + self._wire.unread(self.history)

    @property
    def records(self) -> int:
        """Records of the topic that have been read so far."""
        return sum(self.history.next.values())

    @property
    def attempts(self) -> int:
        """Trainings begun since one came to its end."""
        return int(self.history.state.notes.get("attempts", 0))

    def keep(self) -> None:
        """Moves all new clicks into the history."""
        kept = self._wire.keep(self.history)
        if kept:
            log.info("clicks kept", new=kept, all=self.history.clicks)
        self._kept_ms = self._wall_ms()

    def keep_up(self) -> None:
        """Keeps clicks where many wait, or some for long; to be called all the time."""
        now_ms = self._wall_ms()
        if now_ms - self._looked_ms < MINUTE_MS:
            return
        self._looked_ms = now_ms
        unread = self._wire.unread(self.history)
        if unread >= KEPT_FROM or (unread and now_ms - self._kept_ms >= KEPT_EVERY_MS):
            self.keep()

    def newest(self) -> Interactions:
        """As many of the newest clicks as anything here looks at, in order of time."""
        return self.history.interactions(newest=MOST_CLICKS * 4)

    def idle(self, names: Set[str], data: Interactions | None = None) -> set[str]:
        """Which of the items nobody has clicked for `item_idle_days`.

        `data` are the newest clicks; none is known to be idle where they do not reach back so far.
        """
        data = self.newest() if data is None else data
        since = data.time_ms.max(initial=0) - self._settings.item_idle_days * DAY_MS
        if not len(data) or data.time_ms.min() > since:
            return set()
        return set(names) - {data.item_ids[item] for item in set(data.item[data.time_ms >= since].tolist())}

    def forget(self) -> None:
        """Drops the days on which no click came that is young enough to keep; to be called all the time."""
        now_ms = self._wall_ms()
        if abs(now_ms - self._forgot_ms) < FORGOTTEN_EVERY_MS:  # a clock may go back
            return
        oldest_s = now_ms / 1000 - 86_400 * self._settings.history_days
        day = datetime.fromtimestamp(max(oldest_s, 0), UTC).strftime("%Y-%m-%d")
        if gone := self.history.drop_days_before(day):
            log.info("clicks forgotten", clicks=gone, before=day)
        self._forgot_ms = now_ms

    # -- what has been trained ----------------------------------------------------------------------

    def past(self, live: ReleaseRecord | None) -> Past:
        """Before the first training here it is that of the live release, which somebody trained elsewhere."""
        notes, unread, quick = self.history.state.notes, self._wire.unread(self.history), False
        if "trained_at" in notes:
            began_ms = int(notes["trained_at"])
            new = self.records + unread - int(notes["trained_clicks"])
        else:
            manifest = None if live is None else self._manifest_of(live)
            began_ms = 0 if manifest is None else manifest.created_at
            # Not by offsets: a topic may have forgotten most of its clicks before this trainer came.
            new = self.history.clicks + unread - (0 if manifest is None else manifest.data.events)
            quick = manifest is not None and bool(manifest.training.get(QUICK))
        return Past(began_ms, int(notes.get("full_at", began_ms)), new, quick)

    def note_attempt(self, full_ms: int) -> None:
        """A training begins; `full_ms`: when the last full one began.

        Noted before the first ranker is: its time is no full training's.
        """
        self.history.note(attempts=self.attempts + 1, full_at=full_ms)

    def note_published(self, manifest: Manifest) -> None:
        """Here and not after the training: what a bundle in the outbox was made of must not count as new."""
        kind, records = manifest.training.get("kind"), manifest.training.get("records", manifest.data.events)
        began_ms = training_began_ms(manifest)
        self.note_training("ranker" if kind == "ranker" else "full", began_ms, int(records))

    def note_training(self, kind: Kind, began_ms: int, records: int) -> None:
        """A training that began then, on so many records, has come to its end, good or bad."""
        full = {"full_at": began_ms} if kind == "full" or self._settings.learn == "ranker" else {}
        self.history.note(trained_at=began_ms, trained_clicks=records, attempts=0, **full)

    def _manifest_of(self, live: ReleaseRecord) -> Manifest | None:
        try:
            return read_manifest(fetch(live.url, live.sha256, cache_of(self._settings)))
        except (StoreError, ReleaseError) as error:
            log.warning("the live release cannot be read", error=str(error))
            return None


def training_began_ms(manifest: Manifest) -> int:
    """When the training of a release began; where it was trained elsewhere, about then."""
    return int(manifest.training.get("began_ms", manifest.created_at))
