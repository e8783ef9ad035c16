"""What a command prints: data as they are, on any terminal and in any pipe.

Owns the consoles: nothing in a text is taken for markup, what the terminal's encoding lacks is replaced, and
no line of a pipe is broken, so that commands and paths in it can be copied. Imports rich only when needed.
"""

import io
import json
import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_WIDE = 1000  # columns of a table in a pipe, which nobody folds


def replace_unknown() -> None:
    """From now on a character that an output's encoding lacks is replaced: no command ends for one."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def console(*, stderr: bool = False) -> "Console":
    """A console whose lines are printed as they are; a table is to be printed with `soft_wrap=False`."""
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)
    if not made.is_terminal:
        made.width = _WIDE
    return made


def shown_json(text: str) -> str:
    """JSON as it can be printed here: escaped where the terminal's encoding would lose characters."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(json.loads(text))
    return text


def on_a_line(text: str) -> str:
    """Text of others as a part of one line: control characters are spelt, so that none moves the cursor."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def many(count: int, what: str) -> str:
    """A number with its noun: "1 click", "1,000 clicks"."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
