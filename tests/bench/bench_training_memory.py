"""Memory of a training: the most that its processes take together, sampled while it runs.

    python tests/bench/bench_training_memory.py [--data DIR] [--share 0.7] [--minutes 4] [--command nextclick]

Trains on the first --share of the clicks in --data (ml-100k by default: 70,000) and prints, twice a second's
worst moment, the sum of the proportional set sizes (PSS) of all its processes: a page that two of them share
counts once. `anonymous` is what they have made, `file` what they have mapped and the system may take back.
More minutes make more lists, up to the plan's own bound, so it is no use to spare them here.
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from learner.data.ml100k import fetch_ml100k
from streams.settings import load_settings

EVERY_SECONDS = 0.5
KINDS = {"Pss": "all", "Pss_Anon": "anonymous", "Pss_File": "file", "Pss_Shmem": "shared"}


def taken(process: psutil.Process) -> dict[str, float]:
    """MB of a process by kind; nothing of one that has gone."""
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()[1:]
        found = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}
        return {name: found.get(kind, 0.0) for kind, name in KINDS.items()}
    return dict.fromkeys(KINDS.values(), 0.0)


def main() -> None:
    """Trains and prints the worst moment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--share", type=float, default=0.7)
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--command", default="nextclick")
    chosen = parser.parse_args()
    data = chosen.data or fetch_ml100k(load_settings().cache_dir / "ml-100k")
    with tempfile.TemporaryDirectory() as folder:
        command = [
            chosen.command, "train", "--interactions", str(data / "interactions.csv.gz"), "--items",
            str(data / "items.csv.gz"), "--to", str(chosen.share), "--out", f"{folder}/release",
            "--time-budget", str(chosen.minutes),
        ]  # fmt: skip
        begun = time.monotonic()
        running = psutil.Process(subprocess.Popen(command, cwd=folder).pid)
        worst: tuple[float, float, list[dict[str, float]]] = (0.0, 0.0, [])
        while running.is_running() and running.status() != psutil.STATUS_ZOMBIE:
            parts = [taken(each) for each in (running, *running.children(recursive=True))]
            worst = max(worst, (sum(part["all"] for part in parts), time.monotonic() - begun, parts))
            time.sleep(EVERY_SECONDS)
    total, at, parts = worst
    print(f"{total:,.0f} MB at the most, {at:.0f} s after the start, in {len(parts)} processes:")
    for part in parts:
        print("  " + ", ".join(f"{name} {mb:,.0f}" for name, mb in part.items()))
    sys.exit(0 if parts else 1)


if __name__ == "__main__":
    main()
