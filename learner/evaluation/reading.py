"""A replay's report for reading: tables and a plot.

Owns which figures they have and how these are written. Knows reports by their shape alone.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from learner.evaluation.baselines import BASELINES, CONTROLS
from learner.evaluation.report import BLEND, MAIN, SLICES, Report

WIDE_TABLE = 120  # columns of a terminal in which a table has everything
SETTLED = 25  # a plot leaves out that part of the points, where a mean of few events jumps about


def table(told: Report, width: int = WIDE_TABLE) -> Table:
    """The report for reading: one row a system, best first; what does not fit `width` is left out."""
    made = Table(title=_title(told), caption=_caption(told), caption_justify="left", padding=(0, 1, 0, 0))
    made.add_column("system", no_wrap=True)
    columns = [column for column in _COLUMNS if width >= WIDE_TABLE or column[2]]
    for head, _, _ in columns:
        made.add_column(head, justify="right", no_wrap=True)
    systems = sorted(told["systems"].items(), key=lambda pair: -(pair[1]["ndcg@10"] or 0.0))
    for name, figures in systems:
        row = [show(figures) for _, show, _ in columns]
        made.add_row(name, *row, style="bold" if name == MAIN else "")
    return made


def _shown(key: str, digits: int = 4) -> Callable[[Mapping[str, Any]], str]:
    return lambda figures: _number(figures[key], digits)


def _shown_slice(part: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda figures: _number(figures[part]["ndcg@10"])


def _shown_interval(figures: Mapping[str, Any]) -> str:
    found = figures["ci95"]["ndcg@10"]
    return "–".join(_number(end) for end in found) if found else "–"


# Head, cell, and whether a narrow table has it too.
_COLUMNS: list[tuple[str, Callable[[Mapping[str, Any]], str], bool]] = [
    ("NDCG\n@10", _shown("ndcg@10"), True),
    ("95 %", _shown_interval, False),
    ("HR\n@10", _shown("hr@10"), True),
    ("MRR\n@10", _shown("mrr@10"), False),
    ("recall\n@20", _shown("recall@20"), False),
    ("last\nlist", _shown("hr@10_last_list"), True),
    *((part.replace("_", "\n"), _shown_slice(part), True) for part in SLICES),
    ("cover-\nage", _shown("coverage@10", 3), False),
    ("novel-\nty", _shown("novelty@10", 2), False),
    ("ms a\nclick", _shown("ms_per_click", 2), True),
]


def leave_one_out_table(told: Report) -> Table:
    """A report of `learner.evaluation.leave_one_out` for reading."""
    made = Table(
        title=f"leave one out, {told['protocol']['scored']:,} users, {told['data']['items']:,} items"
    )
    made.add_column("system")
    heads = ("ndcg@10", "hr@10", "mrr@10", "ndcg@20", "recall@20")
    for head in ("NDCG@10", "95 %", *heads[1:], "validation NDCG@10", "seconds"):
        made.add_column(head, justify="right")
    for name, figures in told["systems"].items():
        low, high = figures["ci95"]["ndcg@10"]
        row = [_number(figures["ndcg@10"]), f"{low:.4f}–{high:.4f}"]
        row += [_number(figures[key]) for key in heads[1:]]
        made.add_row(
            name, *row, _number(figures["validation"]["ndcg@10"]), _number(figures["fit_seconds"], 0)
        )
    return made


def plot(told: Report, path: Path) -> None:
    """Cumulative NDCG@10 over the stream, a line each system. Needs matplotlib (extra `learner`)."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 5.5), layout="constrained")
    curve = told["curve"]
    events, begin = curve["events"], len(curve["events"]) // SETTLED
    highest = 0.0
    for n, (name, values) in enumerate(sorted(curve["systems"].items(), key=lambda pair: -pair[1][-1])):
        line = {"lw": 2.6, "color": "black"} if name == MAIN else {"lw": 1.3, "color": f"C{n % 10}"}
        line["ls"] = "-" if name in BASELINES or name == MAIN else ":" if name in CONTROLS else "--"
        axes.plot(events[begin:], values[begin:], label=f"{name} {values[-1]:.4f}", **line)
        highest = max(highest, *values[begin:])
    axes.set_ylim(0, 1.05 * highest or 1.0)
    axes.set_xlabel("scored events")
    axes.set_ylabel("cumulative NDCG@10")
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    figure.savefig(path, dpi=140)
    plt.close(figure)


def _title(told: Report) -> str:
    data, protocol = told["data"], told["protocol"]
    return (
        f"{data['interactions']:,} interactions, {data['users']:,} users, {data['items']:,} items; "
        f"{protocol['scored'][0]:,} scored, announce {protocol['announce']}, seeds {protocol['seeds']}"
    )


def _caption(told: Report) -> str:
    lines = []
    for key, over in (("lift", told["best_baseline"]), ("lift_over_blend", BLEND)):
        lift = told[key]
        if lift and lift["ndcg@10"]["ratio"] is not None:
            ratio, ci = lift["ndcg@10"]["ratio"], lift["ndcg@10"]["ci95"]
            lines.append(f"NDCG@10 over {over}: {ratio:.3f} ({ci[0]:.3f}–{ci[1]:.3f})")
    if told["candidates"]:
        recall = ", ".join(f"{s} {_number(v['recall@200'], 3)}" for s, v in told["candidates"].items())
        lines.append(f"recall@200 of candidates: {recall}")
    lines.append("slices show NDCG@10")
    return "\n".join(lines)


def _number(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}f}".replace("0.", ".", value < 1)
