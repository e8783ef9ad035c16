"""How far long work is: bars on a terminal, a line now and then in a pipe or a log.

Knows nothing of what it shows.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from streams.runtime.terminal import console

if TYPE_CHECKING:
    from rich.console import Console

Tell = Callable[[str, float, str], None]
"""Takes the name of a step, which begins when it is first told of, its finished share, and a short text.

Several steps may run at once.
"""

EVERY_S = 20.0  # between two lines of one step in a pipe: often enough to see that it goes on


@contextmanager
def bars(shown_on: "Console | None" = None, width: int = 12) -> Iterator[Tell]:
    """For the length of a block what is to be told; on stderr unless said otherwise.

    `width` is that of the steps' names on a terminal.
    """
    on = shown_on or console(stderr=True)
    if not on.is_terminal:
        yield Lines(lambda line: on.print(line, markup=False, highlight=False, soft_wrap=True))
        return
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    name = TextColumn(f"{{task.description:>{width}}}", markup=False)
    columns = (name, BarColumn(), TextColumn("{task.fields[text]}", markup=False), TimeElapsedColumn())
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=on) as progress:

        def tell(step: str, share: float, text: str) -> None:
            if step not in tasks:
                tasks[step] = progress.add_task(step, total=1.0, text="")
            progress.update(tasks[step], completed=share, text=text)
            if share >= 1:
                progress.stop_task(tasks[step])  # its time stands still

        yield tell


class Lines:
    """A line where a step begins, one where it is done, and between them one every `EVERY_S` seconds."""

    def __init__(self, say: Callable[[str], None], now: Callable[[], float] = time.monotonic) -> None:
        self._say, self._now = say, now
        self._began: dict[str, float] = {}
        self._said: dict[str, float] = {}  # when each step that is not done was last told of

    def __call__(self, step: str, share: float, text: str) -> None:
        """Says how far the step is, if it is time to."""
        now = self._now()
        if step not in self._began:
            self._began[step] = self._said[step] = now
            if share < 1:
                self._say(f"{step}: begins{text and f' ({text})'}")
                return
        done = share >= 1
        if step not in self._said or (not done and now - self._said[step] < EVERY_S):
            return
        self._said[step] = now
        seconds = f"{now - self._began[step]:.0f} s"
        if done:
            del self._said[step]
            self._say(f"{step}: done after {seconds}{text and f' ({text})'}")
        else:
            self._say(f"{step}: {share:.0%} after {seconds}{text and f' ({text})'}")
