"""A process's figures: what its parts measure is told under the table's names, to all who want to know."""

import math
from collections.abc import Iterator

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from streams.figures.record import Speaker
from streams.figures.registry import MOST_LABELS, OTHER, Figures, Histogram
from streams.figures.table import METRICS, SHORT


def shown(figures: Figures) -> dict[str, float]:
    """What `/metrics` says, read by Prometheus' own reader."""
    text = generate_latest(figures.registry).decode()
    return {
        f"{sample.name}{sorted(sample.labels.items())}" if sample.labels else sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_is_measured_is_the_same_in_a_record_and_for_prometheus() -> None:
    figures = Figures("worker")
    clicks, lag_seconds = 3, 0.25
    figures.tells("nextclick_clicks_total", lambda: clicks)
    figures.tells("nextclick_lag_seconds", lambda: lag_seconds)
    figures.tells("nextclick_lag_clicks", lambda: 17)
    lists = figures.counts("nextclick_lists_total")
    lists.add("click", by=2)
    lists.add("request")
    seen = shown(figures)
    assert seen["nextclick_clicks_total"] == 3
    assert seen["nextclick_lag_seconds"] == 0.25
    assert seen["nextclick_lists_total[('trigger', 'click')]"] == 2
    assert seen["process_resident_memory_bytes"] > 1_000_000
    record = Speaker(figures, "m-0").record()
    assert {name: value for name, value in record.counters.items() if not name.startswith("process_")} == {
        "clicks": 3, "lists": 3, 'lists{trigger="click"}': 2, 'lists{trigger="request"}': 1,
    }  # fmt: skip
    assert (record.gauges["lag_ms"], record.gauges["lag_clicks"]) == (250, 17)
    assert record.gauges["process_resident_memory_bytes"] > 1_000_000
    clicks, lag_seconds = 4, 0.1
    assert shown(figures)["nextclick_clicks_total"] == 4
    assert Speaker(figures, "m-0").record().gauges["lag_ms"] == 100


def test_an_observation_counts_in_the_first_bucket_that_it_fits_and_in_all_above() -> None:
    figures = Figures("worker")
    freshness = figures.histogram("nextclick_freshness_seconds")
    for seconds, times in ((0.002, 1), (0.0069, 2), (0.5, 1), (1000.0, 1)):
        freshness.observe(seconds, times)
    told = Speaker(figures, "m-0").record().histograms["freshness_ms"]
    assert len(told.n) == len(told.le) + 1
    assert told.le[0] == 2
    by_bound = dict(zip(told.le, told.n, strict=False))
    assert (by_bound[2], by_bound[6], by_bound[7], by_bound[300], by_bound[500]) == (1, 1, 3, 3, 4)
    assert (told.n[-2], told.n[-1]) == (4, 5)
    seen = shown(figures)
    assert seen["nextclick_freshness_seconds_bucket[('le', '0.007')]"] == 3
    assert seen["nextclick_freshness_seconds_bucket[('le', '+Inf')]"] == 5
    assert seen["nextclick_freshness_seconds_count"] == 5
    assert seen["nextclick_freshness_seconds_sum"] == pytest.approx(0.002 + 2 * 0.0069 + 0.5 + 1000)


def test_records_are_numbered_and_say_who_speaks() -> None:
    releases: Iterator[str | None] = iter([None, "r-1"])
    speaker = Speaker(
        Figures("worker"), "machine-3", release=lambda: next(releases), partitions=lambda: {5, 1},
        clock=lambda: 1763856000.5,
    )  # fmt: skip
    first, second = speaker.record(), speaker.record()
    assert (first.process, first.seq, first.release, first.partitions) == ("worker", 0, None, [1, 5])
    assert (second.seq, second.release, second.started) == (1, "r-1", 1763856000500)
    assert (first.pid, first.host) == (second.pid, second.host)


def test_what_is_not_known_yet_is_left_out_and_what_fails_hides_nothing() -> None:
    figures = Figures("worker")
    figures.tells("nextclick_users", lambda: None)
    figures.tells("nextclick_recall", lambda: math.nan, "live")
    figures.tells("nextclick_items", lambda: 1 // 0)
    figures.tells("nextclick_scenarios", lambda: 2)
    gauges = Speaker(figures, "m").record().gauges
    assert gauges["scenarios"] == 2
    assert not {"users", 'recall{role="live"}', "items"} & gauges.keys()


def test_a_name_has_one_owner_and_only_what_stands_in_the_table_is_told() -> None:
    figures = Figures("worker")
    figures.tells("nextclick_users", lambda: 1)
    with pytest.raises(ValueError, match="told by somebody else"):
        figures.tells("nextclick_users", lambda: 2)
    with pytest.raises(ValueError, match="no counter or gauge that the table has for a worker"):
        figures.tells("nextclick_shoe_size", lambda: 43)
    with pytest.raises(ValueError, match="for a worker"):
        figures.tells("nextclick_api_ready", lambda: 1)
    with pytest.raises(ValueError, match="no histogram"):
        figures.histogram("nextclick_users")


def test_labels_that_come_from_outside_are_bounded() -> None:
    figures = Figures("api")
    requests = figures.counts("nextclick_api_requests_total")
    for number in range(MOST_LABELS + 50):
        requests.add("GET", f"/{number}", "404")
    requests.add("GET", "/1", "404")
    assert len(requests.by) == MOST_LABELS + 1
    assert requests.by[OTHER, OTHER, OTHER] == 50
    assert requests.by["GET", "/1", "404"] == 2
    for number in range(MOST_LABELS + 50):
        figures.histogram("nextclick_api_request_seconds", f"/{number}").observe(0.01)
    assert figures.histogram("nextclick_api_request_seconds", "/new").n[4] == 50


def test_labels_are_quoted_as_prometheus_does_it() -> None:
    figures = Figures("worker")
    figures.tells_all("nextclick_bad_records_total", lambda: {("clicks", 'no "id"\n\\'): 1})
    assert 'bad_records{topic="clicks",cause="no \\"id\\"\\n\\\\"}' in Speaker(figures, "m").record().counters
    assert shown(figures)


def test_names_are_those_of_prometheus_in_base_units() -> None:
    for name, metric in METRICS.items():
        assert name.startswith("nextclick_")
        assert name.endswith("_total") == (metric.kind == "counter")
        assert "_ms" not in name
        if metric.kind == "histogram":
            assert name.endswith("_seconds")
            assert list(metric.le) == sorted(metric.le)
    assert len(SHORT) == len(METRICS)  # no two have one name in records


def test_a_histogram_takes_what_lies_on_a_bound_into_its_bucket() -> None:
    histogram = Histogram((1.0, 2.0))
    for seconds in (0.0, 1.0, 1.5, 2.0, 2.1):
        histogram.observe(seconds)
    assert histogram.n == [2, 2, 1]
