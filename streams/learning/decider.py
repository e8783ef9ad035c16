"""From answers to decisions: the canary goes live or back; an alarm when the live release hits less.

Owns which answers count for which release, and which records follow from a verdict. The statistics are
`learner.judging.sequential`'s and `learner.judging.drift`'s. Knows no topic.
"""

from collections.abc import Callable

import structlog

from learner.judging.drift import HitRateDrift
from learner.judging.sequential import Arm, CanaryTest, Verdict
from streams.learning.answers import Answer
from streams.releases.events import Event
from streams.releases.roles import DRIFTED, PINNED, Roles, changed, promote, take_back
from streams.settings import Settings
from streams.wire.contract import ReleaseRecord

log = structlog.get_logger()

Note = Callable[[Event], None]
LONGEST_WAIT = 4  # times `canary_minutes`, where too few users come for a verdict


class Decider:
    """Turns answers into decisions. Pure: time is an argument, and the records come back through `roles`.

    `note` is told of what leads to no record.
    """

    def __init__(
        self, settings: Settings, roles: Roles, drift: HitRateDrift | None = None,
        note: Note = lambda _: None,
    ) -> None:  # fmt: skip
        self.settings, self.roles = settings, roles
        self.answers = 0
        self._drift, self._note = drift, note
        self._test: CanaryTest | None = None
        self._canary = ""
        self._live = ""
        self._alarmed: str | None = None

    def figures(self) -> dict[str, float | int]:
        """What is known of the running canary, and the live hit rate; for metrics and dashboards."""
        told: dict[str, float | int] = {} if self._test is None else self._test.figures()
        if self._drift is not None:
            told["hit_rate"] = self._drift.rate
        return told

    def observe(self, answer: Answer) -> None:
        """Takes one answer; it counts for the release that had made the list."""
        self._follow_roles()
        self.answers += 1
        if answer.release == self._live and self._drift is not None:
            alarm = self._drift.observe(answer.user_id, answer.hit)
            if alarm is not None:
                self._alarmed = str(alarm)
        if self._test is not None and answer.release in (self._live, self._canary):
            arm: Arm = "live" if answer.release == self._live else "canary"
            self._test.observe(answer.user_id, arm, answer.hit, answer.attributed)

    def decide(self, now_ms: int) -> list[ReleaseRecord]:
        """Records of what has been decided since the last call."""
        self._follow_roles()
        return self._decide_canary(now_ms) or self._decide_drift(now_ms)

    def _decide_canary(self, now_ms: int) -> list[ReleaseRecord]:
        canary = self.roles.canary
        if canary is None or self._test is None:
            return []
        elapsed_ms = now_ms - canary.at
        verdict = self._test.decide(elapsed_ms) or self._without_users(canary, elapsed_ms)
        if verdict is None or (verdict.promote and self.roles.pinned):
            return []
        return self._consequence(canary, verdict, now_ms)

    def _without_users(self, canary: ReleaseRecord, elapsed_ms: int) -> Verdict | None:
        """Long after its time too few users have come: what the gate has passed goes live, else it ends."""
        assert self._test is not None
        minutes = elapsed_ms / 60_000
        if minutes < LONGEST_WAIT * self.settings.canary_minutes:
            return None
        passed = "ratio_low" in canary.evidence
        word = "the gate had passed it" if passed else "and no gate has seen it"
        return Verdict(
            passed, f"too few users in {minutes:.0f} minutes to tell, {word}", self._test.figures()
        )

    def _consequence(self, canary: ReleaseRecord, verdict: Verdict, now_ms: int) -> list[ReleaseRecord]:
        self._test = None  # decided: the records are on their way
        decide = promote if verdict.promote else take_back
        return decide(
            self.roles, canary.release, at=now_ms, reason=verdict.reason, evidence=dict(verdict.evidence)
        )

    def _decide_drift(self, now_ms: int) -> list[ReleaseRecord]:
        reason, self._alarmed = self._alarmed, None
        live = self.roles.live
        if reason is None or live is None:
            return []
        log.warning("drift", release=live.release, reason=reason)
        if live.decision == PINNED:
            self._note(Event(at=now_ms, kind="drift", release=live.release, reason=reason))
            return []  # a record would take the pin away, and nothing may follow from it anyway
        return [changed(live, "live", now_ms, DRIFTED, reason)]

    def _follow_roles(self) -> None:
        """Begins anew where another release is live or another canary runs."""
        live, canary = self.roles.live, self.roles.canary
        if live is not None and live.release != self._live:
            self._live = live.release
            self._alarmed = None  # about the one before
            if self._drift is not None:
                self._drift.reset()
        name = canary.release if canary is not None else ""
        if name != self._canary:
            self._canary = name
            self._test = None
            if name:
                self._test = CanaryTest(patience_ms=60_000 * self.settings.canary_minutes)
