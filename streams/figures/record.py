"""From a process's registry to what it says on the topic `figures`.

Owns the way that names, labels and times are written there. Sends nothing.
"""

import math
import os
import re
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from prometheus_client.metrics_core import Metric as Family

from streams import __version__
from streams.figures.registry import Figures
from streams.figures.table import PREFIX, short_name
from streams.wire.figures import FiguresRecord, Histogram

_SAID = (PREFIX, "process_")  # families; what the platform is needs no record a second
_INFO = "_info"
_LABEL = re.compile(r'[{,]\w+="([^"]*)"')


class Speaker:
    """One process's records, one after the other. `clock` in seconds since 1970.

    key: who says it, the same after a start again: a worker's group instance id, or the process's name
    release, partitions: asked for each record
    """

    def __init__(
        self, figures: Figures, key: str, *,
        release: Callable[[], str | None] = lambda: None, partitions: Callable[[], Iterable[int]] = tuple,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self.key = key
        self.host = socket.gethostname()
        self._figures, self._release, self._partitions = figures, release, partitions
        self._clock = clock
        self._started = round(clock() * 1000)
        self._seq = 0

    def record(self) -> FiguresRecord:
        """What there is to say now."""
        told = _told(self._figures.registry.collect())
        said = FiguresRecord(
            process=self._figures.process, host=self.host, pid=os.getpid(), started=self._started,
            seq=self._seq, version=__version__, release=self._release(),
            partitions=sorted(self._partitions()),
            counters=told.counters, gauges=told.gauges, histograms=told.histograms,
        )  # fmt: skip
        self._seq += 1
        return said

    def plain(self) -> dict[str, float | str | None]:
        """The same for a line of a log: counters' sums, and gauges with their labels in the name."""
        told = _told(self._figures.registry.collect())
        found: dict[str, float | str | None] = {"release": self._release()}
        found |= {name: value for name, value in told.counters.items() if "{" not in name}
        found |= {_LABEL.sub(r"_\1", name).rstrip("}"): value for name, value in told.gauges.items()}
        return {name: value for name, value in found.items() if not name.startswith("process_")}


def key_of(name: str, labels: dict[str, str]) -> str:
    """A figure's name in a record: bare, or with its labels as Prometheus writes them."""
    if not labels:
        return name
    within = ",".join(f"{label}={_quoted(value)}" for label, value in labels.items())
    return f"{name}{{{within}}}"


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") + '"'


class _Told(NamedTuple):
    counters: dict[str, float]
    gauges: dict[str, float]
    histograms: dict[str, Histogram]


def _told(families: Iterable[Family]) -> _Told:
    counters: dict[str, float] = defaultdict(int)
    gauges: dict[str, float] = {}
    histograms: dict[str, Histogram] = {}
    for family in families:
        if not family.name.startswith(_SAID) or family.name.endswith(_INFO):
            continue
        name = short_name(family.name + "_total" * (family.type == "counter"))
        scale = 1000 if name.endswith("_ms") and family.name.startswith(PREFIX) else 1
        if family.type == "histogram":
            histograms |= {key: _histogram(pairs) for key, pairs in _buckets(name, family).items()}
            continue
        for sample in family.samples:
            if not math.isfinite(sample.value):
                continue
            value = _plain(sample.value * scale)
            if family.type == "gauge":
                gauges[key_of(name, sample.labels)] = value
            else:
                counters[name] += value
                if sample.labels:
                    counters[key_of(name, sample.labels)] = value
    return _Told(dict(counters), gauges, histograms)


def _buckets(name: str, family: Family) -> dict[str, list[tuple[float, int]]]:
    found: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for sample in family.samples:
        if sample.name.endswith("_bucket"):
            labels = {label: value for label, value in sample.labels.items() if label != "le"}
            found[key_of(name, labels)].append((float(sample.labels["le"]), int(sample.value)))
    return found


def _histogram(pairs: Sequence[tuple[float, int]]) -> Histogram:
    return Histogram(le=[_plain(le * 1000) for le, _ in pairs[:-1]], n=[count for _, count in pairs])


def _plain(value: float) -> float:
    """A whole number as one; else to a millionth: what arithmetic in seconds leaves of ms is not told."""
    value = round(float(value), 6)
    return int(value) if value.is_integer() else value
