"""The release under which this worker failed last, remembered over its restart.

Owns a small file. A release that fails when there is no way back ends the worker, and would do so again at
each start; one that is under suspicion gets a way back (`release_follower`). Knows of a release
its name alone.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from streams.hot_path.serving import Serving


class Suspicion:
    """One worker's; a file that cannot be written or read is no suspicion."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @contextlib.contextmanager
    def falls_on(self, serving: Serving) -> Iterator[None]:
        """What goes wrong in here, and ends the worker, went wrong under the release that is live then."""
        try:
            yield
        except Exception:
            self.note(serving.world.live.release.id)
            raise

    def note(self, release: str) -> None:
        """The worker is about to end, for something that went wrong under this release."""
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.write_text(release, encoding="utf-8")

    def take(self) -> str:
        """The release noted last, once; "" where there is none."""
        with contextlib.suppress(OSError, UnicodeDecodeError):
            release = self._file.read_text(encoding="utf-8")
            self._file.unlink()
            return release
        return ""
