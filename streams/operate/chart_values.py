"""A plan as values of the chart in `deploy/chart/`: what each part asks for, and what it may take.

Owns how a plan's figures become requests, limits and sizes. The figures are `sizing`'s.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from streams.operate.sizing import BUSY, RELEASES_MB, Constants, Figure

LIMIT = 2.0  # times what is asked for: a second release beside the first, a training that takes more
_STEP_MI = 64

Values = Mapping[str, Any]


def chart_values(figures: Sequence[Figure], constants: Constants, replication: int) -> Values:
    """What of the chart's values the plan decides; all else stays as it is there."""
    of = {(each.of, each.what): each.value for each in figures}
    workers, partitions = int(of["workers", "processes"]), int(of["topics", "partitions"])
    click_ms = constants.by_name["list_ms"].value + constants.by_name["handling_ms"].value
    values: dict[str, Any] = {
        "kafka": {"partitions": partitions, "replication": replication},
        "worker": {
            "replicas": workers,
            "resources": _resources(of["workers", "cores each"], of["workers", "memory each"]),
            "scratch": _gi(2 * (of["workers", "disk each"] + RELEASES_MB)),
        },
        "learner": {
            "resources": _resources(of["learner", "cores"], of["learner", "memory"]),
            "storage": {"size": _gi(of["learner", "disk"])},
        },
        "autoscaling": {
            "min": workers, "max": partitions, "clicksPerSecond": math.floor(BUSY * 1000 / click_ms),
        },
    }  # fmt: skip
    if ("apis", "processes") in of:
        values["api"] = {"replicas": int(of["apis", "processes"])}
    return values


def as_yaml(values: Values, depth: int = 0) -> Iterator[str]:
    """Its lines. Words stay words: what is no number or name stands in quotes."""
    for name, value in values.items():
        indent = "  " * depth
        if isinstance(value, Mapping):
            yield f"{indent}{name}:"
            yield from as_yaml(value, depth + 1)
        else:
            yield f"{indent}{name}: " + (f'"{value}"' if isinstance(value, str) else str(value))


def _resources(cores: float, memory_mb: float) -> Values:
    """A limit of cores would only make lists late: there is none."""
    return {
        "requests": {"cpu": f"{cores:g}", "memory": _mi(memory_mb)},
        "limits": {"memory": _mi(memory_mb * LIMIT)},
    }


def _mi(memory_mb: float) -> str:
    return f"{_STEP_MI * math.ceil(memory_mb / _STEP_MI)}Mi"


def _gi(disk_mb: float) -> str:
    return f"{math.ceil(disk_mb / 1024)}Gi"
