"""What traces cost a worker: a click that is traced, one that is not, and all of it switched off.

    PYTHONPATH=. python tests/bench/bench_traces.py

A round's records go the way of `streams.worker.traced` with the exporter that is installed and a collector on
this machine. Printed: processor time of the worker's own thread, and apart from it what other threads take.
"""

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from aiokafka import ConsumerRecord

from streams.figures.traceparent import HEADER
from streams.figures.tracer import open_tracer
from streams.hot_path.world import Fate, Outcome
from streams.settings import Settings
from streams.transport.delivery import Outgoing
from streams.wire.contract import Click
from streams.wire.intake import Arrival
from streams.worker.assignment import Parcel
from streams.worker.traced import Traces, Untraced
from tests.worlds.collector import collecting

ROUND, TIMES = 32, 300
SAMPLED = (HEADER, b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01")
STAGES = ("state update", "candidates", "features", "ranking", "places")


def cpu_us(work: Callable[[], None], times: int) -> float:
    """Processor time of this thread for one of these."""
    begun = time.thread_time()
    for _ in range(times):
        work()
    return (time.thread_time() - begun) / times * 1e6


def a_round(traces: Untraced, headers: list[Any]) -> Callable[[], None]:
    """Work of a round whose records have these headers, beside all that makes lists."""
    records = [
        ConsumerRecord("clicks", 0, n, 0, 0, b"u", b"", None, 0, 0, each) for n, each in enumerate(headers)
    ]
    batch: Any = SimpleNamespace(topic="clicks", records=records)
    click = Click(event_id="e", user_id="u", item_id="i", event="click", timestamp=1)
    made: Any = SimpleNamespace(release="r")

    def work() -> None:
        arrivals = [Arrival(click, 0, n) for n in range(len(headers))]
        traces.decoded(batch, [("u", each) for each in arrivals], time.time_ns())
        mark = traces.round(arrivals)
        for stage in STAGES:
            mark(stage)
        parcel = Parcel(0, lists=[Outgoing(b"u", b"")] * len(headers))
        outcomes = [Outcome(each, Fate.DONE, recommendation=made) for each in arrivals]
        parcels, arrived = traces.packed([parcel], outcomes, mark, lambda _: None)
        for each in parcels:
            arrived(each)

    return work


def main() -> None:
    """Command line."""
    off = cpu_us(a_round(Untraced(), [()] * ROUND), 10 * TIMES)
    with collecting() as collector:
        tracer = open_tracer(Settings(otlp_endpoint=collector.url, trace_share=0.0), "worker")
        assert tracer is not None
        on = cpu_us(a_round(Traces(tracer), [()] * ROUND), 10 * TIMES)
        whole = time.process_time()
        one = cpu_us(a_round(Traces(tracer), [[SAMPLED], *[()] * (ROUND - 1)]), TIMES)
        tracer.close()
        beside = (time.process_time() - whole) / TIMES * 1e6 - one
    print(f"a round of {ROUND}, its own objects: {off:.1f} µs")
    print(f"switched on, none traced: {(on - off) / ROUND:.2f} µs a record")
    print(f"one traced: {one - on:.0f} µs for it, {beside:.0f} µs in other threads (sender, collector)")


if __name__ == "__main__":
    main()
