"""`nextclick compile`: the machine code of every kernel, made and kept before anybody waits for it.

Owns which kernels there are and how many of them have been made; what calls them is `made_up`. Left out are
those that only come with torch, which a training compiles at its first, and those of the baselines, which a
replay does.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numba.core.dispatcher import Dispatcher

from kernels.cache import PACKAGES


@dataclass(frozen=True)
class Kernel:
    """A kernel of a module that has been imported."""

    name: str
    dispatcher: Any

    @property
    def compiled(self) -> bool:
        """Whether this process has made machine code of it."""
        return bool(self.dispatcher.stats.cache_misses)

    @property
    def read(self) -> bool:
        """Whether this process has read its machine code; that of what it calls comes with it."""
        return bool(self.dispatcher.stats.cache_hits)


def imported() -> list[Kernel]:
    """The kernels that machine code is made of by themselves; others go into those that call them."""
    return [
        Kernel(f"{name}.{each.__name__}", each)
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] in PACKAGES
        for each in list(vars(module).values())
        if isinstance(each, Dispatcher)
        and each.__module__ == name
        and each.targetoptions.get("inline") != "always"
    ]


def compile_all(tell: Callable[[str], None] = lambda _: None) -> list[Kernel]:
    """Calls every kernel, and returns them all; `tell` is given words for each step as it begins."""
    from streams.operate.made_up import steps  # only now: to import the kernels takes a second

    for words, step in steps():
        tell(words)
        step()
    return imported()
