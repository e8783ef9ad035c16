"""Which event loops a process makes. uvloop takes half of asyncio's time for a callback."""

import asyncio


def fast_loops() -> None:
    """Makes every event loop of this process, in whichever thread, uvloop's; of no effect on Windows."""
    try:
        import uvloop
    except ImportError:
        return
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
