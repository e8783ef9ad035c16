"""Ends tasks, whatever they wait for."""

import asyncio
from collections.abc import Iterable
from typing import Any

AGAIN_SECONDS = 5.0  # more than any of them takes to clean up


async def ended(tasks: Iterable["asyncio.Task[Any]"], again_s: float = AGAIN_SECONDS) -> None:
    """Cancels the tasks and waits for their end; their errors are nobody's.

    A cancellation may be lost: where a connection fails in the same moment, Python's `wait_for`, and so
    Kafka's clients, raise that error in its place, and a loop that outlives errors goes on. So it is said
    again.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        over, left = await asyncio.wait(left, timeout=again_s)
        for task in over:
            if not task.cancelled():
                task.exception()  # looked at
