"""The figures of a whole run of the demo, as `--report` writes them."""

import msgspec

from streams.demo.drift import DriftWorld
from streams.demo.scoreboard import Scoreboard


def report(
    board: Scoreboard, release: str, seconds: float, first_list_s: float, drift: DriftWorld | None = None
) -> bytes:
    """All that a run has shown as JSON; null for what nobody was there to measure.

    `release` was live at the end, `first_list_s` are the seconds from the start to the first list.
    """
    told = {
        "clicks": board.clicks,
        "recommendations": board.lists,
        "freshness_ms": {"p50": board.freshness(0.5), "p99": board.freshness(0.99)},
        "hit_rate@10": {"nextclick": board.hit_rate, "popularity": board.popular_hit_rate},
        "release": release,
        "releases": {
            name: {
                "scored": rates.scored,
                "hit_rate@10": {"nextclick": rates.hit_rate, "popularity": rates.popular_hit_rate},
            }
            for name, rates in board.by_release.items()
        },
        "first_list_s": round(first_list_s, 1),
        "seconds": round(seconds, 1),
    }
    if drift is not None:
        stretches = {"before": board.before or board.all, "after": board.since}
        told["drift"] = drift.told() | {
            "hit_rate@10": {
                name: {"nextclick": rates.hit_rate, "popularity": rates.popular_hit_rate}
                for name, rates in stretches.items()
            }
        }
    return msgspec.json.format(msgspec.json.encode(told), indent=2) + b"\n"  # NaN becomes null
