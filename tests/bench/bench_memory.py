"""What a worker's memory holds: a real one, with a release and the states of so many users.

    python tests/bench/bench_memory.py --release DIR [--users 5000] [--events 20] [--clicks 500]

The states are written to the changelog as a worker would have done, each of `--events` clicks; then a worker
starts, reads them, and makes lists for `--clicks` clicks. Printed: its resident memory by then in MB, in all
and by what it is mapped from (memory of its own, libraries, the release's files). Kernels that it has to
compile first take some 150 MB more: run it twice.
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from learner.data.catalogue import Catalogue
from learner.release.bundle import Bundle
from learner.release.files import read_release
from streams.broker.node import EmbeddedBroker
from streams.hot_path.user_states import UserStates
from streams.settings import Settings, load_settings
from streams.transport import clients
from streams.transport.topics import Names, create_missing
from streams.wire.event_ids import event_hash
from streams.wire.partitioner import partition_of
from tests.worlds.system import System, wait_answered

MB = 1 << 20
STARTS_SECONDS = 600  # where kernels are to be compiled first
OWN = ("[heap]", "")  # mappings that are no file's


def write_states(settings: Settings, bundle: Bundle, users: int, events: int) -> int:
    """States of users to the changelog; returns their bytes."""
    catalogue, rng = Catalogue(), np.random.default_rng(1)
    numbers = catalogue.admit_all(bundle.items)
    dims = bundle.manifest.dims
    topic, now_ms = Names(settings.prefix).user_states, int(time.time() * 1000)
    size = 0
    with clients.producer(settings, linger_ms=50, batch_size=MB) as producer:
        for user in range(users):
            states = UserStates(dims.hidden, dims.vector)
            states.fit(bundle.manifest.release, dims.hidden, dims.vector)
            name = f"user-{user}"
            slot = states.slot(name)
            for event, item in enumerate(rng.choice(numbers, events).tolist()):
                at_ms = now_ms - (events - event) * 60_000
                states.append(slot, item, at_ms, 1, float("nan"), event_hash(f"{user}-{event}"))
            states.hidden[slot] = rng.standard_normal(dims.hidden)
            states.vector[slot] = rng.standard_normal(dims.vector)
            states.stamp(slot, bundle.manifest.release)
            partition = partition_of(name.encode(), settings.partitions)
            states.note_applied(slot, partition, -1)
            value = states.encode(slot, catalogue)
            producer.send(topic, key=name.encode(), value=value, partition=partition)
            size += len(value)
    return size


def memory(pid: int) -> dict[str, float]:
    """Resident MB of a process by what it is mapped from, the largest first."""
    found: Counter[str] = Counter()
    name = ""
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        first, *rest = line.split()
        if "-" in first and not first.endswith(":"):
            name = rest[4] if len(rest) > 4 else ""
        elif first == "Rss:":
            found["own memory" if name in OWN else Path(name).name] += int(rest[0])
    return {each: round(kb / 1024, 1) for each, kb in found.most_common() if kb > 1024}


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Starts broker and worker, and asks the system what the worker takes."""
    bundle = read_release(arguments.release)
    items = [item.item_id for item in bundle.items]
    cache = load_settings().cache_dir
    with EmbeddedBroker(folder / "broker", port=0, cache=cache) as broker:
        settings = load_settings(
            bootstrap_servers=broker.bootstrap_servers, prefix="memory.", data_dir=folder, clock="wall"
        )
        with clients.admin(settings) as admin:
            create_missing(admin, settings)
        size = write_states(settings, bundle, arguments.users, arguments.events)
        system = System(settings, folder / "logs", arguments.release)
        try:
            system.start("worker")
            system.wait_for(
                lambda: "partitions assigned" in system.said("worker"), "the worker", STARTS_SECONDS
            )
            pid = system.fleet.children["worker"].pid
            begun = memory(pid)
            now_ms = int(time.time() * 1000)
            users = arguments.users or 100
            clicks = [
                system.click(f"user-{n % users}", items[n % len(items)], now_ms + n)
                for n in range(arguments.clicks)
            ]
            wait_answered(system, clicks)
            ended = memory(pid)
        finally:
            system.close()
    return {
        "items": len(items), "users": arguments.users, "states_mb": round(size / MB, 1),
        "at_start_mb": round(sum(begun.values())), "after_clicks_mb": round(sum(ended.values())),
        "by_mapping": dict(list(ended.items())[:12]),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--release", type=Path, required=True)
    parser.add_argument("--users", type=int, default=5000)
    parser.add_argument("--events", type=int, default=20)
    parser.add_argument("--clicks", type=int, default=500)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(arguments, Path(folder)), indent=2))


if __name__ == "__main__":
    main()
