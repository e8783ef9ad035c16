"""What a worker measures: where each of its figures is read, and how fresh its lists are.

Owns the names of its counts and the times of a list's stages. What a figure means stands in
`streams.figures.table`.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from streams.figures.registry import Figures, Labels
from streams.hot_path.serving import Serving
from streams.wire.intake import cause_of
from streams.worker.assignment import Parcel

if TYPE_CHECKING:
    from streams.worker.process import Worker

# By the word that its owner counts with. Lists stand apart: they are told by their triggers.
_COUNTS = {
    "clicks": "clicks", "hurried_lists": "hurried_lists", "forwarded": "forwarded_records",
    "replayed": "replayed_clicks", "duplicates": "duplicate_clicks", "forgotten": "forgotten_users",
    "impressions": "impressions", "idle_undos": "idle_undos", "moved_on": "moved_records",
    "expired_requests": "expired_requests", "behind_requests": "behind_requests",
}  # fmt: skip


class Measured:
    """The worker's figures. `counts` only rise, and are written by their owners."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys((*_COUNTS, "lists", "asked_lists"), 0)
        self.figures = figures = Figures("worker")
        for word, name in _COUNTS.items():
            figures.tells(f"nextclick_{name}_total", partial(self.counts.__getitem__, word))
        figures.tells(
            "nextclick_lists_total", lambda: self.counts["lists"] - self.counts["asked_lists"], "click"
        )
        figures.tells("nextclick_lists_total", partial(self.counts.__getitem__, "asked_lists"), "request")
        self._freshness = figures.histogram("nextclick_freshness_seconds")
        self._answer = figures.histogram("nextclick_answer_seconds")
        self._waiting, self._computing, self._delivery = (
            figures.histogram("nextclick_stage_seconds", stage)
            for stage in ("waiting", "computing", "delivery")
        )

    def round(self, round_ms: int, took_s: float) -> Callable[[Parcel], None]:
        """What is to be called when a parcel of a round that has just been computed is acknowledged.

        `round_ms`: when it began; `took_s`: how long it took
        """
        return partial(self._arrived, round_ms, took_s, time.perf_counter())

    def _arrived(self, round_ms: int, took_s: float, computed_s: float, parcel: Parcel) -> None:
        now_ms, delivery_s = time.time() * 1000, time.perf_counter() - computed_s
        for histogram, sent in ((self._freshness, parcel.clicked_ms), (self._answer, parcel.asked_ms)):
            for sent_ms in sent:
                histogram.observe(max(0.0, now_ms - sent_ms) / 1000)
                self._waiting.observe(max(0, round_ms - sent_ms) / 1000)
        if lists := len(parcel.lists):
            self._computing.observe(took_s, lists)
            self._delivery.observe(delivery_s, lists)


def register(figures: Figures, worker: "Worker") -> None:
    """All figures but the counts and stages; those that need a release are not known before there is one."""
    knowledge, users, patience, rounds = worker.knowledge, worker.users, worker.patience, worker.rounds
    catalogue, lag = knowledge.catalogue, worker.lag

    def served(name: str, of: Callable[[Serving], float | None], *labels: str) -> None:
        figures.tells(name, lambda: None if knowledge.serving is None else of(knowledge.serving), *labels)

    figures.tells_all("nextclick_release_info", lambda: _releases(knowledge.serving))
    served("nextclick_release_swaps_total", lambda serving: serving.swaps)
    served("nextclick_reencoded_states_total", lambda serving: serving.reencoded)
    served("nextclick_indexed_items", lambda serving: len(serving.world.live.index))
    served("nextclick_recall", lambda serving: serving.world.live.recall.recall, "live")
    served(
        "nextclick_recall",
        lambda serving: serving.canary.live.recall.recall if serving.canary else None,
        "canary",
    )
    figures.tells_all(
        "nextclick_bad_records_total", lambda: _by_cause(worker.bad.by_kind, worker.names.prefix)
    )
    for name, read in {
        "ready": lambda: knowledge.ready.is_set() and worker.assignment is not None,
        "partitions": lambda: len(users.owned),
        "lag_clicks": lambda: lag.clicks,
        "lag_seconds": lambda: lag.seconds,
        "waiting_records": lambda: rounds.pending,
        "held_requests": lambda: len(patience) + rounds.parked,
        "users": lambda: len(users.states),
        "spilled_users": lambda: users.away,
        "user_states_bytes": lambda: users.states.nbytes,
        "items": lambda: catalogue.size,
        "available_items": lambda: int(catalogue.available.sum()),
        "expired_items": lambda: int(catalogue.expired.sum()),
        "signals_age_seconds": lambda: knowledge.silence.seconds,
        "scenarios": lambda: knowledge.of_scenarios(lambda known: known.count),
        "unheard_scenarios": lambda: knowledge.of_scenarios(lambda known: known.unheard),
        "unknown_fields": lambda: knowledge.of_scenarios(lambda known: len(known.unknown_fields)),
        "idle_shown_caps": lambda: knowledge.of_scenarios(lambda known: len(known.idle_shown_caps)),
    }.items():
        figures.tells(f"nextclick_{name}", read)


def _releases(serving: Serving | None) -> Mapping[Labels, float]:
    if serving is None:
        return {}
    roles = {"live": serving.world, "canary": serving.canary}
    used = {role: world.live for role, world in roles.items() if world is not None}
    return {(live.release.id, role, live.index.kind): 1.0 for role, live in used.items()}


def _by_cause(by_kind: Mapping[str, int], prefix: str) -> dict[Labels, float]:
    """`by_kind`: "TOPIC: CAUSE: particulars" as `Repeated` has them, the topic's name shortened here."""
    found: dict[Labels, float] = {}
    labels: Labels
    for kind, count in dict(by_kind).items():
        topic, parted, error = kind.partition(": ")
        labels = (topic.removeprefix(prefix), cause_of(error)) if parted else ("other", kind)
        found[labels] = found.get(labels, 0) + count
    return found
