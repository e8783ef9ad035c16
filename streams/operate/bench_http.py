"""What an api gives under load, measured from outside: held lists, computed ones, clicks, and a stream.

Owns the order of what is measured and the report. How load is made is `http_load`'s business.
"""

import asyncio
import itertools
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec
import numpy as np

from streams.operate.bench import quantiles, recent
from streams.operate.http_load import Load, Outcome, Target
from streams.operate.probe import BenchError
from streams.operate.processes import cpu_seconds, here, listening_on, rss_mb
from streams.runtime.event_loop import fast_loops
from streams.settings import Settings

IN_A_BODY = 100  # clicks
_WARM_UP_RATE = 100.0  # lists a second
_FROM_TIMES = (50, 90, 99)
_LIST_SECONDS = 20.0
_PAUSE_SECONDS = 0.05  # between two clicks of the stream: the system is idle again


@dataclass(frozen=True)
class Plan:
    """How much of what. rate, computed: lists a second; clicks: a second; each for `seconds`.

    users: whose lists are read, at most; samples: clicks whose lists are awaited on a stream
    """

    rate: float
    seconds: float
    computed: float = 100.0
    clicks: float = 5_000.0
    users: int = 1_000
    samples: int = 100


def over_http(
    settings: Settings, target: Target, plan: Plan, rng: np.random.Generator, tick: Callable[[str], None]
) -> dict[str, Any]:
    """Measures all of it, one after the other; times are from when a request was due to its last byte.

    served: held lists a second that were answered. held_ms, computed_ms: by what the answers say of
    themselves. stream_ms: from a click to its list on an open stream. memory_mb: the most of the api, where
    it runs here. late_ms: how late this program was with its own requests; what it could not keep up with is
    no figure.
    """
    users, items, _ = recent(settings)
    fast_loops()
    apis = listening_on(target.port, here("api", settings.prefix))
    return asyncio.run(_Bench(target, plan, rng, tick, users[-plan.users :], items, apis).run())


@dataclass
class _Bench:
    target: Target
    plan: Plan
    rng: np.random.Generator
    tick: Callable[[str], None]
    users: list[str]
    items: list[str]
    apis: list[int]

    async def run(self) -> dict[str, Any]:
        plan, memory = self.plan, [rss_mb(self.apis)]
        self.tick("nothing yet: each user's list is made once")
        first = await self._load(_WARM_UP_RATE, self._reads(self.users))
        if not first.answered:
            why = ", ".join(f"{count} times {what}" for what, count in first.errors.items())
            where = f"{self.target.host}:{self.target.port}"
            raise BenchError(
                f"no list came from {where} ({why}): does an api listen there, and is a worker running? "
                "See `nextclick doctor`"
            )
        self.tick(f"held lists, {plan.rate:g} a second")
        before = self._cpu()
        held = await self._load(plan.rate, self._reads(self._any_users(plan.rate)))
        held_cpu = self._cpu() - before
        memory.append(rss_mb(self.apis))
        self.tick(f"computed lists, {plan.computed:g} a second")
        computed = await self._load(
            plan.computed, self._reads(self._any_users(plan.computed), "&max_age_ms=0")
        )
        self.tick("a click to its list on a stream")
        stream_ms = await self._stream()
        self.tick(f"clicks, {plan.clicks:g} a second")
        clicked = await self._load(plan.clicks / IN_A_BODY, list(self._bodies()), keep_bodies=True)
        memory.append(rss_mb(self.apis))
        accepted = sum(msgspec.json.decode(each)["accepted"] for each in clicked.bodies)
        known = [each for each in memory if each is not None]
        everything = [held, computed]
        return {
            "rate": plan.rate,
            "served": round(held.answered / held.seconds, 1),
            "errors": sum(sum(each.errors.values()) for each in everything),
            "held_ms": _told(everything, "held"),
            "computed_ms": _told(everything, "computed"),
            "memory_mb": max(known) if known else None,
            "stale": sum(len(each.took_ms.get("stale", ())) for each in everything),
            "held_cpu": round(held_cpu / held.seconds, 2) if self.apis else None,
            "computed": {
                "rate": plan.computed,
                "served": round(len(computed.took_ms.get("computed", ())) / computed.seconds, 1),
            },
            "clicks": {
                "rate": plan.clicks, "accepted": round(accepted / clicked.seconds, 1),
                "errors": sum(clicked.errors.values()), "ms": _told([clicked], "202"),
            },
            "stream_ms": quantiles(stream_ms, _FROM_TIMES),
            "late_ms": quantiles(held.late_ms, _FROM_TIMES),
        }  # fmt: skip

    async def _load(self, rate: float, requests: list[bytes], keep_bodies: bool = False) -> Outcome:
        return await Load(self.target, rate, self.rng, keep_bodies).run(requests)

    def _any_users(self, rate: float) -> list[str]:
        chosen = self.rng.integers(0, len(self.users), max(1, round(rate * self.plan.seconds)))
        return [self.users[n] for n in chosen]

    def _reads(self, users: Iterable[str], more: str = "") -> list[bytes]:
        made = {
            user: self.target.get(f"/v1/users/{quote(user, safe='')}/recommendations?k=10{more}")
            for user in set(users)
        }
        return [made[user] for user in users]

    def _bodies(self) -> Iterable[bytes]:
        """Clicks of users of their own, so that nobody's lists are changed by a measurement."""
        run, count = uuid.uuid4().hex[:8], max(1, round(self.plan.clicks * self.plan.seconds / IN_A_BODY))
        item = itertools.cycle(self.items)
        for _ in range(count):
            users = self.rng.integers(0, 1_000, IN_A_BODY)
            clicks = [_click(f"bench-{run}-{n}", next(item)) for n in users]
            yield self.target.post("/v1/clicks", msgspec.json.encode({"clicks": clicks}))

    async def _stream(self) -> list[float]:
        """Milliseconds from sending a click to having its list, one after the other."""
        user, loop = f"bench-{uuid.uuid4().hex[:8]}", asyncio.get_running_loop()
        reader, writer = await asyncio.open_connection(self.target.host, self.target.port)
        other, sender = await asyncio.open_connection(self.target.host, self.target.port)
        found = []
        try:
            writer.write(self.target.get(f"/v1/users/{user}/recommendations/stream?k=10"))
            async with asyncio.timeout(_LIST_SECONDS):
                # Without the first list: it may know the first click, and then stands for that click's own.
                await _until(reader, b"event: recommendation")
            for item in itertools.islice(itertools.cycle(self.items), self.plan.samples):
                click = _click(user, item)
                at = loop.time()
                sender.write(self.target.post("/v1/clicks", msgspec.json.encode(click)))
                async with asyncio.timeout(_LIST_SECONDS):
                    await _until(reader, f'"id":"{click["event_id"]}"'.encode())
                    found.append((loop.time() - at) * 1000)
                    await _until(other, b'"errors":[]')
                await asyncio.sleep(_PAUSE_SECONDS)
        except TimeoutError as error:
            raise BenchError(f"no list came on a stream within {_LIST_SECONDS:.0f} s of its click") from error
        finally:
            writer.close()
            sender.close()
        return found

    def _cpu(self) -> float:
        return sum(map(cpu_seconds, self.apis))


def _click(user: str, item: str) -> dict[str, str]:
    return {"event_id": f"bench-{uuid.uuid4().hex}", "user_id": user, "item_id": item, "event": "click"}


async def _until(reader: asyncio.StreamReader, what: bytes) -> None:
    """Reads on until `what` has come; what stands before it is passed over."""
    end = b""
    while what not in end:
        some = await reader.read(65536)
        if not some:
            raise BenchError("the api has closed the connection")
        end = end[-len(what) :] + some


def _told(outcomes: list[Outcome], kind: str) -> dict[str, float | None]:
    return quantiles([took for each in outcomes for took in each.took_ms.get(kind, ())], _FROM_TIMES)
