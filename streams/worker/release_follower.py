"""Which releases a worker has in memory and answers with: what the roles say, and what has failed here.

Owns the choice of the first release, the changes to later ones beside the rounds, and the verdict on those
that fail. `release_loader` brings them into memory, `serving` divides users among them. Knows no Kafka:
records come in by `apply`, and what it decides goes out by `decide`.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from learner.data.heap import trim_heap
from learner.release.bundle import ReleaseError
from streams.hot_path.live import Live
from streams.hot_path.serving import Serving
from streams.releases.events import Event, Kind
from streams.releases.roles import DRIFTED, PINNED, RoleError, Roles, changed, take_back
from streams.releases.store import StoreError, StoreUnreachable
from streams.settings import Settings
from streams.wire.contract import ReleaseRecord
from streams.worker.release_loader import Loader

log = structlog.get_logger()

RETRY_SECONDS = 5.0  # until a store that does not answer is asked again
# Decisions that repeat the release that is live already.
_REPEATED = (PINNED, "unpinned", DRIFTED)
Decide = Callable[[Sequence[ReleaseRecord], bool], None]
Note = Callable[[Event], None]


class ReleaseFollower:
    """Changes `serving` as the roles change, under `lock`, between two rounds.

    `decide(records, shared)` gets the records of `releases` that take a failing release back; `shared` where
    every worker comes to the same verdict. `note` is told of swaps and failures. `suspect`: the release under
    which this worker failed the last time.
    """

    def __init__(
        self, settings: Settings, loader: Loader, lock: asyncio.Lock, decide: Decide, note: Note,
        suspect: str = "",
    ) -> None:  # fmt: skip
        self.roles = Roles()
        self._settings = settings
        self._loader = loader
        self._lock = lock
        self._decide = decide
        self._note_event = note
        self._suspect = suspect
        self._awaited = ""  # a release whose store does not answer
        self._bad: set[str] = set()  # releases that failed here
        self._changed = asyncio.Event()  # roles, or what is bad

    def apply(self, record: ReleaseRecord) -> None:
        """Takes the next record of topic `releases`."""
        self.roles.apply(record)
        if record.role in ("live", "canary") and record.decision not in _REPEATED:
            self._bad.discard(record.release)  # somebody wants it tried again
        self._changed.set()

    async def first(self) -> Live:
        """The release to begin with: the given one, or the live one, or while that cannot be had one before.

        Where none is live it waits for one, and where a store does not answer and there is no other for that:
        it is asked again, and the roles may change. Raises what `Loader.load` does of a damaged release with
        none to go back to.
        """
        if self._settings.release is not None:
            return await self._loader.load(self._settings.release, None)
        if self.roles.live is None:
            log.warning(
                "no release is live: waiting for one",
                mend="start the learner with --release DIR, or this worker with --release DIR",
            )
        while True:
            self._changed.clear()
            if (live := self.roles.live) is None:
                await self._changed.wait()
                continue
            try:
                return await self._loader.load(live, None)
            except StoreUnreachable as error:
                self._await(live.release, error)
                if not self._settings.pin and (found := await self._before()) is not None:
                    log.warning(
                        "the live release does not come: the one before begins, and its store is asked again",
                        release=live.release, begins=found.release.id, error=str(error),
                    )  # fmt: skip
                    return found
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), RETRY_SECONDS)
            except (ReleaseError, StoreError, OSError) as error:
                found = await self._before()
                if found is None:
                    raise
                log.error(
                    "release refused; the one before begins", release=live.release, begins=found.release.id,
                    error=str(error),
                )  # fmt: skip
                return found

    async def _before(self) -> Live | None:
        """The newest release that was live before the live one and can be had now."""
        for record in reversed(self.roles.before):
            with contextlib.suppress(ReleaseError, StoreError, OSError):
                return await self._loader.load(record, None)
        return None

    def _await(self, release: str, error: StoreUnreachable) -> None:
        """A store does not answer: told once of each release, however often it is asked."""
        if self._awaited == release:
            return
        self._awaited = release
        log.warning(
            "a release does not come; its store is asked again every few seconds", release=release,
            error=str(error), seconds=RETRY_SECONDS,
        )  # fmt: skip
        self._note("waiting", release, str(error))

    async def keep_a_way_back(self, serving: Serving) -> None:
        """Loads the release before where this worker failed under the live one.

        What it failed at comes again: if the release before can do it, the live one is to blame.
        """
        if serving.world.live.release.id != self._suspect or self._settings.pin:
            return
        for record in reversed(self.roles.before):
            try:
                loaded = await self._loader.load(record, serving)
            except Exception as error:  # models raise what they like
                log.warning("no way back to a release", release=record.release, error=str(error))
                continue
            async with self._lock:
                self._loader.finish(loaded, serving)
                serving.begin_probation(loaded)
            log.warning(
                "this worker failed under the live release, which is on probation now",
                release=self._suspect, before=record.release,
            )  # fmt: skip
            return

    async def run(self, serving: Serving) -> None:
        """Loads, swaps and drops as the roles say, until cancelled."""
        self._changed.set()
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._take_roles(serving)
                await asyncio.to_thread(trim_heap)  # of what was loaded and what was let go
            except StoreUnreachable:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), RETRY_SECONDS)
                self._changed.set()

    def failed(self, release: str, reason: str) -> None:
        """A release has failed at work and was taken out by `serving`."""
        log.error("release failed and was taken out; another one answers", release=release, error=reason)
        self._note("failed", release, reason)
        self._take_back(release, reason, shared=False)

    # -- as the roles say ---------------------------------------------------------------------------

    async def _take_roles(self, serving: Serving) -> None:
        live = self.roles.live
        if live is not None and live.release not in self._bad:
            await self._go_live(live, serving)
        if serving.before is not None and self._is_failed(serving.before.release.id):
            serving.forget_before()  # no way back to that
        canary = self.roles.canary
        if canary is not None and canary.release in self._bad:
            canary = None
        if serving.canary is not None and (
            canary is None or serving.canary.live.release.id != canary.release
        ):
            await self._end_canary(serving.canary.live.release.id, serving)
        if canary is not None and serving.canary is None:
            await self._begin_canary(canary, serving)

    async def _go_live(self, record: ReleaseRecord, serving: Serving) -> None:
        if record.release == serving.world.live.release.id:
            return
        before, began = serving.world.live.release.id, time.monotonic()
        loaded = next((live for live in serving.loaded if live.release.id == record.release), None)
        if loaded is None:
            loaded = await self._loaded(record, serving)
            if loaded is None:
                return
            self._changed.set()  # the roles may have changed meanwhile
            now = self.roles.live
            if now is None or now.release != record.release or record.release in self._bad:
                return
            async with self._lock:
                self._loader.finish(loaded, serving)
                serving.swap(loaded)
        else:
            async with self._lock:
                serving.swap(loaded)
        log.info("release swapped", release=record.release)
        seconds = round(time.monotonic() - began, 2)
        self._note("swap", record.release, f"instead of {before}", before=before, seconds=seconds)

    async def _begin_canary(self, record: ReleaseRecord, serving: Serving) -> None:
        share = self.roles.share(self._settings.canary_share)
        loaded = await self._loaded(record, serving)
        if loaded is None or self.roles.canary is None or self.roles.canary.release != record.release:
            return
        async with self._lock:
            self._loader.finish(loaded, serving)
            serving.begin_canary(loaded, share)
        log.info("canary begins", release=record.release, share=share)
        self._note("canary", record.release, "begins", share=share)

    async def _end_canary(self, release: str, serving: Serving) -> None:
        async with self._lock:
            serving.end_canary()
        log.info("canary ended")
        self._note("canary", release, "ended")

    # -- what fails ---------------------------------------------------------------------------------

    async def _loaded(self, record: ReleaseRecord, serving: Serving) -> Live | None:
        """The release in memory; None where it is refused, which is then on record."""
        try:
            return await self._loader.load(record, serving)
        except StoreUnreachable as error:
            self._await(record.release, error)
            raise
        except Exception as error:  # models raise what they like; nothing that they do stops a worker
            log.error("release refused; the live one goes on", release=record.release, error=str(error))
            self._note("failed", record.release, str(error))
            self._take_back(record.release, str(error), shared=True)
            return None

    def _take_back(self, release: str, reason: str, *, shared: bool) -> None:
        self._bad.add(release)
        record = self.roles.records.get(release)
        self._changed.set()
        if record is None or record.role not in ("live", "canary"):
            return  # nobody announced it, or another worker was faster
        at = int(time.time() * 1000)
        try:
            records = take_back(
                self.roles, release, at=at, reason=reason, role="quarantined", decision="failed"
            )
        except RoleError:  # it was the first one of all
            records = [changed(record, "quarantined", at, "failed", reason)]
        self._decide(records, shared)

    def _is_failed(self, release: str) -> bool:
        record = self.roles.records.get(release)
        return release in self._bad or (record is not None and record.role == "quarantined")

    def _note(self, kind: Kind, release: str, reason: str, **evidence: Any) -> None:
        at = int(time.time() * 1000)
        self._note_event(Event(at=at, kind=kind, release=release, reason=reason, evidence=evidence))
