"""What a learner measures: where each of its figures is read.

Owns nothing else; what a figure means stands in `streams.figures.table`.
"""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from streams.figures.registry import Figures, Labels

if TYPE_CHECKING:
    from streams.learning.process import Learner

_ARMS = ("live", "canary")


def register(figures: Figures, learner: "Learner") -> None:
    """All figures but the decisions, which the learner counts as it reads them."""
    roles = learner.releases.roles

    for name, read in {
        "learner_ready": lambda: learner.canaries is not None,
        "learner_lag_clicks": lambda: learner.behind,
        "topic_partitions": lambda: learner.topic_partitions,
        "counted_users": lambda: None if learner.counting is None else len(learner.counting),
        "counted_clicks_total": lambda: 0 if learner.counting is None else learner.counting.counts["counted"],
        "signals_records_total": lambda: 0 if learner.counting is None else learner.publisher.published,
        "canary": lambda: roles.canary is not None,
        "pinned": lambda: roles.pinned,
        "candidates": lambda: len(roles.candidates),
        "live_release_timestamp_seconds": lambda: None if roles.live is None else roles.live.at / 1000,
    }.items():
        figures.tells(f"nextclick_{name}", read)
    for name, attribute in {
        "answers_total": "answers",
        "hits_total": "hits",
        "popular_hits_total": "popular_hits",
        "hit_rate": "rate",
        "popular_hit_rate": "popular_rate",
    }.items():
        figures.tells(f"nextclick_{name}", partial(_rates, learner, attribute))
    for name in ("clicks", "users", "hit_rate"):
        figures.tells_all(f"nextclick_canary_{name}", partial(_arms, learner, name))


def _rates(learner: "Learner", attribute: str) -> float | None:
    if learner.canaries is None:
        return None
    found: float | None = getattr(learner.canaries.decider.rates, attribute)
    return found


def _arms(learner: "Learner", name: str) -> Mapping[Labels, float]:
    if learner.canaries is None:
        return {}
    told = learner.canaries.decider.figures()
    return {(arm,): told[f"{name}_{arm}"] for arm in _ARMS if f"{name}_{arm}" in told}
