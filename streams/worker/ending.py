"""How a worker's process ends: in time, come what may.

Owns the deadline of the stop. A broker that is gone would be waited for a minute and more, a store that hangs
for as long as it likes, and whoever asked for the end kills by then. Knows nothing of what is stopped.
"""

import os
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from mode import Worker as ModeWorker

log = structlog.get_logger()


class Ending(ModeWorker):  # type: ignore[misc]
    """Signals and the event loop around an app; `at_last` is called once the app has stopped.

    What is left `stop_seconds` after the first word to stop is left behind: the exit code is 1 where the app
    had not come to its end (its failure's own, where it has one), 0 where only threads had not (the
    interpreter would wait for every one of them).
    """

    def __init__(self, app: Any, stop_seconds: float, at_last: Callable[[], Awaitable[None]]) -> None:
        super().__init__(app, loglevel="warning", override_logging=False, redirect_stdouts=False)
        self._app = app
        self._seconds = stop_seconds
        self._at_last = at_last
        self._all_stopped = False

    async def stop(self) -> None:
        """Stops the app, or ends the process without it."""
        deadline = threading.Timer(self._seconds, self._end)
        deadline.daemon = True
        deadline.start()  # and never cancelled: the end of this call is not that of the process
        await super().stop()
        await self._at_last()
        self._all_stopped = True

    def _end(self) -> None:
        if self._all_stopped:
            log.info("ended while a thread was at work, perhaps on a release that does not come")
            os._exit(self._code if self._app.crashed else 0)
        log.warning(
            "ended before all was stopped", seconds=self._seconds,
            mend="nothing is lost: what was not acknowledged is read again; does the broker answer?",
        )  # fmt: skip
        os._exit(self._code)

    @property
    def _code(self) -> int:
        """That of the app's failure, which is said; 1 where it has none."""
        failure = self._app.crash_reason if self._app.crashed else None
        if failure is not None:
            log.error("what ended it", error=f"{type(failure).__name__}: {failure}")
        return int(getattr(failure, "exit_code", 1))
