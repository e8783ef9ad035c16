"""What a check of `nextclick doctor` says.

Owns the form alone.
"""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """What one check found: `subject` in a word or two, `detail` in a line, `remedy` unless it is ok."""

    status: Status
    subject: str
    detail: str
    remedy: str = ""
