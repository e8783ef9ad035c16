"""Freshness and throughput of one worker under a steady load, beside a floor that does nothing.

    python tests/bench/bench_load.py [--release DIR --data DIR] [--rates 100,1000,1500] [--seconds 20]

Broker, worker, learner, load and measurement share this machine. The floor is a consumer and producer in one
process that answers each click with a record as long as a list and knows nothing: what Kafka, Python and the
machine take by themselves. Both sides get the same clicks at the same pace, one after the other, in one run.

Without --release one is trained on the first four fifths of --data (ml-100k by default), which are loaded
as history; the load is the rest in a shuffled order, over and over, with new event ids. `freshness_ms` is
from a click's CreateTime to its list's, `consumed_ms` from the moment a click was due to be sent to its list
in the consumer's hands: a producer that falls behind does not flatter the figure.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from numpy.typing import NDArray

from learner.data.dataset import Interactions, load_interactions
from learner.data.ml100k import fetch_ml100k
from streams.broker.node import EmbeddedBroker
from streams.operate.processes import cpu_seconds
from streams.runtime.fleet import NEXTCLICK, Fleet
from streams.settings import Settings, load_settings
from streams.transport import clients
from streams.transport.topics import Names, create_missing
from streams.wire.partitioner import partition_of

PAST = 0.8  # of the clicks are loaded as history
LIST_BYTES = 1700  # of a list of ten with its reasons: what the floor answers with
GRACE_SECONDS = 20.0  # for the last lists
STARTS_SECONDS = 120.0


@dataclass
class Measured:
    """Times of one run in milliseconds."""

    rate: float
    sent: int = 0
    consumed: list[float] = field(default_factory=list)
    freshness: list[float] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    cpu_seconds: dict[str, float] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """The figures."""

        def of(times: list[float]) -> dict[str, float]:
            return {f"p{p}": round(float(np.percentile(times, p)), 2) for p in (50, 90, 99)} if times else {}

        return {
            "rate": self.rate, "sent": self.sent, "answered": len(self.consumed),
            "consumed_ms": of(self.consumed), "freshness_ms": of(self.freshness),
            "by_second": self.by_second(),
            "cpu_per_click_us": {
                name: round(seconds / max(self.sent, 1) * 1e6) for name, seconds in self.cpu_seconds.items()
            },
        }  # fmt: skip

    def by_second(self) -> list[float]:
        """Median `consumed_ms` of the clicks of each second."""
        at = np.array(self.at)
        second = (at - at.min(initial=np.inf)).astype(int)
        times = np.array(self.consumed)
        return [round(float(np.median(times[second == k])), 1) for k in np.unique(second)]


class Load:
    """Clicks at a steady pace, and the lists that answer them."""

    def __init__(self, settings: Settings, data: Interactions, rows: NDArray[np.int64]) -> None:
        self.settings, self.data, self.rows = settings, data, rows
        self.names = Names(settings.prefix)
        self.connection = clients.async_connection(settings)
        self.round = 0

    async def run(self, rate: float, seconds: float, watched: dict[str, int]) -> Measured:
        """Sends for `seconds` and waits for the answers; `watched` are processes whose time is taken."""
        self.round += 1
        producer = AIOKafkaProducer(acks=1, linger_ms=0, **self.connection)
        consumer = AIOKafkaConsumer(
            self.names.recommendations,
            enable_auto_commit=False,
            auto_offset_reset="latest",
            **self.connection,
        )
        await producer.start()
        await consumer.start()
        while not consumer.assignment():
            await asyncio.sleep(0.05)
        for place in consumer.assignment():
            await consumer.position(place)
        measured = Measured(rate)
        due: dict[str, float] = {}
        created: dict[str, int] = {}
        reading = asyncio.create_task(self._read(consumer, due, created, measured))
        before = {name: cpu_seconds(pid) for name, pid in watched.items()}
        began = time.perf_counter()
        count = int(rate * seconds)
        deliveries = []
        for number in range(count):
            at = began + number / rate
            wait = at - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            event_id, key, value = self._click(number)
            due[event_id] = at
            created[event_id] = int(time.time() * 1000)
            deliveries.append(await producer.send(self.names.clicks, value, key=key))
            measured.sent += 1
        await producer.flush()
        end = time.perf_counter() + GRACE_SECONDS
        while len(measured.consumed) < count and time.perf_counter() < end:
            await asyncio.sleep(0.05)
        measured.cpu_seconds = {name: cpu_seconds(pid) - before[name] for name, pid in watched.items()}
        reading.cancel()
        await consumer.stop()
        await producer.stop()
        return measured

    def _click(self, number: int) -> tuple[str, bytes, bytes]:
        data = self.data
        row = int(self.rows[(self.round * 7919 + number) % len(self.rows)])
        user = data.user_ids[data.user[row]]
        event_id = f"load-{self.round}-{number}"
        click = {
            "event_id": event_id, "user_id": user, "item_id": data.item_ids[data.item[row]], "event": "click",
            "timestamp": int(data.time_ms[row]),
        }  # fmt: skip
        return event_id, user.encode(), json.dumps(click).encode()

    async def _read(
        self, consumer: AIOKafkaConsumer, due: dict[str, float], created: dict[str, int], measured: Measured
    ) -> None:
        decode = msgspec.json.Decoder(_Answer).decode
        while True:
            for records in (await consumer.getmany(timeout_ms=1000)).values():
                now = time.perf_counter()
                for record in records:
                    event_id = decode(record.value).trigger.id
                    at = due.pop(event_id, None)
                    if at is not None:
                        measured.consumed.append((now - at) * 1000)
                        measured.at.append(at)
                        measured.freshness.append(record.timestamp - created[event_id])


class _Trigger(msgspec.Struct):
    id: str


class _Answer(msgspec.Struct):
    trigger: _Trigger


async def floor(settings: Settings) -> None:
    """Answers every click with a record of the usual length, and does nothing else."""
    names, connection = Names(settings.prefix), clients.async_connection(settings)
    consumer = AIOKafkaConsumer(names.clicks, group_id="floor", auto_offset_reset="latest", **connection)
    producer = AIOKafkaProducer(acks="all", linger_ms=0, **connection)
    await consumer.start()
    await producer.start()
    padding = "x" * LIST_BYTES
    print("ready", flush=True)
    partitions = len(await producer.partitions_for(names.recommendations))
    while True:
        for records in (await consumer.getmany(timeout_ms=1000)).values():
            batches: dict[int, Any] = {}
            for record in records:
                trigger = {"trigger": {"id": json.loads(record.value)["event_id"]}, "items": padding}
                place = partition_of(record.key, partitions)
                batch = batches.setdefault(place, producer.create_batch())
                batch.append(key=record.key, value=json.dumps(trigger).encode(), timestamp=None)
            for place, batch in batches.items():
                batch.close()
                await producer.send_batch(batch, names.recommendations, partition=place)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--release", type=Path, help="trained on the first four fifths; default: train one")
    parser.add_argument("--data", type=Path, help="folder with interactions.csv.gz and items.csv.gz")
    parser.add_argument("--rates", default="100,500,1000", help="clicks/s, one run each")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each run")
    parser.add_argument(
        "--order", choices=("shuffled", "recorded"), default="shuffled",
        help="recorded: years pressed into seconds, so that each user comes in one burst, whose clicks are "
        "folded in one after the other",
    )  # fmt: skip
    parser.add_argument("--sides", default="floor,worker", help="what to measure")
    parser.add_argument("--report", type=Path, help="JSON file to write")
    parser.add_argument("--keep", type=Path, help="folder for logs and data, kept")
    return parser.parse_args()


def _say(name: str, row: dict[str, Any]) -> None:
    print(
        f"{name:8s} {row['rate']:6.0f}/s answered {row['answered']}/{row['sent']}"
        f" consumed {row['consumed_ms']} freshness {row['freshness_ms']}"
        f" cpu us/click {row['cpu_per_click_us']}\n         median by second {row['by_second']}",
        flush=True,
    )


def main() -> None:
    """Runs the floor and the worker at each rate and prints both."""
    if sys.argv[1:2] == ["floor"]:  # as a child of this very program
        servers, prefix = sys.argv[2:]
        asyncio.run(floor(load_settings(bootstrap_servers=servers, prefix=prefix)))
        return
    options = _options()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="nextclick-bench-"))
    folder.mkdir(parents=True, exist_ok=True)
    cache = load_settings().cache_dir
    data = _Data.of(options.data or fetch_ml100k(cache / "ml-100k"), shuffled=options.order == "shuffled")
    release = options.release or _trained(folder / "release", data)
    found: dict[str, list[dict[str, Any]]] = {}
    with EmbeddedBroker(folder / "broker", port=0, cache=cache) as broker:
        assert broker.process is not None
        for side in options.sides.split(","):
            settings = load_settings(
                bootstrap_servers=broker.bootstrap_servers, prefix=f"{side}.", clock="stream",
                data_dir=folder / side,
            )  # fmt: skip
            with clients.admin(settings) as admin:
                create_missing(admin, settings)
            load = Load(settings, data.clicks, data.rows)
            running = _floor(settings, folder, load) if side == "floor" else (
                _nextclick(settings, folder, load, data, release)
            )  # fmt: skip
            found[side] = []
            with running as processes:
                watched = {**processes, "broker": broker.process.pid, "load": os.getpid()}
                for rate in map(float, options.rates.split(",")):
                    found[side].append(asyncio.run(load.run(rate, options.seconds, watched)).row())
                    _say(side, found[side][-1])
    if options.report is not None:
        options.report.write_text(json.dumps(found, indent=1) + "\n")


@dataclass(frozen=True)
class _Data:
    """Recorded clicks, the files they and their items stand in, and which of them are the load."""

    files: tuple[str, ...]  # flags of `nextclick`
    clicks: Interactions
    rows: NDArray[np.int64]

    @classmethod
    def of(cls, folder: Path, *, shuffled: bool) -> "_Data":
        file, items = folder / "interactions.csv.gz", folder / "items.csv.gz"
        clicks = load_interactions(file).in_order(0)
        rows = np.arange(int(PAST * len(clicks)), len(clicks))
        if shuffled:
            rows = np.random.default_rng(0).permutation(rows)
        return cls(("--interactions", str(file), "--items", str(items), "--to", str(PAST)), clicks, rows)


def _trained(out: Path, data: _Data) -> Path:
    subprocess.run([*NEXTCLICK, "train", *data.files, "--out", str(out), "--time-budget", "2"], check=True)
    return out


@contextmanager
def _floor(settings: Settings, folder: Path, load: Load) -> Iterator[dict[str, int]]:
    """The floor at work and warm; its process id."""
    with Fleet(folder, [sys.executable, __file__]) as fleet:
        child = fleet.start("floor", settings.bootstrap_servers, settings.prefix)
        fleet.wait_said(child, "ready", STARTS_SECONDS)
        asyncio.run(load.run(200, 3, {}))
        yield {"floor": child.pid}


@contextmanager
def _nextclick(
    settings: Settings, folder: Path, load: Load, data: _Data, release: Path
) -> Iterator[dict[str, int]]:
    """Worker and learner at work and warm, with the past loaded; their process ids."""
    common = ("--bootstrap-servers", settings.bootstrap_servers, "--prefix", settings.prefix)
    subprocess.run([*NEXTCLICK, "load", *data.files, *common], check=True)
    own = (
        *common, "--clock", "stream", "--release", str(release), "--data-dir", str(settings.data_dir),
    )  # fmt: skip
    with Fleet(folder) as fleet:
        children = {}
        for name, words in (("learner", "learner ready"), ("worker", "partitions assigned")):
            children[name] = fleet.start(name, *own)
            fleet.wait_said(children[name], words, STARTS_SECONDS)
        for _ in range(20):  # until history is folded in and everything is warm
            warm = asyncio.run(load.run(50, 4, {})).row()
            if warm["answered"] == warm["sent"] and warm["consumed_ms"]["p50"] < 50:
                break
        yield {name: child.pid for name, child in children.items()}


if __name__ == "__main__":
    main()
