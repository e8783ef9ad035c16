"""Tasks end, also those whose cancellation was lost."""

import asyncio

from streams.runtime.ending import ended


def test_a_task_whose_cancellation_was_lost_ends() -> None:
    lost = 0

    async def goes_on() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                if lost == 2:
                    raise
                lost += 1

    async def run() -> bool:
        task = asyncio.create_task(goes_on())
        await asyncio.sleep(0)
        async with asyncio.timeout(90):
            await ended([task], again_s=0.01)
        return task.cancelled()

    assert asyncio.run(run())
    assert lost == 2


def test_what_a_task_raised_is_nobodys_and_none_is_fine() -> None:
    told: list[object] = []

    async def fails() -> None:
        raise OSError

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        task = asyncio.create_task(fails())
        await asyncio.sleep(0)
        await ended([task])
        await ended([])

    asyncio.run(run())
    assert told == []
