"""Watches how lists are answered: ends the canary's test, and notices when the live release hits less.

Owns the reading of `clicks` and `recommendations` for that, from the beginning of a running canary (so a
restart forgets nothing) or else from now on, and the decisions: promotion, the way back, the alarm. The
statistics are `learner.judging.sequential`'s and `learner.judging.drift`'s. One in the learner; knows no
bundle.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord

from learner.judging.drift import HitRateDrift
from learner.judging.sequential import Arm, CanaryTest, Verdict
from streams.releases.canary import Answer, Answers, decode_list
from streams.releases.events import Event
from streams.releases.roles import DRIFTED, PINNED, Roles, changed, promote, take_back
from streams.settings import Settings
from streams.transport.feeds import new_reader
from streams.transport.topics import Names
from streams.wire.contract import UNREADABLE, ReleaseRecord, decode_click

log = structlog.get_logger()

Send = Callable[[Sequence[ReleaseRecord]], Awaitable[None]]
Note = Callable[[Event], None]
DECIDE_SECONDS = 1.0
LONGEST_WAIT = 4  # times `canary_minutes`, where too few users come for a verdict
_FETCHED = 2000  # records at a time


class Judge:
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


class CanaryWatch:
    """The reading side; `run()` until cancelled. `roles` is kept up to date by whoever reads `releases`."""

    def __init__(
        self, settings: Settings, connection: Mapping[str, Any], roles: Roles, send: Send,
        *, repeats: bool = False, note: Note = lambda _: None,
    ) -> None:  # fmt: skip
        names = Names(settings.prefix)
        self.topics = (names.clicks, names.recommendations)
        self.judge = Judge(settings, roles, HitRateDrift(), note)
        self.answers = Answers(repeats=repeats)
        self._connection, self._roles, self._send = connection, roles, send

    async def run(self) -> None:
        """Reads, judges, and sends what is decided."""
        consumer = new_reader(self._connection, *self.topics)
        await consumer.start()
        try:
            await self._seek(consumer)
            decided = time.monotonic()
            while True:
                fetched = await consumer.getmany(timeout_ms=500, max_records=_FETCHED)
                for records in fetched.values():
                    self._take(records)
                    await asyncio.sleep(0)
                if time.monotonic() - decided >= DECIDE_SECONDS:
                    decided = time.monotonic()
                    records = self.judge.decide(int(time.time() * 1000))
                    if records:
                        await self._send(records)
        finally:
            await consumer.stop()

    async def _seek(self, consumer: AIOKafkaConsumer) -> None:
        """To the beginning of the running canary; without one to the end."""
        places = list(consumer.assignment())
        canary = self._roles.canary
        ends = await consumer.end_offsets(places)
        found = {} if canary is None else await consumer.offsets_for_times(dict.fromkeys(places, canary.at))
        for place in places:
            at = found.get(place)
            consumer.seek(place, ends[place] if at is None else at.offset)

    def _take(self, records: Iterable[ConsumerRecord]) -> None:
        for record in records:
            if record.value is None:
                continue
            try:
                if record.topic == self.topics[0]:
                    answer = self.answers.see_click(decode_click(record.value))
                else:
                    answer = self.answers.see_list(decode_list(record.value))
            except UNREADABLE:
                continue
            if answer is not None:
                self.judge.observe(answer)
