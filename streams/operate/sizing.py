"""How many workers, partitions and cores, how much memory, disk and network a load needs.

Owns the arithmetic, and what is left free and why. What one click, item or user costs are constants, each
with its origin (`sizing_constants.json`, or what `nextclick plan --measure` has found). Measures nothing.
"""

import json
import math
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from streams.learning.counting import MOST_USERS
from streams.settings import Settings

BUSY = 0.6  # of a core: above it rounds fill up, and lists come late before anything else is noticed
SPARE = 1  # workers beyond what the load needs, so that one may go without anyone waiting
AVERAGE = 0.4  # of the peak, over a day and a night: what disks fill with
LISTS_DAYS = 7  # as the topic is made
COMPACTED = 2.0  # times what a compacted topic needs, before the cleaner has come by
SIGNALS_A_SECOND = 5  # publishings at most; each item that was clicked meanwhile is sent once
RELEASES_MB = 2_000  # of releases and what a training has on disk
ROOM = 1.3  # times the memory that was counted: what allocators and a second release take
MIB = 1 << 20
DAY_S = 86_400
FILE = "sizing.json"  # in the data folder, what was measured here


class SizingError(Exception):
    """Constants that cannot be read: names the file and what to do."""


class Constant(NamedTuple):
    """What one of something costs, and how anyone knows."""

    value: float
    unit: str
    what: str
    origin: str


class Constants(NamedTuple):
    """All of them, and the machine that most were measured on."""

    machine: str
    measured: str
    by_name: Mapping[str, Constant]


class Load(NamedTuple):
    """What comes: clicks a second at the peak, items in the catalogue, users that are known."""

    clicks: float
    items: int
    users: int
    reads: float = 0.0  # lists a second over HTTP
    replication: int = 3


class Figure(NamedTuple):
    """One line of the plan: of what, how much, in which unit, and why."""

    of: str
    what: str
    value: float
    unit: str
    why: str


def known_constants(folder: Path) -> Constants:
    """Those of the package, with what was measured here in the place of its own. Raises SizingError."""
    own = _read(files("streams.operate").joinpath("sizing_constants.json").read_text(encoding="utf-8"), "")
    here = folder / FILE
    if not here.exists():
        return own
    measured = _read(here.read_text(encoding="utf-8"), str(here))
    return Constants(measured.machine, measured.measured, {**own.by_name, **measured.by_name})


def plan(load: Load, settings: Settings, constants: Constants) -> list[Figure]:
    """The figures, in the order in which one would buy."""
    costs = {name: each.value for name, each in constants.by_name.items()}
    workers = needed(load, costs) + SPARE
    return [
        *_workers(load, settings, costs),
        Figure("topics", "partitions", max(settings.partitions, _power(4 * workers)), "",
               "four a worker, a power of two: room to grow before `nextclick topics grow`"),
        *_learner(load, settings, costs),
        *_apis(load, costs),
        *_brokers(load, settings, costs, workers),
    ]  # fmt: skip


def needed(load: Load, costs: Mapping[str, float]) -> int:
    """Workers that carry the load, each busy as far as is good."""
    return max(1, math.ceil(load.clicks * (costs["list_ms"] + costs["handling_ms"]) / 1000 / BUSY))


def _workers(load: Load, settings: Settings, costs: Mapping[str, float]) -> Iterator[Figure]:
    click_ms = costs["list_ms"] + costs["handling_ms"]
    enough = needed(load, costs)
    each = load.users / enough  # while one is away
    resident = min(each, settings.users_in_memory)
    memory = costs["worker_mb"] + (load.items * costs["item_bytes"] + resident * costs["user_bytes"]) / MIB
    cores = load.clicks * click_ms / 1000
    yield Figure(
        "workers", "processes", enough + SPARE, "",
        f"{load.clicks:g} clicks a second of {click_ms:.2f} ms are {cores:.2f} cores, {BUSY:.0%} busy at the "
        f"most; {SPARE} more, so that one may go",
    )  # fmt: skip
    yield Figure("workers", "cores each", 1, "", "one thread makes lists: for more cores, more workers")
    yield Figure(
        "workers", "memory each", ROOM * memory, "MB",
        f"{load.items:,} items, {resident:,.0f} users in memory (users_in_memory "
        f"{settings.users_in_memory:,}), and a third over",
    )  # fmt: skip
    yield Figure(
        "workers", "disk each", each * costs["state_record_bytes"] / MIB, "MB", "states of users who are away"
    )
    yield Figure(
        "workers", "restore", each * costs["restore_ms"] / 1000, "s", "a start that reads all its users anew"
    )


def _learner(load: Load, settings: Settings, costs: Mapping[str, float]) -> Iterator[Figure]:
    counting = load.clicks * (costs["count_ms"] + costs["publish_ms"]) / 1000 / BUSY
    users = min(load.users, MOST_USERS)
    memory = (
        costs["learner_mb"] + (load.items * costs["item_bytes"] + users * costs["learner_user_bytes"]) / MIB
    )
    kept = load.clicks * AVERAGE * DAY_S * settings.history_days * costs["history_bytes"] / MIB
    yield Figure(
        "learner", "cores", max(1, math.ceil(counting)) + 1, "",
        f"{counting:.2f} to count clicks, one to train (nice 19)",
    )  # fmt: skip
    yield Figure(
        "learner", "memory", ROOM * memory + costs["training_mb"], "MB",
        f"{users:,} users ({MOST_USERS:,} at most), {load.items:,} items, and a training",
    )  # fmt: skip
    yield Figure(
        "learner",
        "disk",
        kept + RELEASES_MB,
        "MB",
        f"clicks for training, {settings.history_days} days; releases",
    )


def _apis(load: Load, costs: Mapping[str, float]) -> Iterator[Figure]:
    if load.reads:
        processes = math.ceil(load.reads * costs["held_read_ms"] / 1000 / BUSY) + SPARE
        yield Figure(
            "apis", "processes", processes, "", f"{load.reads:g} held lists a second, one more to go"
        )


def _brokers(load: Load, settings: Settings, costs: Mapping[str, float], workers: int) -> Iterator[Figure]:
    days, copies = settings.retention_days, f"{load.replication} copies"
    average = load.clicks * AVERAGE * DAY_S
    for name, size, why in (
        (f"clicks, {days:g} days", average * days * costs["click_bytes"], True),
        (f"lists, {LISTS_DAYS} days", average * LISTS_DAYS * costs["list_bytes"], True),
        ("users' states", load.users * costs["state_record_bytes"] * COMPACTED, False),
        ("signals", load.items * costs["signal_record_bytes"] * COMPACTED, False),
    ):
        note = f"; {AVERAGE:.0%} of the peak on average" if why else "; twice what is kept, between cleanings"
        yield Figure("brokers", f"disk: {name}", size * load.replication / MIB, "MB", copies + note)
    signals = min(load.clicks, load.items * SIGNALS_A_SECOND) * costs["signal_record_bytes"]
    lists = load.clicks * costs["list_bytes"]
    into = load.clicks * (costs["click_bytes"] + costs["state_record_bytes"]) + lists + signals
    out = 2 * load.clicks * costs["click_bytes"] + lists + signals * workers
    copied = into * (load.replication - 1)
    cores = load.clicks * costs["broker_ms"] * load.replication / 1000 / BUSY
    yield Figure("brokers", "cores in all", max(1, math.ceil(cores)), "", "leaders and followers")
    yield Figure(
        "brokers", "network in", (into + copied) / MIB, "MB/s", "clicks, lists, states, signals, copies"
    )
    yield Figure(
        "brokers", "network out", (out + copied) / MIB, "MB/s",
        f"signals to {workers} workers, clicks to workers and learner, lists to one consumer, copies",
    )  # fmt: skip


def told(load: Load, figures: list[Figure], constants: Constants) -> dict[str, Any]:
    """The plan as JSON: figures by what they are of, and what they rest on."""
    by: dict[str, dict[str, Any]] = {}
    for figure in figures:
        by.setdefault(figure.of, {})[figure.what] = {
            "value": _round(figure.value), "unit": figure.unit, "why": figure.why,
        }  # fmt: skip
    return {
        "load": load._asdict(),
        "plan": by,
        "machine": constants.machine,
        "measured": constants.measured,
        "constants": {name: each._asdict() for name, each in constants.by_name.items()},
    }


def write(folder: Path, constants: Constants) -> Path:
    """Puts what was measured here into the data folder, where `known_constants` finds it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    text = {
        "machine": constants.machine,
        "measured": constants.measured,
        "constants": {name: each._asdict() for name, each in constants.by_name.items()},
    }
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(text, indent=2), encoding="utf-8")
    return partial.replace(path)


def shown(figure: Figure) -> str:
    """A figure as a reader wants it: large ones in larger units."""
    value, unit = figure.value, figure.unit
    if unit == "MB" and value >= 10_000:
        value, unit = value / 1024, "GB"
    return f"{_round(value):,g} {unit}".rstrip()


def _round(value: float) -> float:
    """Two digits are all that a plan is good for; counts stay whole."""
    if value == int(value) or not value:
        return int(value)
    digits = 1 - math.floor(math.log10(abs(value)))
    return round(value, max(digits, 0)) if value < 100 else float(round(value, digits))


def _power(least: int) -> int:
    return 1 << max(0, math.ceil(math.log2(least)))


def _read(text: str, where: str) -> Constants:
    try:
        told = json.loads(text)
        found = {
            name: Constant(float(each["value"]), each["unit"], each["what"], each["origin"])
            for name, each in told["constants"].items()
        }
        return Constants(str(told["machine"]), str(told["measured"]), found)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SizingError(
            f"{where} holds no constants ({error}); remove it, or make it anew: `nextclick plan --measure`"
        ) from None
