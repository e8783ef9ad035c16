"""How far a replay is, on a terminal: a bar for each thing that is told of.

Knows nothing of what it shows.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

Tell = Callable[[str, float, str], None]
"""Takes the name of a bar, which begins when it is first told of, its finished share, and a short text."""


@contextmanager
def bars(console: Console, width: int = 18) -> Iterator[Tell]:
    """Bars for the length of a block; `width` is that of their names."""
    names = TextColumn(f"{{task.description:>{width}}}")
    columns = (names, BarColumn(), TextColumn("{task.fields[text]}"), TimeElapsedColumn())
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=console) as progress:

        def tell(name: str, share: float, text: str) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=1.0, text="")
            progress.update(tasks[name], completed=share, text=text)

        yield tell
