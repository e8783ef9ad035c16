"""The Grafana board, from one short source: `python deploy/grafana/board.py` writes board.json beside it.

Owns which figures stand where. What they mean is said in docs/operating/metrics.md; what is asked for again
and again is recorded by deploy/prometheus/recording.yml.
"""

from pathlib import Path

from grafana_foundation_sdk.builders import dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.builders.common import ReduceDataOptions, VizLegendOptions
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import DataSourceRef

SOURCE = DataSourceRef(type_val="prometheus", uid="${source}")
HEIGHT, WIDTH, NARROW = 8, 8, 4  # of 24 columns

# Of each row: title, unit, and what is drawn, as (legend, expression).
Panel = tuple[str, str, list[tuple[str, str]]]
NOW: list[Panel] = [
    ("Clicks a second", "cps", [("", "nextclick:clicks:rate1m")]),
    ("Freshness, half", "s", [("", "nextclick:freshness_seconds:p50")]),
    ("Freshness, 99 %", "s", [("", "nextclick:freshness_seconds:p99")]),
    ("Oldest click that waits", "s", [("", "nextclick:lag_seconds:max")]),
    ("Partitions with a worker", "short", [("", "nextclick:partitions:sum")]),
    ("Hit rate, an hour", "percentunit", [("", "nextclick:hit_rate:1h")]),
]
ROWS: list[tuple[str, list[Panel]]] = [
    ("Fresh", [
        ("Freshness", "s", [
            ("half", "nextclick:freshness_seconds:p50"), ("99 %", "nextclick:freshness_seconds:p99"),
        ]),
        ("Where the time goes, mean", "s", [("{{stage}}", "nextclick:stage_seconds:mean")]),
        ("Lag in clicks", "short", [("{{instance}}", "nextclick_lag_clicks")]),
        ("Clicks and lists a second", "cps", [
            ("clicks", "nextclick:clicks:rate1m"), ("lists by {{trigger}}", "nextclick:lists:rate1m"),
        ]),
        ("Age of the oldest click that waits", "s", [("{{instance}}", "nextclick_lag_seconds")]),
        ("Drawn from fewer candidates", "percentunit", [("share", "nextclick:hurried_lists:share5m")]),
    ]),
    ("Good", [
        ("Hits beside the most popular items, an hour", "percentunit", [
            ("lists", "nextclick:hit_rate:1h"), ("popular items", "nextclick:popular_hit_rate:1h"),
        ]),
        ("Canary beside the live release", "percentunit", [("{{arm}}", "nextclick_canary_hit_rate")]),
        ("Users who answered since the canary began", "short", [("{{arm}}", "nextclick_canary_users")]),
        ("Recall of the index", "percentunit", [("{{instance}} {{role}}", "nextclick_recall")]),
        ("Decisions about releases, a day", "short", [
            ("{{decision}}", "sum by (decision) (increase(nextclick_release_decisions_total[1d]))"),
        ]),
        ("Trainings, processor time a day", "s", [
            ("{{kind}}", "sum by (kind) (increase(nextclick_training_seconds_total[1d]))"),
        ]),
    ]),
    ("Safe", [
        ("Bad records a minute", "short", [
            ("{{topic}}: {{cause}}", "sum by (topic, cause) (60 * rate(nextclick_bad_records_total[5m]))"),
        ]),
        ("Silence of the learner", "s", [("{{instance}}", "nextclick_signals_age_seconds")]),
        ("Memory", "bytes", [("{{job}} {{instance}}", "process_resident_memory_bytes")]),
        ("Users in memory, and on disk", "short", [
            ("{{instance}}", "nextclick_users"), ("{{instance}} on disk", "nextclick_spilled_users"),
        ]),
        ("Processor", "percentunit", [("{{job}} {{instance}}", "rate(process_cpu_seconds_total[1m])")]),
        ("Clicks to count", "short", [("learner", "nextclick_learner_lag_clicks")]),
    ]),
    ("HTTP", [
        ("Requests a second", "reqps", [("{{route}} {{status}}", "nextclick:api_requests:rate1m")]),
        ("99 % of the answers within", "s", [("{{route}}", "nextclick:api_request_seconds:p99")]),
        ("Lists a second", "reqps", [
            ("{{served}}", "sum by (served) (rate(nextclick_api_lists_total[1m]))"),
        ]),
        ("Failures", "percentunit", [("share of requests", "nextclick:api_errors:share5m")]),
        ("Open streams", "short", [("{{instance}}", "nextclick_api_streams")]),
        ("Lists held", "bytes", [("{{instance}}", "nextclick_api_held_bytes")]),
    ]),
]  # fmt: skip


def board() -> str:
    """The board as JSON, the same for the same source."""
    made = (
        dashboard.Dashboard("Nextclick")
        .uid("nextclick")
        .tags(["nextclick"])
        .refresh("10s")
        .time("now-1h", "now")
        .timezone("browser")
        .with_variable(dashboard.DatasourceVariable("source").label("Prometheus").type("prometheus"))
    )
    for title, unit, drawn in NOW:
        made = made.with_panel(_number(title, unit, drawn))
    for name, panels in ROWS:
        made = made.with_row(dashboard.Row(name))
        for title, unit, drawn in panels:
            made = made.with_panel(_lines(title, unit, drawn))
    return JSONEncoder(sort_keys=True, indent=1).encode(made.build()) + "\n"


def _number(title: str, unit: str, drawn: list[tuple[str, str]]) -> stat.Panel:
    panel = stat.Panel().title(title).unit(unit).datasource(SOURCE).height(4).span(NARROW)
    panel = panel.reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
    for query in _queries(drawn):
        panel = panel.with_target(query)
    return panel


def _lines(title: str, unit: str, drawn: list[tuple[str, str]]) -> timeseries.Panel:
    panel = timeseries.Panel().title(title).unit(unit).datasource(SOURCE).height(HEIGHT).span(WIDTH).min(0)
    panel = panel.legend(
        VizLegendOptions()
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
        .show_legend(True)
    )
    for query in _queries(drawn):
        panel = panel.with_target(query)
    return panel


def _queries(drawn: list[tuple[str, str]]) -> list[prometheus.Dataquery]:
    return [
        prometheus.Dataquery()
        .expr(expression)
        .legend_format(legend or "__auto")
        .ref_id(chr(ord("A") + number))
        for number, (legend, expression) in enumerate(drawn)
    ]


if __name__ == "__main__":
    Path(__file__).with_name("board.json").write_text(board(), encoding="utf-8")
