"""`nextclick top`: what all processes say of themselves, live in a terminal.

Owns the table: a line for each process, sorted, with totals. What is read and added up is
`streams.figures`'s.
"""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from streams.figures.reader import FiguresReader
from streams.figures.status import Process, Quantiles, Status
from streams.runtime import terminal
from streams.runtime.ending import ended
from streams.settings import Settings
from streams.transport import clients
from streams.transport.topics import Names, partition_counts

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

_CATCH_UP_SECONDS = 10.0
_COLUMNS = (
    "process", "host:pid", "up", "release", "parts", "clicks/s", "lists/s", "lag", "lag s", "p50 ms",
    "p99 ms", "users", "memory", "said",
)  # fmt: skip
_NOTHING = "–"
_NAMED = 4  # partitions; more are counted


class NobodySpeaks(Exception):  # noqa: N818 (it says how things are)
    """No process says anything of itself."""


def _of(process: Process, name: str) -> float:
    return process.gauges.get(name, 0)


# By the key that is pressed: what lines are sorted by, the largest first, but names.
SORTS: dict[str, tuple[str, Callable[[Process], Any] | None]] = {
    "n": ("name", None),
    "r": ("rate", lambda each: -(_rate(each, "clicks", "api_clicks") + _rate(each, "lists", "api_requests"))),
    "l": ("lag", lambda each: -_of(each, "lag_clicks")),
    "f": ("freshness", lambda each: -(each.freshness_ms.p99 if each.freshness_ms else -1)),
    "m": ("memory", lambda each: -_of(each, "process_resident_memory_bytes")),
    "a": ("age", lambda each: each.started),
}
SORT_WORDS = {word: key for key, (word, _) in SORTS.items()}


def run(settings: Settings, *, once: bool, as_json: bool, sort: str, every_s: float) -> None:
    """Shows it until Ctrl-C or q; `once`: a single time. Raises NobodySpeaks where `once` finds none."""
    names = Names(settings.prefix)
    with clients.admin(settings) as admin:
        if not partition_counts(admin, [names.figures])[names.figures]:
            raise NobodySpeaks(
                f"there is no topic {names.figures} at {settings.bootstrap_servers}: no process has run "
                f"there under this prefix; start one, such as `nextclick worker`, or say another --prefix"
            )
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_shown(FiguresReader(settings), settings, once, as_json, SORT_WORDS[sort], every_s))


async def _shown(
    reader: FiguresReader, settings: Settings, once: bool, as_json: bool, sort: str, every_s: float
) -> None:
    reading = asyncio.create_task(reader.run())
    try:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reader.caught_up.wait(), _CATCH_UP_SECONDS)
        if once or as_json or not sys.stdout.isatty():
            await _lines(reader, settings, once, as_json, sort, every_s)
        else:
            await _screen(reader, settings, sort, every_s)
    finally:
        await ended([reading])


async def _lines(
    reader: FiguresReader, settings: Settings, once: bool, as_json: bool, sort: str, every_s: float
) -> None:
    """One snapshot after the other, as a pipe wants them."""
    console = terminal.console()
    while True:
        status = reader.status
        if as_json:
            print(terminal.shown_json(msgspec.json.encode(status).decode()), flush=True)
        elif not status.processes:
            if once:
                raise NobodySpeaks(_nobody(settings))
            console.print(_nobody(settings))
        else:
            console.print(table(status, sort), soft_wrap=False)
            for remark in status.remarks:
                console.print(f"! {remark.text}")
        if once:
            return
        await asyncio.sleep(every_s)


async def _screen(reader: FiguresReader, settings: Settings, sort: str, every_s: float) -> None:
    """The whole terminal, drawn anew each time and at each key."""
    from rich.live import Live

    pressed: asyncio.Queue[str] = asyncio.Queue()
    with Live(screen=True, auto_refresh=False, console=terminal.console()) as live, _keys(pressed):
        while True:
            live.update(_drawn(reader.status, settings, sort), refresh=True)
            try:
                key = await asyncio.wait_for(pressed.get(), every_s)
            except TimeoutError:
                continue
            if key in ("q", "Q", "\x1b"):
                return
            sort = key if key in SORTS else sort


def _drawn(status: Status, settings: Settings, sort: str) -> "RenderableType":
    from rich.console import Group
    from rich.text import Text

    head = f"nextclick top · {settings.bootstrap_servers} · {settings.prefix} · {time.strftime('%H:%M:%S')}"
    keys = " ".join(f"{key}:{word}" for key, (word, _) in SORTS.items())
    by = f"sorted by {SORTS[sort][0]} · {keys} · q:quit"
    body: list[RenderableType] = [Text(head, "bold"), Text(by, "dim")]
    body.append(table(status, sort) if status.processes else Text(_nobody(settings), "yellow"))
    return Group(*body, *(Text(f"! {remark.text}", "yellow") for remark in status.remarks))


def table(status: Status, sort: str = "n") -> "Table":
    """A line for each process, and one with what they come to."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold reverse")
    for number, name in enumerate(_COLUMNS):
        made.add_column(name, justify="left" if number in (0, 1, 3) else "right", no_wrap=True)
    order = SORTS[sort][1]
    for each in status.processes if order is None else sorted(status.processes, key=order):
        made.add_row(*_row(each, status.at or 0))
    made.add_section()
    made.add_row(*_totals(status), style="bold")
    return made


def _row(each: Process, now_ms: int) -> tuple[str, ...]:
    return (
        each.key if each.key.startswith(each.process) else f"{each.process} {each.key}",
        f"{each.host}:{each.pid}", _span((now_ms - each.started) / 1000), each.release or _NOTHING,
        _parts(each.partitions), _number(_rate(each, "clicks", "api_clicks", "counted_clicks")),
        _number(_rate(each, "lists", "api_lists")),
        _gauge(each.gauges, "lag_clicks", "learner_lag_clicks"), _seconds(each.gauges.get("lag_ms")),
        *_fresh(each.freshness_ms), _gauge(each.gauges, "users", "counted_users"),
        _bytes(each.gauges.get("process_resident_memory_bytes")), _span(each.silent_ms / 1000),
    )  # fmt: skip


def _totals(status: Status) -> tuple[str, ...]:
    rates, gauges = status.per_second, status.gauges
    owned = {number for each in status.processes for number in each.partitions}
    return (
        f"{len(status.processes)} in all", "", "", "", str(len(owned)), _number(rates.get("clicks", 0)),
        _number(rates.get("lists", 0)), _gauge(gauges, "lag_clicks"), _seconds(gauges.get("lag_ms")),
        *_fresh(status.freshness_ms), _gauge(gauges, "users"),
        _bytes(gauges.get("process_resident_memory_bytes")), "",
    )  # fmt: skip


@contextlib.contextmanager
def _keys(pressed: "asyncio.Queue[str]") -> Iterator[None]:
    """Puts each key that is pressed into the queue, without waiting for the end of a line."""
    if not sys.stdin.isatty():
        yield
        return
    import termios
    import tty

    loop, stdin = asyncio.get_running_loop(), sys.stdin.fileno()
    before = termios.tcgetattr(stdin)
    tty.setcbreak(stdin)
    loop.add_reader(stdin, lambda: pressed.put_nowait(os.read(stdin, 1).decode(errors="replace")))
    try:
        yield
    finally:
        loop.remove_reader(stdin)
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)


def _nobody(settings: Settings) -> str:
    return (
        f"no process has spoken on {Names(settings.prefix).figures} at {settings.bootstrap_servers} for ten "
        "seconds: is any running there under this prefix?"
    )


def _rate(each: Process, *names: str) -> float:
    return sum(each.per_second.get(name, 0) for name in names)


def _gauge(gauges: dict[str, float], *names: str) -> str:
    return next((f"{gauges[name]:,.0f}" for name in names if name in gauges), _NOTHING)


def _fresh(quantiles: Quantiles | None) -> tuple[str, str]:
    return (_NOTHING, _NOTHING) if quantiles is None else (_number(quantiles.p50), _number(quantiles.p99))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"


def _seconds(ms: float | None) -> str:
    return _NOTHING if ms is None else _number(ms / 1000)


def _bytes(value: float | None) -> str:
    return _NOTHING if value is None else f"{value / 1e6:,.0f} MB"


def _span(seconds: float) -> str:
    for most, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= most:
            return f"{seconds / most:.0f}{unit}"
    return f"{max(0.0, seconds):.0f}s"


def _parts(numbers: list[int]) -> str:
    """Few are named, many counted."""
    if not numbers:
        return _NOTHING
    return ",".join(map(str, numbers)) if len(numbers) <= _NAMED else f"{len(numbers)} of them"
