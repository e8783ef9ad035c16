"""How long a worker takes to come back with so many users: a real one, on a real broker.

    PYTHONPATH=. python tests/bench/bench_restore.py --release DIR [--users 100000] [--events 20]

The states are written to the changelog as a worker would have done; then a worker starts. Printed: from its
start to its first list, and what of it the reading of states took, by its own word and in processor time (all
of the worker's from its release to its partitions).
"""

import argparse
import json
import re
import tempfile
import time
from pathlib import Path

from learner.release.files import read_release
from streams.broker.node import EmbeddedBroker
from streams.operate.processes import cpu_seconds
from streams.settings import load_settings
from streams.transport import clients
from streams.transport.topics import create_missing
from tests.bench.bench_memory import write_states
from tests.worlds.system import System

STARTS_SECONDS = 600


def main() -> None:
    """Writes, starts, waits, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--release", type=Path, required=True)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--events", type=int, default=20)
    arguments = parser.parse_args()
    bundle = read_release(arguments.release)
    with tempfile.TemporaryDirectory() as name, EmbeddedBroker(
        Path(name) / "broker", port=0, cache=load_settings().cache_dir, heap="512m"
    ) as broker:  # fmt: skip
        folder = Path(name)
        settings = load_settings(
            bootstrap_servers=broker.bootstrap_servers, prefix="b.", data_dir=folder, clock="wall"
        )
        with clients.admin(settings) as admin:
            create_missing(admin, settings)
        size = write_states(settings, bundle, arguments.users, arguments.events)
        system = System(settings, folder, arguments.release)
        try:
            began = time.monotonic()
            system.start("worker", "--set", f"users_in_memory={max(100, arguments.users)}")
            system.wait_for(lambda: "] ready" in system.said("worker"), "a release", STARTS_SECONDS)
            pid = system.fleet.children["worker"].pid
            before_s = cpu_seconds(pid)
            system.wait_for(
                lambda: "partitions assigned" in system.said("worker"), "the worker", STARTS_SECONDS
            )
            assigned_s, taken_s = time.monotonic() - began, cpu_seconds(pid) - before_s
            system.answer(system.click("user-0", bundle.items[0].item_id, int(time.time() * 1000)))
            plain = re.sub(r"\x1b\[[0-9;]*m", "", system.said("worker"))
            told = dict(re.findall(r"(\w+)=(\S+)", plain[plain.index("partitions assigned") :]))
            first_s, restore_s = time.monotonic() - began, float(told["seconds"])
            print(json.dumps({
                "users": int(told["users"]), "mb": round(size / (1 << 20), 1), "restore_s": restore_s,
                "restore_processor_s": round(taken_s, 2),
                "processor_ms_a_user": round(1000 * taken_s / arguments.users, 4),
                "start_to_assigned_s": round(assigned_s, 1), "start_to_first_list_s": round(first_s, 1),
            }))  # fmt: skip
        finally:
            system.close()


if __name__ == "__main__":
    main()
