"""From answers to decisions: the canary goes live or back; an alarm when the live release hits less.

Owns which answers count for which release, and which records follow from a verdict. The statistics are
`learner.judging.sequential`'s and `learner.judging.drift`'s. Knows no topic.
"""

from collections.abc import Callable

import structlog

from learner.judging.drift import HitRateDrift
from learner.judging.sequential import Arm, CanaryTest, Verdict
from streams.learning.answers import Answer
from streams.learning.hit_rates import HitRates
from streams.releases.canary import assign
from streams.releases.events import Event
from streams.releases.roles import DRIFTED, PINNED, Roles, changed, promote, take_back
from streams.settings import Settings
from streams.wire.contract import ReleaseRecord

log = structlog.get_logger()

Note = Callable[[Event], None]
LONGEST_WAIT = 4  # times `canary_minutes`, where too few users come for a verdict
# Clicks of the canary's users that may lack an answer to its lists, beside as many as have one: some of them
# answer a list that was made before it began.
UNANSWERED = 20


class Decider:
    """Turns answers into decisions. Pure: time is an argument, and the records come back through `roles`.

    Patience is for time that was `watched`, never for what the clock says: hours in which nobody looked, or
    nothing ran, are no reason to believe in a canary. A restart begins it anew; answers are read again.
    `note` is told of what leads to no record.
    """

    def __init__(
        self, settings: Settings, roles: Roles, drift: HitRateDrift | None = None,
        note: Note = lambda _: None,
    ) -> None:  # fmt: skip
        self.settings, self.roles = settings, roles
        self.answers = 0
        self.rates = HitRates()
        self._drift, self._note = drift, note
        self._test: CanaryTest | None = None
        self._canary: str | None = ""  # under test, "" for none; None: to be looked at anew
        self._share = 0.0
        self._watched_ms = 0.0  # since the canary began
        self._expected = 0  # lists of the canary
        self._live = ""
        self._alarmed: str | None = None

    def figures(self) -> dict[str, float | int]:
        """What is known of the running canary, and the live hit rate; for metrics and dashboards."""
        told: dict[str, float | int] = {} if self._test is None else self._test.figures()
        if self._drift is not None:
            told["hit_rate"] = self._drift.rate
        return told

    def watched(self, ms: float) -> None:
        """So much more time was watched: what was clicked and listed in it has been observed."""
        self._follow_roles()
        self._watched_ms += ms

    def expect(self, user_id: str) -> None:
        """A click of the user has come, and there is or will be a list for it to answer."""
        self._follow_roles()
        if self._test is not None and assign(user_id, self._share, self._canary or ""):
            self._expected += 1

    def observe(self, answer: Answer) -> None:
        """Takes one answer; it counts for the release that had made the list."""
        self._follow_roles()
        self.answers += 1
        if answer.release == self._live:
            self.rates.observe(answer.hit, answer.popular)
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
        verdict = self._test.decide(self._watched_ms) or self._without_users(canary, self._test)
        if verdict is None or (verdict.promote and self.roles.pinned):
            return []
        return self._consequence(canary, verdict, now_ms)

    def _without_users(self, canary: ReleaseRecord, test: CanaryTest) -> Verdict | None:
        """After long watching too few users have come: what the gate has passed goes live, else it ends.

        So does one that the few who came speak against, and one whose users came and got no list of it.
        """
        minutes = self._watched_ms / 60_000
        if minutes < LONGEST_WAIT * self.settings.canary_minutes:
            return None
        figures = test.figures()
        few = f"too few users in {minutes:.0f} watched minutes to tell ({test.came()})"
        if self._expected > 2 * figures["clicks_canary"] + UNANSWERED:
            return Verdict(
                False, f"{few}, but {self._expected:,} clicks by its users had few lists or no list of it to "
                "answer: see whether the workers run and have loaded it", figures,
            )  # fmt: skip
        if test.looks_worse():
            return Verdict(False, f"{few}, and those who came fared worse", figures)
        passed = "ratio_low" in canary.evidence
        word = "the gate had passed it" if passed else "and no gate has seen it"
        return Verdict(passed, f"{few}, {word}", figures)

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
            self._canary = None  # was compared with the one before
            if self._drift is not None:
                self._drift.reset()
        name = canary.release if canary is not None else ""
        if name != self._canary:
            self._canary = name
            self._test, self._watched_ms, self._expected = None, 0.0, 0
            self._share = self.roles.share(self.settings.canary_share)
            if name:
                self._test = CanaryTest(patience_ms=60_000 * self.settings.canary_minutes)
