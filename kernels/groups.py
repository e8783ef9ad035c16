"""Kernels that take groups of arrays, called from Python without the price of the groups.

A NamedTuple of arrays costs some ten microseconds a call to take apart, twice a list; its arrays one by one
cost a fifth of that. So whoever calls a kernel for each list unpacks its groups, and `one_by_one` makes the
kernel that puts them together again, where it costs nothing.
"""

import typing
from collections.abc import Callable
from typing import Any

import numba


def one_by_one(kernel: Any) -> Callable[..., None]:
    """The kernel with the fields of its NamedTuples as arguments, in their order; all others as they are.

    To be kept in the kernel's module: its machine code is kept beside the kernel's, under `NAME_one_by_one`.
    """
    code, name = kernel.py_func.__code__, f"{kernel.__name__}_one_by_one"
    hints = typing.get_type_hints(kernel.py_func)
    space: dict[str, Any] = {"__name__": kernel.__module__, kernel.__name__: kernel}
    taken: list[str] = []
    given: list[str] = []
    for argument in code.co_varnames[: code.co_argcount]:
        group = hints[argument]
        fields = [f"{argument}_{field}" for field in getattr(group, "_fields", ())]
        taken += fields or [argument]
        given.append(f"{group.__name__}({', '.join(fields)})" if fields else argument)
        if fields:
            space[group.__name__] = group
    source = f"def {name}({', '.join(taken)}):\n    {kernel.__name__}({', '.join(given)})\n"
    # The file's name, since numba keeps machine code by it. The text is made of a function's own names.
    exec(compile(source, code.co_filename, "exec"), space)  # noqa: S102
    made: Callable[..., None] = numba.njit(cache=True, nogil=True)(space[name])
    return made
