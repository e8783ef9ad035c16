"""What all processes say of themselves, added up: the answer of `/v1/status` and of `nextclick top --json`.

Owns the answer's form, how figures of several processes add up, and what is worth a remark. Knows no topic.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct

from streams.figures.heard import Speaker
from streams.figures.table import SHORT
from streams.wire.figures import FiguresRecord, Histogram

FRESHNESS = "freshness_ms"
_STALE_MS = 15_000
_OVER: dict[str, Callable[[list[float]], float]] = {"sum": math.fsum, "max": max, "min": min}

Ms = Annotated[float, Meta(ge=0)]


class Quantiles(Struct, frozen=True):
    """By the histogram's buckets, linear within one; what lies above the last bound counts as that."""

    p50: Ms
    p90: Ms
    p99: Ms


class Process(Struct, frozen=True, kw_only=True):
    """One process: its last record, how long ago that was, and how things were in the last ten seconds.

    per_second: what its counters rose by; freshness_ms: of lists of these seconds, null where there are none
    """

    key: str
    process: str
    host: str
    pid: int
    started: int
    seq: int
    version: str
    release: str | None
    partitions: list[int]
    silent_ms: Ms
    counters: dict[str, float]
    per_second: dict[str, float]
    gauges: dict[str, float]
    histograms: dict[str, Histogram]
    freshness_ms: Quantiles | None = None


class Remark(Struct, frozen=True):
    """Something that an operator wants to know. kind: the same whatever its words are."""

    kind: Literal[
        "no_worker", "no_learner", "unowned_partitions", "releases_differ", "idle_shown_caps",
        "stale_signals", "versions_differ",
    ]  # fmt: skip
    text: str


class Status(Struct, frozen=True, kw_only=True):
    """at: by the broker's clock, null where nobody speaks. Counters begin anew with their processes.

    per_second, freshness_ms: of the last ten seconds, as each process has them
    """

    at: int | None
    processes: list[Process]
    counters: dict[str, float]
    per_second: dict[str, float]
    gauges: dict[str, float]
    histograms: dict[str, Histogram]
    freshness_ms: Quantiles | None
    remarks: list[Remark]


def status(speakers: Iterable[Speaker], now_ms: float) -> Status:
    """Of those who speak now; `now_ms` by the broker's clock."""
    living = list(speakers)
    records = [each.last for each in living]
    recent = [each.recent(FRESHNESS) for each in living]
    return Status(
        at=round(now_ms) if living else None,
        processes=[_process(each, now_ms) for each in living],
        counters=_sum(each.counters for each in records),
        per_second=_sum(each.rates for each in living),
        gauges=_gauges(records),
        histograms=_histograms([each.histograms for each in records]),
        freshness_ms=quantiles(
            _histograms([{FRESHNESS: each} for each in recent if each is not None]).get(FRESHNESS)
        ),
        remarks=list(_remarks(records)),
    )


def quantiles(histogram: Histogram | None) -> Quantiles | None:
    """None where nothing was observed."""
    if histogram is None or not histogram.n or not histogram.n[-1]:
        return None
    return Quantiles(*(round(_quantile(histogram, share), 3) for share in (0.5, 0.9, 0.99)))


def _quantile(histogram: Histogram, share: float) -> float:
    rank, low, below = share * histogram.n[-1], 0.0, 0
    for bound, count in zip(histogram.le, histogram.n, strict=False):
        if count >= rank:
            return low + (bound - low) * (rank - below) / max(1, count - below)
        low, below = bound, count
    return low


def _process(speaker: Speaker, now_ms: float) -> Process:
    last = speaker.last
    return Process(
        key=speaker.key, process=last.process, host=last.host, pid=last.pid, started=last.started,
        seq=last.seq, version=last.version, release=last.release, partitions=last.partitions,
        silent_ms=max(0, round(now_ms - speaker.heard_ms)), counters=last.counters,
        per_second=_rounded(speaker.rates), gauges=last.gauges, histograms=last.histograms,
        freshness_ms=quantiles(speaker.recent(FRESHNESS)),
    )  # fmt: skip


def _sum(some: Iterable[Mapping[str, float]]) -> dict[str, float]:
    total: Counter[str] = Counter()
    for each in some:
        total.update(each)  # type: ignore[arg-type]
    return _rounded(total)


def _gauges(records: Iterable[FiguresRecord]) -> dict[str, float]:
    """By the table each adds up, or the largest or least of them is the system's."""
    found: dict[str, list[float]] = {}
    for record in records:
        for name, value in record.gauges.items():
            found.setdefault(name, []).append(value)
    totals: dict[str, float] = {}
    for name, values in found.items():
        metric = SHORT.get(name.partition("{")[0])
        if metric is not None:
            totals[name] = _OVER[metric.over](values)
        elif name in ("process_resident_memory_bytes", "process_open_fds"):
            totals[name] = math.fsum(values)
    return _rounded(totals)


def _histograms(some: Iterable[Mapping[str, Histogram]]) -> dict[str, Histogram]:
    """Those of the same bounds; of several versions side by side those of most processes."""
    found: dict[str, dict[tuple[float, ...], list[int]]] = {}
    for histograms in some:
        for name, each in histograms.items():
            sums = found.setdefault(name, {}).setdefault(tuple(each.le), [0] * len(each.n))
            if len(sums) == len(each.n):
                sums[:] = [one + other for one, other in zip(sums, each.n, strict=True)]
    return {
        name: Histogram(list(le), n)
        for name, by_bounds in found.items()
        for le, n in [max(by_bounds.items(), key=lambda each: each[1][-1:])]
    }


def _remarks(records: Sequence[FiguresRecord]) -> Iterable[Remark]:
    workers = [each for each in records if each.process == "worker"]
    kinds = {each.process for each in records}
    if not workers:
        yield Remark("no_worker", "no worker speaks: clicks wait in Kafka, and no list is made")
    if "learner" not in kinds:
        yield Remark("no_learner", "no learner speaks: lists go on from what was learned before")
    wanted = max((int(each.gauges.get("topic_partitions", 0)) for each in records), default=0)
    owned = {number for each in workers for number in each.partitions}
    if workers and (missing := sorted(set(range(wanted)) - owned)):
        named = ", ".join(map(str, missing))
        yield Remark("unowned_partitions", f"no worker has partitions {named} of clicks")
    releases = sorted({each.release for each in workers if each.release is not None})
    if len(releases) > 1:
        yield Remark("releases_differ", f"workers answer by different releases: {', '.join(releases)}")
    versions = sorted({each.version for each in records})
    if len(versions) > 1:
        yield Remark("versions_differ", f"processes of several versions run: {', '.join(versions)}")
    idle = max((int(each.gauges.get("idle_shown_caps", 0)) for each in workers), default=0)
    if idle:
        yield Remark(
            "idle_shown_caps",
            f"shown_cap does nothing in {idle} scenario{'s' * (idle > 1)}: no impressions come; send events "
            "`impression`, or let the api write them (impressions = auto)",
        )
    stale = max((each.gauges.get("signals_age_ms", 0) for each in workers), default=0)
    if stale > _STALE_MS:
        yield Remark("stale_signals", f"nothing has come from the learner for {stale / 1000:.0f} s")


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: int(value) if value == int(value) else round(value, 4) for name, value in values.items()}
