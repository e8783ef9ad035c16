"""The canary's watch on real topics: a decision from clicks and lists, also across a restart."""

import asyncio
import contextlib
import json
import time
from collections.abc import Sequence

import numpy as np
import pytest

pytest.importorskip("river")

from kafka import KafkaProducer

from streams.learning.canary_watch import CanaryWatch
from streams.releases.canary import assign
from streams.releases.roles import Roles
from streams.settings import Settings
from streams.transport import clients
from streams.transport.topics import Names
from streams.wire.contract import ReleaseRecord

pytestmark = pytest.mark.broker


def traffic(producer: KafkaProducer, topics: Names, rates: dict[str, float], start: int, stop: int) -> None:
    """Each user clicks again and again; the list after a click holds the next one as often as `rates` say."""
    rng = np.random.default_rng(start)
    for n in range(start, stop):
        user = f"u{n % 200}"
        release = "b" if assign(user, 0.4, "b") else "a"
        click = {"event_id": f"e{n}", "user_id": user, "item_id": f"i{n}", "event": "click", "timestamp": n}
        following = f"i{n + 200}" if rng.random() < rates[release] else "other"
        answer = {
            "recommendation_id": f"c-0-{n}", "user_id": user, "release": release, "policy": "p",
            "trigger": {"kind": "click", "id": f"e{n}", "timestamp": n}, "scenario": None, "created_at": n,
            "items": [{"item_id": following, "score": 1, "source": "ann", "reason": {"kind": "popular"}}],
        }  # fmt: skip
        for topic, value in ((topics.clicks, click), (topics.recommendations, answer)):
            producer.send(topic, key=user.encode(), value=json.dumps(value).encode())
    producer.flush()


def test_a_bad_canary_is_taken_back_also_across_a_restart(settings: Settings, topics: Names) -> None:
    with clients.producer(settings) as producer:
        traffic(producer, topics, {"a": 0.9, "b": 0.9}, 0, 600)  # before the canary: not its answers
        time.sleep(0.01)
        at = int(time.time() * 1000)
        roles = Roles(
            [
                ReleaseRecord(release="a", url="", sha256="", role="live", at=1),
                ReleaseRecord(release="b", url="", sha256="", role="canary", at=at),
            ]
        )
        time.sleep(0.01)
        producer.send(topics.clicks, key=b"u0", value=b"{")  # bad input is passed over
        traffic(producer, topics, {"a": 0.5, "b": 0.1}, 10_000, 10_800)
        sent: list[ReleaseRecord] = []

        async def send(decided: Sequence[ReleaseRecord]) -> None:
            sent.extend(decided)

        def watch() -> CanaryWatch:
            return CanaryWatch(settings, clients.async_connection(settings), roles, send)

        async def run(watching: CanaryWatch, until: int) -> None:
            task = asyncio.create_task(watching.run())
            for _ in range(900):
                await asyncio.sleep(0.1)
                if sent or watching.decider.answers >= until or task.done():
                    break
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        first = watch()
        asyncio.run(run(first, 600))
        assert first.decider.answers == 600  # 200 users' first clicks answer nothing
        traffic(producer, topics, {"a": 0.5, "b": 0.1}, 10_800, 13_000)
        second = watch()
        asyncio.run(run(second, 10**9))
    assert [(record.release, record.role, record.decision) for record in sent] == [
        ("b", "retired", "rolled_back")
    ]
    assert sent[0].evidence["hit_rate_live"] == pytest.approx(0.5, abs=0.1)
    assert sent[0].evidence["hit_rate_canary"] == pytest.approx(0.1, abs=0.1)
