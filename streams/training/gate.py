"""Who comes to the gate, with what, and what follows from its word.

Owns which candidate is judged when, the case it is judged in, and the role that it gets. `gatekeeper` tries
it out, `learner.judging.gate` judges.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import structlog

from learner.data.times import DAY_MS
from learner.judging.gate import MIN_ANSWERS, Decision, Limits
from learner.release.bundle import ReleaseError
from learner.release.files import read_manifest, verify_release
from streams.releases.roles import SHARE, Role, Roles, changed, enter
from streams.releases.store import StoreError, StoreUnreachable, cache_of, fetch
from streams.settings import Settings
from streams.training.figures import Measured
from streams.training.gatekeeper import HISTORY, Case, look_over, try_out
from streams.training.kept import MINUTE_MS, KeptClicks, training_began_ms
from streams.training.tracking import TRACKED, track_judged
from streams.training.wire import Wire
from streams.wire.contract import ReleaseRecord

log = structlog.get_logger()

LONGEST_WAIT_MS = 7 * DAY_MS  # of an operator's candidate for clicks to be judged by
LOST_MS = 10 * MINUTE_MS  # that a live release must have been unreadable before one that is sound replaces it


class LiveUnreadable(Exception):  # noqa: N818 (it names what is the matter)
    """The live release is damaged or gone: the gate has nothing to compare with."""


class Gate:
    """One candidate at a time; none while a canary runs or an operator has pinned the live release."""

    def __init__(
        self, settings: Settings, wire: Wire, kept: KeptClicks, limits: Limits, wall_ms: Callable[[], int],
        measured: Measured | None = None,
    ) -> None:  # fmt: skip
        self._measured = measured or Measured()
        self._settings, self._wire, self._kept = settings, wire, kept
        self._limits, self._wall_ms = limits, wall_ms
        self._asked_at: dict[str, int] = {}  # candidates that wait: clicks kept when they were last tried
        self._lost: tuple[str, int] | None = None  # the live release, if unreadable, and since when

    def judge(self, roles: Roles) -> str:
        """Puts the first candidate that can be judged through the gate; "" where there is none."""
        if roles.pinned or roles.canary:
            return ""
        names = {record.release for record in roles.candidates}
        self._asked_at = {name: clicks for name, clicks in self._asked_at.items() if name in names}
        for record in roles.candidates:
            asked = self._asked_at.get(record.release)
            if asked is not None and self._kept.in_all < asked + MIN_ANSWERS:
                continue
            if said := self._judge(record, roles):
                return said
        return ""

    def _judge(self, record: ReleaseRecord, roles: Roles) -> str:
        waited_ms = self._wall_ms() - record.at
        try:
            decision = self._decision(record, roles.live)
        except StoreUnreachable as error:
            log.warning("the gate waits for the store", release=record.release, error=str(error))
            return ""
        except LiveUnreadable:
            return ""
        log.info(
            "gate", release=record.release, outcome=decision.outcome, reason=decision.reason,
            evidence=decision.evidence,
        )  # fmt: skip
        self._measured.judged(decision.outcome)
        said = self._followed(record, decision, waited_ms)
        self._track(record, decision)  # behind its word, which waits for no tracker
        return said

    def _followed(self, record: ReleaseRecord, decision: Decision, waited_ms: int) -> str:
        """Does what the gate's word says; "" where the candidate waits."""
        if decision.outcome == "waits":
            self._asked_at[record.release] = self._kept.history.clicks
            if waited_ms < self._patience_ms(record):
                return ""
            mend = f"`nextclick releases promote {record.release}` makes it live"
            reason = f"{decision.reason}; its time is up: {mend}"
            decision = replace(decision, outcome="refused", reason=reason)
        now = self._wire.roles()  # an operator may have decided meanwhile
        still = now.records.get(record.release)
        if still is None or still.role != "candidate" or now.pinned:
            return f"{record.release} is no candidate any more"
        self._wire.announce(self._consequence(record, decision, now))
        return f"{decision.outcome} {record.release}"

    def _decision(self, record: ReleaseRecord, live: ReleaseRecord | None) -> Decision:
        """Raises StoreUnreachable, and LiveUnreadable where the live release has just come to be damaged."""
        beside, trouble = None, ""
        try:
            beside = None if live is None else self._verified(live)
        except LiveUnreadable as error:
            if not self._replaceable:
                raise
            trouble = f"it is sound, and {error}: there is nothing to compare it with"
        try:
            candidate = fetch(record.url, record.sha256, cache_of(self._settings))
            decision = look_over(candidate) if beside is None else self._compared(candidate, beside)
        except StoreUnreachable as error:
            if self._wall_ms() - record.at < LONGEST_WAIT_MS:
                raise
            # Of a store that was given up, such as one of before a change of settings.
            return Decision("refused", f"{error}; its time is up: enter it again", {})
        except (StoreError, ReleaseError) as error:
            return Decision("refused", str(error), {}, broken=True)
        return replace(decision, reason=trouble) if trouble and decision.outcome == "passed" else decision

    def _verified(self, live: ReleaseRecord) -> Path:
        try:
            folder = fetch(live.url, live.sha256, cache_of(self._settings))
            verify_release(folder)
        except StoreUnreachable:
            raise
        except (StoreError, ReleaseError) as error:
            if self._lost is None or self._lost[0] != live.release:
                self._lost = live.release, self._wall_ms()
                log.error(
                    "the live release cannot be read: the gate is shut for now", release=live.release,
                    error=str(error), mend=f"put its folder back within {LOST_MS // MINUTE_MS} minutes; "
                    "else the next release that is sound replaces it unseen",
                )  # fmt: skip
            raise LiveUnreadable(f"the live release {live.release} cannot be read ({error})") from error
        self._lost = None
        return folder

    def _patience_ms(self, record: ReleaseRecord) -> float:
        """How long a candidate may wait for clicks to be judged by.

        One that was trained here would keep a newer one from being trained; an operator's is in nobody's way.
        """
        if record.decision == "trained":
            return self._settings.train_every_minutes * MINUTE_MS
        return LONGEST_WAIT_MS

    def _track(self, record: ReleaseRecord, decision: Decision) -> None:
        if self._settings.tracker == "none" or not decision.evidence:
            return
        try:
            told = read_manifest(fetch(record.url, record.sha256, cache_of(self._settings))).training
        except (StoreError, ReleaseError) as error:
            log.debug("the gate's figures have no run", release=record.release, error=str(error))
            return
        track_judged(self._settings, str(told.get(TRACKED, record.release)), decision.evidence)

    @property
    def _replaceable(self) -> bool:
        """Whether the live release has been lost for so long that nobody will bring it back."""
        return self._lost is not None and self._wall_ms() - self._lost[1] >= LOST_MS

    def _compared(self, candidate: Path, live: Path) -> Decision:
        """On the newest clicks, of those that neither has been trained on: the live one may be the newer."""
        self._kept.keep()
        data = self._kept.history.interactions(newest=HISTORY + self._settings.gate_clicks)
        manifest = read_manifest(candidate)
        known_ms = max(manifest.data.last_ms, read_manifest(live).data.last_ms)
        unseen = int(data.time_ms.searchsorted(known_ms, "right"))
        start = max(unseen, len(data) - self._settings.gate_clicks)
        announced = self._wire.items()
        began_ms = training_began_ms(manifest)
        known = {name for name, said in announced.items() if said.at_ms < began_ms}
        items = [said.item for said in announced.values()]
        case = Case(data, start, items, self._kept.idle, known, self._settings.event_weights)
        return try_out(live, candidate, case, self._limits)

    def _consequence(self, record: ReleaseRecord, decision: Decision, roles: Roles) -> list[ReleaseRecord]:
        at, reason, evidence = self._wall_ms(), decision.reason, decision.evidence
        if decision.outcome == "refused":
            role: Role = "quarantined" if decision.broken else "retired"
            return [changed(record, role, at, "refused", reason, evidence)]
        if roles.live is None:
            return enter(roles, changed(record, "live", at, "first", reason, evidence))
        # Workers that start find no release of before either: a canary could wait for ever for its users.
        lost = self._lost is not None and self._lost[0] == roles.live.release
        if self._settings.canary_share == 0 or lost:
            return enter(roles, changed(record, "live", at, "promoted", reason, evidence))
        evidence = evidence | {SHARE: self._settings.canary_share}
        return enter(roles, changed(record, "canary", at, "passed", reason, evidence))
