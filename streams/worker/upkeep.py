"""What is done beside the rounds: indexes are rebuilt and measured, items expire, idle users make room.

Owns how often and how much at once. Each of these runs until cancelled; what takes long runs in the thread
of `models`.
"""

import asyncio
import contextlib
import os
import time
from concurrent.futures import Executor
from typing import Any

import structlog

from learner.data.heap import trim_heap
from streams.hot_path.serving import Serving
from streams.worker.followed import Followed
from streams.worker.rounds import Rounds
from streams.worker.suspicion import Suspicion
from streams.worker.users import Users

log = structlog.get_logger()

_TEXTS_SECONDS = 1.0  # between looks whether texts are to be read: new items can be searched for after it
COMPACT_SECONDS = 10.0  # between looks at the indexes
# Between two comparisons with an exact search: a second, and a fiftieth of a core at most.
_RECALL_SECONDS, _RECALL_REST = 1.0, 50
_EXPIRE_SECONDS = 60.0  # between looks for idle items
# States re-encoded at once while nobody waits: at most 128 student steps, some 8 ms in all.
_IDLE_USERS = 8
# Between two times that free memory goes back to the system, while nobody waits: what a load of clicks has
# needed is not needed again (20 MB of 100,000 clicks).
_TRIMMED_EVERY_S = 60.0


async def compact(serving: Serving, models: Executor) -> None:
    """Rebuilds indexes where churn has made that worthwhile."""
    while True:
        await asyncio.sleep(COMPACT_SECONDS)
        for live in serving.loaded:
            if live.wants_compaction:
                started = time.monotonic()
                done = await asyncio.get_running_loop().run_in_executor(models, live.compact)
                seconds = round(time.monotonic() - started, 2)
                log.info("index compacted", release=live.release.id, done=done, seconds=seconds)


async def read_texts(serving: Serving) -> None:
    """What queries in plain words need: texts, which are read anew where much has changed; the encoder."""
    going, texts = True, serving.world.steering.texts
    try:
        while True:
            await asyncio.sleep(_TEXTS_SECONDS)
            for live in serving.loaded:  # the cache lets go of what was used longest ago
                if live.meaning.wants_opening and live.release.query_encoder is not None:
                    with contextlib.suppress(OSError):
                        os.utime(live.release.query_encoder)
            if texts.wants_building:
                started = time.monotonic()
                await asyncio.to_thread(texts.build, lambda: going)
                log.info("texts read", seconds=round(time.monotonic() - started, 2))
            if any(live.meaning.asked for live in serving.loaded):
                for live in serving.loaded:
                    if live.meaning.wants_opening:
                        await asyncio.to_thread(live.meaning.open)
    finally:
        going = False


async def watch_recall(serving: Serving, models: Executor) -> None:
    """Measures, for one list in many, how much of it the indexes of the releases in use find."""
    while True:
        took = 0.0
        for live in serving.loaded:
            took += await asyncio.get_running_loop().run_in_executor(models, live.measure_recall)
        await asyncio.sleep(max(_RECALL_SECONDS, _RECALL_REST * took))


async def expire(followed: Followed, lock: asyncio.Lock) -> None:
    """Takes idle items out of the lists, between two rounds."""
    while True:
        await asyncio.sleep(_EXPIRE_SECONDS)
        async with lock:
            followed.expire()


async def tidy(
    rounds: Rounds[Any], serving: Serving, users: Users, lock: asyncio.Lock, suspicion: Suspicion
) -> None:
    """While nothing is pending: re-encodes states after a swap, spills those of idle users, frees memory.

    Where there are too many users they are spilled between two rounds of a backlog, too.
    """
    trimmed = time.monotonic()
    while True:
        done = 0
        if not rounds.pending or users.crowded:
            async with lock:
                if not rounds.pending:
                    with suspicion.falls_on(serving):
                        done = serving.idle(users.states, _IDLE_USERS)
                if users.crowded or not done:
                    done += users.spill_idle(serving.world)
            if not done and time.monotonic() - trimmed > _TRIMMED_EVERY_S:
                await asyncio.to_thread(trim_heap)
                trimmed = time.monotonic()
        await asyncio.sleep(0.02 if done else 1.0)
