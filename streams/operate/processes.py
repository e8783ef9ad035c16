"""What this machine knows of its processes: their memory, their time, and what they are.

Knows no Kafka, and what a process is by its command line alone.
"""

from collections.abc import Iterable

import psutil


def rss_mb(processes: Iterable[int]) -> float | None:
    """Resident memory of processes of this machine, in all; None without any."""
    taken = [psutil.Process(process).memory_info().rss for process in processes]
    return round(sum(taken) / 2**20, 1) if taken else None


def cpu_seconds(process: int) -> float:
    """Processor time that a process has taken so far."""
    times = psutil.Process(process).cpu_times()
    return float(times.user + times.system)


def workers_here(prefix: str) -> list[int]:
    """Process ids of workers on this machine, as `here`."""
    return here("worker", prefix)


def listening_on(port: int, processes: Iterable[int]) -> list[int]:
    """Those that listen on a port; what may not be looked at does not."""
    found = []
    for process in processes:
        try:
            lines = psutil.Process(process).net_connections(kind="tcp")
        except psutil.Error:
            continue
        if any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in lines):
            found.append(process)
    return found


def here(command: str, prefix: str) -> list[int]:
    """Ids of processes of this machine whose command line names the prefix, or none for the default."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []  # none of a process that has ended, or is not ours to look at
        named = words[words.index("--prefix") + 1] if "--prefix" in words[:-1] else "nextclick."
        if command in words[1:5] and any("streams" in w or "nextclick" in w for w in words[:4]):
            found += [process.pid] if named == prefix else []
    return found
