"""What a replay has shown: the report as a JSON-ready dictionary. `reading` makes tables and a plot of it.

Owns the shape of the report, how seeds are averaged and which systems are compared. Knows no system from
the inside: it reads outcomes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from learner.data.repeats import repeat_share
from learner.data.times import DAY_MS
from learner.evaluation.baselines import SINGLE_BASELINES
from learner.evaluation.plan import Plan
from learner.evaluation.replay import Outcome
from learner.evaluation.system import DEPTH
from learner.judging.metrics import (
    RESAMPLES,
    WIDE,
    hit,
    interval,
    ndcg,
    per_group,
    reciprocal_rank,
    resampled,
)

SLICES = ("cold_users", "one_click", "few_clicks_users", "cold_items", "few_clicks_items", "tail")
MAIN = "nextclick"
BLEND = "blend"
SIGNALS, NO_CONTENT = "nextclick_signals", "nextclick_no_content"  # what content is worth is told by these
CURVE_POINTS = 200
_SLICE_METRICS = {"ndcg@10": "ndcg", "hr@10": "hr", "hr@50": "hr@50"}
CONTENT_FIELDS = (
    "title",
    "description",
    "categories",
    "tags",
    "image",
    "attributes",
    "price",
    "published_at",
)

Report = dict[str, Any]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Learning:
    """What `--learn` was: its mode, what it cost, and which two systems show what it gave."""

    mode: str
    cpu_seconds: float
    system: str = MAIN
    without: str = ""


@dataclass(slots=True)
class _Columns:
    """Per-user sums of named figures, all seeds together, and their totals over resampled users."""

    groups: npt.NDArray[np.int64]
    users: int
    names: list[str] = field(default_factory=list)
    values: list[Doubles] = field(default_factory=list)
    totals: dict[str, Doubles] = field(default_factory=dict)

    def add(self, name: str, values: npt.NDArray[Any]) -> None:
        """A figure by event, (A,)."""
        self.names.append(name)
        self.values.append(np.asarray(values, np.float64))

    def resample(self, seed: int, resamples: int) -> None:
        """Draws users once, for all figures."""
        sums = per_group(self.groups, np.stack(self.values, axis=1), self.users)
        drawn = resampled(sums, np.random.default_rng(seed), resamples)
        self.totals = dict(zip(self.names, drawn.T, strict=True))

    def ratio(self, above: str, below: str) -> dict[str, Any]:
        """Sum over sum with its interval, both from the same draws: of figures on the same events."""
        sums = dict(zip(self.names, self.values, strict=True))
        whole = float(sums[below].sum())
        with np.errstate(divide="ignore", invalid="ignore"):
            drawn = self.totals[above] / self.totals[below]
        return {"ratio": float(sums[above].sum()) / whole if whole else None, "ci95": interval(drawn)}


def report(
    plans: Sequence[Plan],
    outcomes: Sequence[Sequence[Outcome]],
    *,
    main: str = MAIN,
    learning: Learning | None = None,
    protocol: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    resamples: int = RESAMPLES,
) -> Report:
    """The report over plans (one a seed) and outcomes[plan][system].

    `main` is the system that lifts are of; `protocol` and `data` are added to what is known here (files,
    exploration, diversity). Figures are means over the scored events of all seeds.
    """
    names = [outcome.name for outcome in outcomes[0]]
    columns = _columns(plans, outcomes, names)
    columns.resample(plans[0].seed, resamples)
    systems = {
        name: _system(name, [row[n] for row in outcomes], plans, columns) for n, name in enumerate(names)
    }
    singles = [name for name in names if name in SINGLE_BASELINES]
    best = max(singles, key=lambda name: float(systems[name]["ndcg@10"] or 0.0), default=None)
    told: Report = _finite(
        {
            "data": _data(plans[0]) | dict(data or {}),
            "protocol": _protocol(plans) | dict(protocol or {}),
            "systems": systems,
            "best_baseline": best,
            "lift": _lift(columns, main, best, names),
            "lift_over_blend": _lift(columns, main, BLEND, names),
            "lift_by_slice": _slice_lifts(systems, columns, main, names),
            "over_no_content": _over_no_content(columns, names),
            "candidates": _candidates([row[names.index(main)] for row in outcomes] if main in names else []),
            "learn": _learn(learning, columns, names),
            "curve": _curve(plans[0], outcomes[0]),
        }
    )
    return told


def _columns(plans: Sequence[Plan], outcomes: Sequence[Sequence[Outcome]], names: list[str]) -> _Columns:
    users = max(len(plan.stream.user_ids) for plan in plans)
    scored = np.concatenate([plan.stream.user[plan.asked] for plan in plans]).astype(np.int64)
    present, groups = np.unique(scored, return_inverse=True)
    columns = _Columns(groups.astype(np.int64), min(users, len(present)))
    slices = {name: np.concatenate([plan.slices[name][plan.asked] for plan in plans]) for name in SLICES}
    columns.add("n", np.ones(len(scored)))
    for name, mask in slices.items():
        columns.add(f"n {name}", mask)
    for n, system in enumerate(names):
        position = np.concatenate([row[n].position for row in outcomes])
        gain, found = ndcg(position), hit(position)
        columns.add(f"{system} ndcg", gain)
        for name, mask in slices.items():
            columns.add(f"{system} ndcg {name}", gain * mask)
            columns.add(f"{system} hr {name}", found * mask)
            columns.add(f"{system} hr@50 {name}", hit(position, DEPTH) * mask)
    return columns


def _system(
    name: str, outcomes: Sequence[Outcome], plans: Sequence[Plan], columns: _Columns
) -> dict[str, Any]:
    position = np.concatenate([outcome.position for outcome in outcomes])
    gain = ndcg(position)
    halves = [np.array_split(ndcg(outcome.position), 2) for outcome in outcomes]
    told: dict[str, Any] = {
        "ndcg@10": _mean(gain),
        "hr@10": _mean(hit(position)),
        "mrr@10": _mean(reciprocal_rank(position)),
        "recall@20": _mean(hit(position, WIDE)),
        "coverage@10": _mean([o.listed.sum() / max(o.catalogue, 1) for o in outcomes]),
        "novelty@10": _mean(np.concatenate([o.novelty for o in outcomes])),
        "hr@10_last_list": _mean(np.concatenate([o.last_list for o in outcomes])),
        "ms_per_click": _mean([o.ms_per_click for o in outcomes]),
        "cpu_ms_per_click": _mean([o.cpu_ms_per_click for o in outcomes]),
        "fit_seconds": _mean([o.fit_seconds for o in outcomes]),
        "ci95": {"ndcg@10": interval(columns.totals[f"{name} ndcg"] / columns.totals["n"])},
        "by_seed": {"ndcg@10": [_mean(ndcg(o.position)) for o in outcomes]},
        "by_half": {"ndcg@10": [_mean(np.concatenate([h[n] for h in halves])) for n in (0, 1)]},
    }
    for part in SLICES:
        mask = np.concatenate([plan.slices[part][plan.asked] for plan in plans])
        count = int(mask.sum())
        told[part] = {
            "n": count,
            "ndcg@10": _mean(gain[mask]),
            "hr@10": _mean(hit(position[mask])),
            "hr@50": _mean(hit(position[mask], DEPTH)),
            "ci95": _slice_intervals(name, part, columns) if count else None,
        }
    described = [outcome.description for outcome in outcomes]
    tuning = [one.pop("tuning") for one in described if "tuning" in one]
    if tuning:
        told["tuning"] = tuning[0] | {"chosen_by_seed": [one["chosen"] for one in tuning]}
    if any(described):
        told["settings"] = described[0]
    return told


def _slice_intervals(name: str, part: str, columns: _Columns) -> dict[str, Any]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            told: interval(columns.totals[f"{name} {metric} {part}"] / columns.totals[f"n {part}"])
            for told, metric in _SLICE_METRICS.items()
        }


def _lift(columns: _Columns, main: str, other: str | None, names: Sequence[str]) -> dict[str, Any] | None:
    if main not in names or other not in names:
        return None
    return {"ndcg@10": columns.ratio(f"{main} ndcg", f"{other} ndcg")}


def _slice_lifts(
    systems: Mapping[str, Any], columns: _Columns, main: str, names: Sequence[str]
) -> dict[str, Any] | None:
    """In each slice: the best single baseline there, and what the main system has over it and the blend."""
    singles = [name for name in names if name in SINGLE_BASELINES]
    if main not in names or not singles:
        return None
    lifts: dict[str, Any] = {}
    for part in SLICES:
        best = max(singles, key=lambda name: float(systems[name][part]["ndcg@10"] or 0.0))
        lifts[part] = {"best_baseline": best}
        for metric in ("ndcg", "hr"):
            lifts[part][f"{metric}@10"] = columns.ratio(f"{main} {metric} {part}", f"{best} {metric} {part}")
        if BLEND in names:
            lifts[part]["over_blend"] = {
                "ndcg@10": columns.ratio(f"{main} ndcg {part}", f"{BLEND} ndcg {part}")
            }
    return lifts


def _over_no_content(columns: _Columns, names: Sequence[str]) -> dict[str, Any] | None:
    """What content is worth: over the same system without it, neither of which trains on after the split."""
    if NO_CONTENT not in names or SIGNALS not in names:
        return None
    told: dict[str, Any] = {"ndcg@10": columns.ratio(f"{SIGNALS} ndcg", f"{NO_CONTENT} ndcg")}
    for part in SLICES:
        told[part] = {
            told_as: columns.ratio(f"{SIGNALS} {metric} {part}", f"{NO_CONTENT} {metric} {part}")
            for told_as, metric in _SLICE_METRICS.items()
        }
    return told


def _candidates(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    sources = list(dict.fromkeys(source for outcome in outcomes for source in outcome.recalled))
    return {
        source: {"recall@200": _mean(np.concatenate([outcome.recalled[source] for outcome in outcomes]))}
        for source in sources
    }


def _learn(learning: Learning | None, columns: _Columns, names: Sequence[str]) -> dict[str, Any]:
    if learning is None:
        return {"mode": "none", "cpu_seconds": 0.0, "ratio": None, "ci95": None}
    told: dict[str, Any] = {"mode": learning.mode, "cpu_seconds": learning.cpu_seconds}
    if learning.system in names and learning.without in names:
        return told | columns.ratio(f"{learning.system} ndcg", f"{learning.without} ndcg")
    return told | {"ratio": None, "ci95": None}


def _data(plan: Plan) -> dict[str, Any]:
    stream = plan.stream
    interest = plan.interest
    _, at_once = np.unique(stream.time_ms, return_counts=True)
    return {
        "events": stream.size,
        "interactions": int(interest.sum()),
        "users": len(np.unique(stream.user)),
        "items": len(np.unique(stream.item)),
        "items_with_content": sum(record is not None for record in stream.records),
        "from": _day(stream.time_ms[0]),
        "to": _day(stream.time_ms[-1]),
        "events_at_one_time": float(at_once[at_once > 1].sum() / stream.size),
        "times_are_whole_days": bool(np.all(stream.time_ms % DAY_MS == 0)),
        "repeat_share": repeat_share(
            stream.user[: plan.split], stream.item[: plan.split], stream.kind[: plan.split]
        ),
    }


def _protocol(plans: Sequence[Plan]) -> dict[str, Any]:
    plan = plans[0]
    late = slice(plan.split, None)
    entered = plan.entry[plan.enters_before_ask]
    return {
        "name": "prequential",
        "split": plan.split / plan.stream.size,
        "events_before": plan.split,
        "seeds": [one.seed for one in plans],
        "scored": [len(one.asked) for one in plans],
        "skipped": int(plan.skipped[late].sum()),
        "repeats": plan.repeats,
        "announce": plan.announce,
        "items_announced_before_a_click": len(entered),
        "sessions_ms": plan.sessions_ms,
        "moment": "the answer's event time, every earlier event known, nothing else",
        "catalogue": "all items that have entered by then, none sampled",
        "ties": "expected position; in lists by item id",
        "intervals": f"95 %, {RESAMPLES} resamples of users, both systems of a ratio in each",
        "baselines_tuned_on": "the last fifth of the first part",
        "content_fields": content_fields(plan),
    }


def content_fields(plan: Plan) -> list[str]:
    """Which fields of the catalogue's records have anything in them."""
    records = [record for record in plan.stream.records if record is not None]
    return [name for name in CONTENT_FIELDS if any(getattr(record, name) for record in records)]


def _curve(plan: Plan, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Cumulative NDCG@10 over the scored events of the first seed, thinned for a plot."""
    asked = len(plan.asked)
    if asked == 0:
        return {"events": [], "systems": {}}
    at = np.unique(np.linspace(1, asked, min(asked, CURVE_POINTS)).astype(int))
    return {
        "events": at.tolist(),
        "systems": {o.name: (np.cumsum(ndcg(o.position))[at - 1] / at).tolist() for o in outcomes},
    }


def _mean(values: Any) -> float | None:
    """Mean of what is known; None where nothing is."""
    known = np.asarray(values, np.float64)
    known = known[~np.isnan(known)]
    return float(known.mean()) if len(known) else None


def _day(time_ms: np.int64) -> str:
    return datetime.fromtimestamp(int(time_ms) / 1000, UTC).isoformat(timespec="seconds")


def _finite(told: Any) -> Any:
    """JSON has no nan and no infinity: None instead."""
    if isinstance(told, dict):
        return {key: _finite(value) for key, value in told.items()}
    if isinstance(told, list | tuple):
        return [_finite(value) for value in told]
    if isinstance(told, float | np.floating):
        return float(told) if np.isfinite(told) else None
    return told.item() if isinstance(told, np.generic) else told
