"""What becomes of acknowledgements that fail."""

import asyncio
import gc
from typing import Any

import pytest

from streams.transport import delivery
from streams.transport.fence import Fenced


def test_of_several_that_fail_together_one_is_heard_and_the_others_leave_no_traceback() -> None:
    told: list[Any] = []

    async def fail() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: told.append(context))
        futures = [loop.create_future() for _ in range(3)]
        delivery._fail(futures, Fenced("the place is lost"))
        with pytest.raises(Fenced):
            await delivery.acknowledged(futures)

    asyncio.run(fail())
    gc.collect()
    assert told == []
