"""The figures of one process: what its parts measure, under the names of the table.

Owns one registry of prometheus-client, which `/metrics` shows and `record` makes the records of `figures`
from. Parts count in plain numbers, and are asked when somebody wants to know: a list of .5 ms must not pay
for a lock and a label each time something is counted. Knows no topic and no port.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import structlog
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from streams import __version__
from streams.figures.table import METRICS, Metric

log = structlog.get_logger()

OTHER = "other"
MOST_LABELS = 200  # combinations of one counter; whatever else comes is counted as `OTHER`

Labels = tuple[str, ...]
Read = Callable[[], "float | None"]  # None: not known yet
ReadAll = Callable[[], "Mapping[Labels, float]"]


class Histogram:
    """Observations by size. `le`: upper bounds, seconds; `n`: how many lie in each, the last above all."""

    __slots__ = ("le", "n", "total")

    def __init__(self, le: Sequence[float]) -> None:
        self.le = tuple(le)
        self.n = [0] * (len(le) + 1)
        self.total = 0.0

    def observe(self, seconds: float, times: int = 1) -> None:
        """So many observations of the same size."""
        self.n[bisect_left(self.le, seconds)] += times
        self.total += seconds * times


class Counts:
    """A counter with labels. At most `MOST_LABELS` combinations: labels come from outside, too."""

    __slots__ = ("_labels", "by")

    def __init__(self, labels: int) -> None:
        self.by: dict[Labels, float] = {}
        self._labels = labels

    def add(self, *labels: str, by: float = 1) -> None:
        """So many more under these labels, as many as the metric has."""
        if labels not in self.by and len(self.by) >= MOST_LABELS:
            labels = (OTHER,) * self._labels
        self.by[labels] = self.by.get(labels, 0) + by


class Figures(Collector):
    """What one process measures. Parts register what is to be read; each name and its labels have one owner.

    `process`: the table's word for it
    """

    def __init__(self, process: str) -> None:
        self.process = process
        self.registry = CollectorRegistry(auto_describe=False)
        self._read: dict[str, dict[Labels, Read]] = {}
        self._read_all: dict[str, ReadAll] = {}
        self._histograms: dict[str, dict[Labels, Histogram]] = {}
        self.tells("nextclick_build_info", lambda: 1, process, __version__)
        self.registry.register(self)
        for collector in (ProcessCollector, PlatformCollector):
            collector(registry=self.registry)

    def tells(self, name: str, read: Read, *labels: str) -> None:
        """A counter or gauge is what `read` says, whenever somebody asks; with the values of its labels."""
        metric, known = self._metric(name, "counter", "gauge"), self._read.setdefault(name, {})
        if labels in known or len(labels) != len(metric.labels):
            raise ValueError(f"{name}{labels}: told by somebody else, or other labels than {metric.labels}")
        known[labels] = read

    def tells_all(self, name: str, read: ReadAll) -> None:
        """The same of a counter or gauge whose labels are known only when somebody asks."""
        self._metric(name, "counter", "gauge")
        if name in self._read_all:
            raise ValueError(f"{name} is told by somebody else")
        self._read_all[name] = read

    def counts(self, name: str) -> Counts:
        """A counter with labels to count with."""
        counts = Counts(len(self._metric(name, "counter").labels))
        self.tells_all(name, lambda: dict(counts.by))
        return counts

    def histogram(self, name: str, *labels: str) -> Histogram:
        """The histogram to observe with, the same for the same labels."""
        metric, known = self._metric(name, "histogram"), self._histograms.setdefault(name, {})
        if len(known) >= MOST_LABELS and labels not in known:
            labels = (OTHER,) * len(metric.labels)
        return known.setdefault(labels, Histogram(metric.le))

    def collect(self) -> Iterator[Family]:
        """All of it, as prometheus-client has it."""
        for name in METRICS:
            if name in self._histograms:
                yield _histograms(METRICS[name], dict(self._histograms[name]))
            elif name in self._read or name in self._read_all:
                yield self._values(METRICS[name])

    def names(self) -> Iterable[str]:
        """The figures that somebody tells."""
        return self._read.keys() | self._read_all.keys() | self._histograms.keys()

    def _values(self, metric: Metric) -> Family:
        found: dict[Labels, float] = {}
        try:
            if (read_all := self._read_all.get(metric.name)) is not None:
                found |= read_all()
            for labels, read in self._read.get(metric.name, {}).items():
                if (value := read()) is not None:
                    found[labels] = value
        except Exception as error:  # one figure that cannot be read must not hide the others
            log.debug("a figure cannot be read", figure=metric.name, error=f"{type(error).__name__}: {error}")
        kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
        family = kind(metric.name, metric.text, labels=metric.labels)
        for labels, value in found.items():
            family.add_metric(labels, float(value))
        return family

    def _metric(self, name: str, *kinds: str) -> Metric:
        metric = METRICS.get(name)
        if metric is None or metric.kind not in kinds or self.process not in metric.by:
            raise ValueError(f"{name} is no {' or '.join(kinds)} that the table has for a {self.process}")
        return metric


def _histograms(metric: Metric, by: Mapping[Labels, Histogram]) -> Family:
    family = HistogramMetricFamily(metric.name, metric.text, labels=metric.labels)
    for labels, histogram in by.items():
        buckets, below = [], 0
        for bound, count in zip((*map(str, histogram.le), "+Inf"), tuple(histogram.n), strict=True):
            below += count
            buckets.append((bound, below))
        family.add_metric(labels, buckets=buckets, sum_value=histogram.total)
    return family
