"""Forked processes: connections and threads are their parent's, and so is what waits to be sent.

Owns who is told of a fork. Where systems have none there is nothing to tell.
"""

import os
from typing import Protocol
from weakref import WeakSet


class Forks(Protocol):
    """What must begin anew in a forked process."""

    def _forked(self) -> None:
        """This process is a fork of the one that made it, and has a single thread."""


_told: "WeakSet[Forks]" = WeakSet()


def tell(each: Forks) -> None:
    """It is told of each fork, in the new process, as long as it lives."""
    _told.add(each)


def _tell_all() -> None:
    for each in list(_told):
        each._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_tell_all)
