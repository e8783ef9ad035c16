"""The trainer: one step at a time, from clicks to a canary.

Owns the order of the steps and when it is time to train: publish what is trained (`publishing`), put
candidates through the gate (`gate`), train (`making`), keep new clicks (`kept`), throw old releases away.
Whatever it needs to know stands in the topic `releases`, in the history or in its folder, so a trainer killed
at any moment goes on where it was:

    killed while it ...      is found by the next one as ...
    keeps clicks             an older checkpoint: they are read again
    trains                   no bundle: it trains again
    publishes                a bundle in `outbox`: it is published where it has no record, and noted
    is at the gate           a candidate: it is tried again

Runs in a process of its own (`process`). Knows no worker.
"""

import time
from collections.abc import Callable, Mapping

import structlog

from learner.data.times import DAY_MS
from learner.judging.gate import Limits
from learner.release.bundle import ReleaseError
from learner.release.files import read_manifest
from streams.releases.roles import DRIFTED, Roles
from streams.releases.store import ReleaseStore, StoreError
from streams.settings import Settings
from streams.training.figures import Measured
from streams.training.gate import Gate
from streams.training.kept import MINUTE_MS, KeptClicks
from streams.training.makers import MAKERS, Kind, Make
from streams.training.making import Due, Making
from streams.training.publishing import Outbox
from streams.training.wire import Wire

log = structlog.get_logger()

LEAST_NEW = 1000  # clicks since the last training below which another one has nothing to learn
ATTEMPTS = 3  # trainings that may be cut short before the next one waits for its time


class Trainer:
    """`step()` does what there is to do now, and says what it was; "" means nothing."""

    def __init__(
        self, settings: Settings, wire: Wire, *, makers: Mapping[Kind, Make] = MAKERS,
        limits: Limits | None = None, measured: Measured | None = None,
        wall_ms: Callable[[], int] = lambda: int(time.time() * 1000),
    ) -> None:  # fmt: skip
        folder = settings.data_dir / "trainer"
        limits = limits or Limits(margin=settings.gate_margin)
        self.settings, self.wire = settings, wire
        self.kept = KeptClicks(settings, wire, wall_ms)
        self.outbox = Outbox(folder / "outbox", settings.store_url, wire, self.kept, wall_ms)
        self.measured = measured or Measured()
        self.gate = Gate(settings, wire, self.kept, limits, wall_ms, self.measured)
        self.making = Making(
            settings, wire, self.kept, makers, folder, self.outbox.folder, wall_ms, self.measured
        )
        self._wall_ms = wall_ms
        self._tidied_ms = 0

    def step(self) -> str:
        """Publishes, judges, trains: the first of these that there is a reason for.

        Clicks that are too old go first of all, whatever fails after it.
        """
        self.kept.forget()
        roles = self.wire.roles()
        done = self.outbox.publish(roles) or self.gate.judge(roles)
        if not done and (due := self.due(roles)):
            done = self.making.make(due, roles.live)
        if done or self._wall_ms() - self._tidied_ms >= DAY_MS:
            self._tidy()
        self.kept.keep_up()
        return done

    def due(self, roles: Roles) -> Due | None:
        """Whether a training should begin, and which: the ranker on enough new clicks, all of it in time.

        Nothing while the last one is still on its way, or an operator has pinned the live release. Another
        one's candidate may wait for clicks meanwhile.
        """
        settings = self.settings
        on_its_way = any(record.decision == "trained" for record in roles.candidates) or self.outbox
        busy = roles.pinned or roles.canary or on_its_way
        if settings.learn == "none" or busy:
            return None
        live = roles.live
        past = self.kept.past(live)
        new = self.measured.new_clicks = past.new
        if new < LEAST_NEW:
            return None
        if live is None:
            return Due("full", f"nothing is live and {new:,} clicks are there")
        full: Kind = "ranker" if settings.learn == "ranker" else "full"
        if live.decision == DRIFTED and live.at > past.began_ms:
            return Due(full, f"drift: {live.reason}")
        if past.quick and self.kept.attempts < ATTEMPTS and full == "full":
            return Due("full", f"the live release was made in haste and lacks {new:,} clicks")
        minutes = (self._wall_ms() - past.full_ms) / MINUTE_MS
        if minutes >= settings.train_every_minutes:
            reason = f"{minutes:.0f} minutes and {new:,} clicks since the last training"
            return Due(full, reason, unhurried=True)
        if self.kept.attempts < ATTEMPTS and new >= settings.train_after_clicks:
            return Due("ranker", f"{new:,} new clicks")
        return None

    def _tidy(self) -> None:
        """Throws away releases that nothing needs."""
        self._tidied_ms = self._wall_ms()
        last = self.settings.keep_releases
        try:
            gone = ReleaseStore(self.settings.store_url).prune(self.wire.roles().kept(last), last)
        except StoreError as error:
            log.warning("old releases stay for now", error=str(error))
            return
        if gone:
            log.info("old releases removed", releases=gone)
        try:
            self.making.encoders.tidy(self._models)
        except (StoreError, ReleaseError) as error:
            log.warning("old encoders stay for now", error=str(error))

    def _models(self) -> set[str]:
        """The models that the releases here were made with."""
        store = ReleaseStore(self.settings.store_url)
        manifests = [store.manifest(release) for release in store.releases()]
        manifests += [read_manifest(folder) for folder in self.outbox.folder.iterdir()]
        return {manifest.encoder.model for manifest in manifests}
