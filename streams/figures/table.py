"""Every figure that a process measures: its name, what it means, and how several processes' add up.

Owns the names, which are stable: dashboards, rules and operators' own alerts stand on them.
docs/operating/metrics.md is this table for people. Knows nothing of how anything is measured.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]
Over = Literal["sum", "max", "min"]  # what several processes' gauges come to
PREFIX = "nextclick_"

# Seconds. A click's list is to be there within 7 ms, half of the times, when nobody else clicks, and within
# tens of milliseconds under load; what takes longer than a minute was a backlog.
FRESHNESS = (
    0.002, 0.003, 0.004, 0.005, 0.006, 0.007, 0.008, 0.01, 0.0125, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15,
    0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0,
)  # fmt: skip
STAGE = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.007, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 1.0, 5.0, 60.0)
REQUEST = (0.001, 0.002, 0.004, 0.007, 0.01, 0.02, 0.04, 0.07, 0.1, 0.2, 0.4, 1.0, 2.5, 5.0)


@dataclass(frozen=True)
class Metric:
    """One figure: `by` the processes that have it, `le` the bounds of a histogram in seconds."""

    name: str
    kind: Kind
    by: tuple[str, ...]
    text: str
    labels: tuple[str, ...] = ()
    le: tuple[float, ...] = ()
    over: Over = "sum"


WORKER, LEARNER, TRAINER, API = ("worker",), ("learner",), ("trainer",), ("api",)
EVERY = (*WORKER, *LEARNER, *TRAINER, *API)


def _counter(name: str, by: tuple[str, ...], text: str, *labels: str) -> Metric:
    return Metric(f"{PREFIX}{name}_total", "counter", by, text, labels)


def _gauge(name: str, by: tuple[str, ...], text: str, *labels: str, over: Over = "sum") -> Metric:
    return Metric(PREFIX + name, "gauge", by, text, labels, over=over)


def _histogram(name: str, by: tuple[str, ...], text: str, le: tuple[float, ...], *labels: str) -> Metric:
    return Metric(f"{PREFIX}{name}_seconds", "histogram", by, text, labels, le)


_ALL = (
    _gauge("build_info", EVERY, "1; which process this is and of which version", "process", "version"),
    _gauge("release_info", WORKER, "1 for each release in use, with its index", "release", "role", "index"),
    _histogram("freshness", WORKER, "From a click's sending to the acknowledgement of its list", FRESHNESS),
    _histogram("answer", WORKER, "From a request's sending to the acknowledgement of its list", FRESHNESS),
    _histogram(
        "stage", WORKER, "Of each list: waiting for its round, the round's computing, delivery to the broker",
        STAGE, "stage",
    ),
    _counter("clicks", WORKER, "Clicks taken into users' states"),
    _counter("lists", WORKER, "Lists made; trigger: click or request", "trigger"),
    _counter("hurried_lists", WORKER, "Of these, drawn from fewer candidates, since many were made at once"),
    _counter("bad_records", WORKER, "Bad records, of topics that all read by each worker", "topic", "cause"),
    _counter("forwarded_records", WORKER, "Records in another user's partition, sent on to the right one"),
    _counter("replayed_clicks", WORKER, "Clicks read again that a state knew, as after a crash"),
    _counter("duplicate_clicks", WORKER, "Clicks sent twice by their producers"),
    _counter("forgotten_users", WORKER, "Users forgotten because somebody asked for it"),
    _counter("impressions", WORKER, "Impressions taken into users' states"),
    _counter("idle_undos", WORKER, "Undos of an event that there is not"),
    _counter("moved_records", WORKER, "Records of merged visitors, sent on to the user"),
    _counter("expired_requests", WORKER, "Requests dropped since their expires_at was past"),
    _counter("behind_requests", WORKER, "Requests answered without the click that they named"),
    _counter("release_swaps", WORKER, "Changes of the live release"),
    _counter("reencoded_states", WORKER, "States encoded anew for another release, in idle time"),
    _gauge("ready", WORKER, "1 once lists can be made"),
    _gauge("partitions", WORKER, "Partitions of clicks that it has now"),
    _gauge("lag_clicks", WORKER, "Clicks in its partitions whose effects are not acknowledged yet"),
    _gauge("lag_seconds", WORKER, "Age of the oldest of them, 0 where there is none", over="max"),
    _gauge("waiting_records", WORKER, "Records read that wait for their round"),
    _gauge("held_requests", WORKER, "Requests that wait for a click or a filter"),
    _gauge("users", WORKER, "Users whose states are in memory"),
    _gauge("spilled_users", WORKER, "Users whose states are on disk"),
    _gauge("user_states_bytes", WORKER, "Memory of the states, by the sizes of their arrays"),
    _gauge("items", WORKER, "Items known", over="max"),
    _gauge("available_items", WORKER, "Items that may be recommended", over="max"),
    _gauge("expired_items", WORKER, "Items out of the lists since nobody clicks them", over="max"),
    _gauge("indexed_items", WORKER, "Items in the index of the live release", over="max"),
    _gauge("recall", WORKER, "Share of the nearest 100 that the index finds, by role", "role", over="min"),
    _gauge("signals_age_seconds", WORKER, "Since the learner was last heard, while clicks come", over="max"),
    _gauge("scenarios", WORKER, "Scenarios that rules are given for", over="max"),
    _gauge("unheard_scenarios", WORKER, "Scenarios asked for that nobody has defined", over="max"),
    _gauge("unknown_fields", WORKER, "Fields in rules that no item has", over="max"),
    _gauge("idle_shown_caps", WORKER, "Scenarios whose shown_cap has no impressions to count", over="max"),
    _counter("counted_clicks", LEARNER, "Clicks counted into the signals"),
    _counter("signals_records", LEARNER, "Records of signals sent"),
    _counter("release_decisions", LEARNER, "Decisions about releases, by the record's decision", "decision"),
    _counter("answers", LEARNER, "Clicks that came after a list of the live release"),
    _counter("hits", LEARNER, "Of these, on an item of the list"),
    _counter("popular_hits", LEARNER, "Of these, on one of the 10 most popular items new to the user"),
    _gauge("learner_ready", LEARNER, "1 once all clicks of the past are counted"),
    _gauge("learner_lag_clicks", LEARNER, "Clicks not counted yet"),
    _gauge("topic_partitions", LEARNER, "Partitions of clicks, which workers share", over="max"),
    _gauge("counted_users", LEARNER, "Users whose last items the learner remembers"),
    _gauge("hit_rate", LEARNER, "Share of hits among the last 1,000 answers or so", over="max"),
    _gauge("popular_hit_rate", LEARNER, "The same of the popular items", over="max"),
    _gauge("canary", LEARNER, "1 while a canary runs", over="max"),
    _gauge("canary_clicks", LEARNER, "Clicks that answer a list since it began; arm: live or canary", "arm"),
    _gauge("canary_users", LEARNER, "Users of these clicks", "arm"),
    _gauge("canary_hit_rate", LEARNER, "Share of these clicks that hit", "arm", over="max"),
    _gauge("pinned", LEARNER, "1 while an operator holds the live release", over="max"),
    _gauge("candidates", LEARNER, "Releases that wait for the gate", over="max"),
    _gauge("live_release_timestamp_seconds", LEARNER, "Unix time since when it is live", over="max"),
    _counter(
        "trainings", TRAINER, "kind: full, ranker or encoder; outcome: done or failed", "kind", "outcome"
    ),
    _counter("training_seconds", TRAINER, "Processor time of trainings", "kind"),
    _gauge("training", TRAINER, "1 while a training runs", over="max"),
    _counter("gate_decisions", TRAINER, "Candidates judged, by decision", "decision"),
    _counter("trainer_failures", TRAINER, "Steps of the trainer that failed"),
    _gauge("new_clicks", TRAINER, "Clicks kept since the live release's training", over="max"),
    _counter("api_requests", API, "Requests answered", "method", "route", "status"),
    _histogram("api_request", API, "From a request to the end of its answer; no streams", REQUEST, "route"),
    _counter("api_lists", API, "Lists handed out; served: held, computed or stale", "served"),
    _counter("api_clicks", API, "Clicks acknowledged"),
    _gauge("api_ready", API, "1 while the broker answers and the catalogue is read"),
    _gauge("api_streams", API, "Open streams"),
    _gauge("api_held_users", API, "Users whose lists are held"),
    _gauge("api_held_bytes", API, "Memory of these lists"),
)  # fmt: skip

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}


def short_name(name: str) -> str:
    """The name in records: without the prefix, and a time in ms."""
    if not name.startswith(PREFIX):
        return name
    name = name.removeprefix(PREFIX).removesuffix("_total")
    return name.removesuffix("_seconds") + "_ms" if name.endswith("_seconds") else name


SHORT: dict[str, Metric] = {short_name(name): metric for name, metric in METRICS.items()}
