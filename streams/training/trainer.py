"""The trainer: when to train, on what, and what becomes of the result, one step at a time.

Owns the way from clicks to a canary: keep new clicks, publish what is trained, put candidates through the
gate, train when it is time, throw old releases away. Whatever it needs to know stands in the topic
`releases`, in the history or in its folder, so a trainer killed at any moment goes on where it was:

    killed while it ...      is found by the next one as ...
    keeps clicks             an older checkpoint: they are read again
    trains                   no bundle: it trains again
    publishes                a bundle in `outbox`: it is published where it has no record, and noted
    is at the gate           a candidate: it is tried again

Runs in a process of its own (`trainer_process`). Knows no worker.
"""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import structlog

from learner.data.catalogue import Item
from learner.data.dataset import Interactions
from learner.data.history import History, recent_and_replayed
from learner.judging.gate import MIN_ANSWERS, Decision, Limits
from learner.release.bundle import Manifest, ReleaseError
from learner.release.files import amend, bundle_sha256, read_manifest, read_release, verify_release
from streams.releases.roles import DRIFTED, SHARE, Roles, changed, enter
from streams.releases.store import ReleaseStore, StoreError, StoreUnreachable, cache_of, fetch
from streams.settings import Settings
from streams.training.gatekeeper import HISTORY, Case, look_over, try_out
from streams.training.makers import MAKERS, Kind, Make
from streams.training.wire import Announced
from streams.wire.contract import ReleaseRecord

log = structlog.get_logger()

MINUTE_MS = 60_000
DAY_MS = 86_400_000
LEAST_NEW = 1000  # clicks since the last training below which another one has nothing to learn
MOST_CLICKS = 500_000  # that a training reads: the newest, and whole users of those before them
HELD_BACK = 0.2  # at most, of the clicks: the newest ones, which the gate asks about
ATTEMPTS = 3  # trainings that may be cut short before the next one waits for its time
# Clicks are kept before the topic forgets them, also while nothing is trained or judged: when so many wait,
# and at least every so often.
KEPT_FROM, KEPT_EVERY_MS = 50_000, 60 * MINUTE_MS


class Wire(Protocol):
    """What a trainer hears and says: `trainer_wire.KafkaWire`, and in tests a list of records."""

    def roles(self) -> Roles:
        """The releases' roles as of now."""

    def announce(self, records: Sequence[ReleaseRecord]) -> None:
        """Sends records to `releases`, in their order."""

    def keep(self, history: History) -> int:
        """Moves new clicks into the history; returns how many."""

    def unread(self, history: History) -> int:
        """How many records of clicks the history does not have."""

    def items(self) -> dict[str, Announced]:
        """The catalogue's owner's word on each item."""


@dataclass(frozen=True)
class Past:
    """What has been trained: when the last training began, when the last full one did, new clicks since."""

    began_ms: int
    full_ms: int
    new: int


@dataclass(frozen=True)
class Due:
    """Which kind of training is due, and why."""

    kind: Kind
    reason: str


class Trainer:
    """`step()` does what there is to do now, and says what it was; "" means nothing."""

    def __init__(
        self, settings: Settings, wire: Wire, *, makers: Mapping[Kind, Make] = MAKERS,
        limits: Limits | None = None,
        wall_ms: Callable[[], int] = lambda: int(time.time() * 1000),
    ) -> None:  # fmt: skip
        self.settings, self.wire = settings, wire
        self.folder = settings.data_dir / "trainer"
        self.outbox = self.folder / "outbox"
        self.outbox.mkdir(parents=True, exist_ok=True)
        for path in self.folder.glob(".*"):  # work of a trainer that was killed
            shutil.rmtree(path, ignore_errors=True)
        self.history = History(settings.history_url)
        self._makers = makers
        self._limits = limits or Limits(margin=settings.gate_margin)
        self._wall_ms = wall_ms
        self._asked_at: dict[str, int] = {}  # candidates that wait: clicks kept when they were last tried
        self._kept_ms = self._looked_ms = wall_ms()

    def step(self) -> str:
        """Publishes, judges, trains: the first of these that there is a reason for."""
        roles = self.wire.roles()
        done = self._publish(roles) or self._judge(roles)
        if not done and (due := self.due(roles)):
            done = self._make(due, roles)
        if done:
            self._tidy()
        self._keep_up()
        return done

    def due(self, roles: Roles) -> Due | None:
        """Whether a training should begin, and which: the ranker on enough new clicks, all of it in time.

        Nothing while the last one is still on its way, or an operator has pinned the live release.
        """
        settings, notes = self.settings, self.history.state.notes
        busy = roles.pinned or roles.canary or roles.candidates or any(self.outbox.iterdir())
        if settings.learn == "none" or busy:
            return None
        live = roles.live
        past = self._past(live)
        new = past.new
        if new < LEAST_NEW:
            return None
        if live is None:
            return Due("full", f"nothing is live and {new:,} clicks are there")
        full: Kind = "ranker" if settings.learn == "ranker" else "full"
        if live.decision == DRIFTED and live.at > past.began_ms:
            return Due(full, f"drift: {live.reason}")
        minutes = (self._wall_ms() - past.full_ms) / MINUTE_MS
        if minutes >= settings.train_every_minutes:
            return Due(full, f"{minutes:.0f} minutes and {new:,} clicks since the last training")
        if int(notes.get("attempts", 0)) < ATTEMPTS and new >= settings.train_after_clicks:
            return Due("ranker", f"{new:,} new clicks")
        return None

    # -- publishing ---------------------------------------------------------------------------------

    def _publish(self, roles: Roles) -> str:
        """Brings finished bundles into the store and announces them as candidates."""
        for folder in sorted(self.outbox.iterdir()):
            try:
                manifest = read_manifest(folder)
            except ReleaseError as error:
                log.error("a finished bundle cannot be read; it is thrown away", error=str(error))
                shutil.rmtree(folder)
                continue
            if manifest.release not in roles.records:
                try:
                    url = ReleaseStore(self.settings.store_url).put(folder)
                except StoreUnreachable as error:
                    log.warning("the release waits for the store", release=manifest.release, error=str(error))
                    return ""
                self._announce(
                    [
                        ReleaseRecord(
                            release=manifest.release, url=url, sha256=bundle_sha256(folder),
                            role="candidate", at=self._wall_ms(), decision="trained",
                            reason=str(manifest.training.get("why", "")), evidence=_evidence(manifest),
                        )
                    ]
                )  # fmt: skip
            self._note_published(manifest)
            self._clear(folder)
            return f"published {manifest.release}"
        return ""

    def _clear(self, folder: Path) -> None:
        """Takes a bundle whose record is out of the outbox."""
        shutil.rmtree(folder)

    # -- the gate -----------------------------------------------------------------------------------

    def _judge(self, roles: Roles) -> str:
        """Puts the first candidate that can be judged through the gate."""
        if roles.pinned or roles.canary:
            return ""
        for record in roles.candidates:
            asked = self._asked_at.get(record.release)
            if (
                asked is not None
                and self.history.clicks + self.wire.unread(self.history) < asked + MIN_ANSWERS
            ):
                continue
            if said := self._judge_one(record, roles):
                return said
        return ""

    def _judge_one(self, record: ReleaseRecord, roles: Roles) -> str:
        minutes = (self._wall_ms() - record.at) / MINUTE_MS
        try:
            decision = self._decision(record, roles.live)
        except StoreUnreachable as error:
            log.warning("the gate waits for the store", release=record.release, error=str(error))
            return ""
        except _LiveUnreadable as error:
            log.error("the gate is shut", release=record.release, error=str(error))
            if minutes < self.settings.train_every_minutes:
                return ""
            # Nobody may ever mend it, and candidates that wait keep newer ones from being trained.
            decision = Decision("refused", f"{error}: there is nothing to compare with; its time is up", {})
        log.info(
            "gate", release=record.release, outcome=decision.outcome, reason=decision.reason,
            evidence=decision.evidence,
        )  # fmt: skip
        if decision.outcome == "waits":
            self._asked_at[record.release] = self.history.clicks
            if record.decision != "trained" or minutes < self.settings.train_every_minutes:
                return ""
            # It would keep a newer one from being trained.
            decision = replace(decision, outcome="refused", reason=f"{decision.reason}; its time is up")
        now = self.wire.roles()  # an operator may have decided meanwhile
        still = now.records.get(record.release)
        if still is None or still.role != "candidate" or now.pinned:
            return f"{record.release} is no candidate any more"
        self._announce(self._consequence(record, decision, now))
        return f"{decision.outcome} {record.release}"

    def _decision(self, record: ReleaseRecord, live: ReleaseRecord | None) -> Decision:
        """Raises StoreUnreachable, and _LiveUnreadable where the live release is damaged."""
        cache = cache_of(self.settings)
        beside = None if live is None else self._verified(live)
        try:
            candidate = fetch(record.url, record.sha256, cache)
            return look_over(candidate) if beside is None else self._compared(candidate, beside)
        except StoreUnreachable:
            raise
        except (StoreError, ReleaseError) as error:
            return Decision("refused", str(error), {}, broken=True)

    def _verified(self, live: ReleaseRecord) -> Path:
        try:
            folder = fetch(live.url, live.sha256, cache_of(self.settings))
            verify_release(folder)
        except StoreUnreachable:
            raise
        except (StoreError, ReleaseError) as error:
            raise _LiveUnreadable(f"the live release cannot be read ({error})") from error
        return folder

    def _compared(self, candidate: Path, live: Path) -> Decision:
        self._keep()
        data = self.history.interactions(newest=HISTORY + self.settings.gate_clicks)
        manifest = read_manifest(candidate)
        unseen = int(data.time_ms.searchsorted(manifest.data.last_ms, "right"))
        start = max(unseen, len(data) - self.settings.gate_clicks)
        announced = self.wire.items()
        began_ms = _began_ms(manifest)
        known = {name for name, said in announced.items() if said.at_ms < began_ms}
        items = [said.item for said in announced.values()]
        return try_out(live, candidate, Case(data, start, items, self._idle_of_all, known), self._limits)

    def _idle_of_all(self, names: Set[str]) -> set[str]:
        return self._idle(self.history.interactions(newest=MOST_CLICKS * 4), names)

    def _consequence(self, record: ReleaseRecord, decision: Decision, roles: Roles) -> list[ReleaseRecord]:
        at, reason, evidence = self._wall_ms(), decision.reason, decision.evidence
        if decision.outcome == "refused":
            role = "quarantined" if decision.broken else "retired"
            return [changed(record, role, at, "refused", reason, evidence)]  # type: ignore[arg-type]
        if roles.live is None:
            return enter(roles, changed(record, "live", at, "first", reason, evidence))
        if self.settings.canary_share == 0:
            return enter(roles, changed(record, "live", at, "promoted", reason, evidence))
        evidence = evidence | {SHARE: self.settings.canary_share}
        return enter(roles, changed(record, "canary", at, "passed", reason, evidence))

    # -- training -----------------------------------------------------------------------------------

    def _make(self, due: Due, roles: Roles) -> str:
        """Trains on all kept clicks but the newest, and leaves the bundle in the outbox."""
        log.info("training begins", kind=due.kind, reason=due.reason)
        begun, used = time.perf_counter(), time.process_time()
        # An alarm that comes while this trains is about clicks that it does not know.
        began_ms = self._wall_ms()
        full_ms = self._past(roles.live).full_ms
        self._keep()
        ends = sum(self.history.next.values())
        attempts = int(self.history.state.notes.get("attempts", 0)) + 1
        # Noted before the first ranker is: its time is no full training's.
        self.history.note(attempts=attempts, full_at=full_ms or began_ms)
        data = self.history.interactions(newest=MOST_CLICKS * 4)
        idle = partial(self._idle, data)
        held_back = min(self.settings.gate_clicks, int(HELD_BACK * len(data))) if roles.live else 0
        data = recent_and_replayed(data.at(slice(0, len(data) - held_back)), MOST_CLICKS)
        live = roles.live
        folder = None if live is None else fetch(live.url, live.sha256, cache_of(self.settings))
        work = self.folder / f".{self._wall_ms()}"
        items = self._items(folder, data, idle)
        kind = due.kind
        try:
            try:
                release = self._makers[kind](self.settings, data, items, folder, work)
            except ReleaseError as error:
                if kind == "full":
                    raise
                log.info("the ranker alone cannot be refreshed; all is trained", error=str(error))
                kind = "full"
                release = self._makers[kind](self.settings, data, items, folder, work)
            cpu_seconds = round(time.process_time() - used, 1)
            told = {
                "kind": kind, "why": due.reason, "cpu_seconds": cpu_seconds, "began_ms": began_ms,
                "records": ends,
            }  # fmt: skip
            training = read_manifest(work).training | told
            amend(work, parents=[live.release] if live else [], training=training)
        except Exception:
            # Not at once again: what failed will mostly fail again.
            self._note_training(kind, began_ms, ends)
            shutil.rmtree(work, ignore_errors=True)
            raise
        work.rename(self.outbox / release)
        log.info(
            "training done", release=release, kind=kind, clicks=len(data), held_back=held_back,
            seconds=round(time.perf_counter() - begun, 1), cpu_seconds=cpu_seconds,
        )  # fmt: skip
        return f"trained {release}"

    def _idle(self, data: Interactions, names: Set[str]) -> set[str]:
        """Which of the items nobody has clicked for `item_idle_days`.

        `data` are the newest clicks; none is known to be idle where they do not reach back so far.
        """
        since = data.time_ms.max(initial=0) - self.settings.item_idle_days * DAY_MS
        if not len(data) or data.time_ms.min() > since:
            return set()
        return set(names) - {data.item_ids[item] for item in set(data.item[data.time_ms >= since].tolist())}

    def _items(
        self, live: Path | None, data: Interactions, idle: Callable[[Set[str]], set[str]]
    ) -> list[Item]:
        """Records of the items that the release shall hold.

        The live release's that are not idle, and the announced ones. One that was withdrawn leaves. Whatever
        was clicked in `data` stays, since histories name it; a withdrawn one as not available.
        """
        found: dict[str, Item] = {}
        clicked = {data.item_ids[number] for number in set(data.item.tolist())}
        if live is not None:
            known = {item.item_id: item for item in read_release(live).items}
            gone = idle(known.keys() - clicked)
            found = {name: item for name, item in known.items() if name not in gone}
        found |= {name: said.item for name, said in self.wire.items().items()}
        return [item for item in found.values() if item.available or item.item_id in clicked]

    def _note_published(self, manifest: Manifest) -> None:
        """Here and not after the training: what a bundle in the outbox was made of must not count as new."""
        kind, records = manifest.training.get("kind"), manifest.training.get("records", manifest.data.events)
        self._note_training("ranker" if kind == "ranker" else "full", _began_ms(manifest), int(records))

    def _note_training(self, kind: Kind, began_ms: int, records: int) -> None:
        full = {"full_at": began_ms} if kind == "full" or self.settings.learn == "ranker" else {}
        self.history.note(trained_at=began_ms, trained_clicks=records, attempts=0, **full)

    # -- the rest -----------------------------------------------------------------------------------

    def _keep(self) -> None:
        kept = self.wire.keep(self.history)
        if kept:
            log.info("clicks kept", new=kept, all=self.history.clicks)
        self._kept_ms = self._wall_ms()

    def _keep_up(self) -> None:
        """Keeps clicks while nothing is trained or judged, for weeks perhaps: the topic forgets them."""
        now_ms = self._wall_ms()
        if now_ms - self._looked_ms < MINUTE_MS:
            return
        self._looked_ms = now_ms
        unread = self.wire.unread(self.history)
        if unread >= KEPT_FROM or (unread and now_ms - self._kept_ms >= KEPT_EVERY_MS):
            self._keep()

    def _past(self, live: ReleaseRecord | None) -> Past:
        """Before the first training here it is that of the live release, which somebody trained elsewhere."""
        notes, unread = self.history.state.notes, self.wire.unread(self.history)
        if "trained_at" in notes:
            began_ms = int(notes["trained_at"])
            new = sum(self.history.next.values()) + unread - int(notes["trained_clicks"])
        else:
            manifest = None if live is None else self._manifest_of(live)
            began_ms = 0 if manifest is None else manifest.created_at
            # Not by offsets: a topic may have forgotten most of its clicks before this trainer came.
            new = self.history.clicks + unread - (0 if manifest is None else manifest.data.events)
        return Past(began_ms, int(notes.get("full_at", began_ms)), new)

    def _manifest_of(self, live: ReleaseRecord) -> Manifest | None:
        try:
            return read_manifest(fetch(live.url, live.sha256, cache_of(self.settings)))
        except (StoreError, ReleaseError) as error:
            log.warning("the live release cannot be read", error=str(error))
            return None

    def _announce(self, records: list[ReleaseRecord]) -> None:
        self.wire.announce(records)
        for record in records:
            log.info(
                "release decided", release=record.release, role=record.role, decision=record.decision,
                reason=record.reason,
            )  # fmt: skip

    def _tidy(self) -> None:
        """Throws away releases that nothing needs, and clicks that are too old."""
        oldest_s = self._wall_ms() / 1000 - 86_400 * self.settings.history_days
        self.history.drop_days_before(datetime.fromtimestamp(max(oldest_s, 0), UTC).strftime("%Y-%m-%d"))
        kept = self.wire.roles().kept(self.settings.keep_releases)
        try:
            gone = ReleaseStore(self.settings.store_url).prune(kept, self.settings.keep_releases)
        except StoreError as error:
            log.warning("old releases stay for now", error=str(error))
            return
        if gone:
            log.info("old releases removed", releases=gone)


class _LiveUnreadable(Exception):  # noqa: N818 (it names what is the matter)
    """The live release is damaged: the gate has nothing to compare with."""


def _began_ms(manifest: Manifest) -> int:
    """When the training of a release began; where it was trained elsewhere, about then."""
    return int(manifest.training.get("began_ms", manifest.created_at))


def _evidence(manifest: Manifest) -> dict[str, Any]:
    data = manifest.data
    return {
        "clicks": data.events, "users": data.users, "items": manifest.items, "first_ms": data.first_ms,
        "last_ms": data.last_ms, "metrics": manifest.metrics,
    }  # fmt: skip
