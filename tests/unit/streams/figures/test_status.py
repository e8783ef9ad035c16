"""What all processes say, added up: restarts, silence, ages by the broker's clock, and remarks."""

from typing import Any

import msgspec
import pytest

from streams.figures.heard import Heard
from streams.figures.status import Quantiles, Status, quantiles, status
from streams.wire.contract import encode
from streams.wire.figures import FiguresRecord, Histogram

START_MS = 1_763_856_000_000


class Topic:
    """Records as a broker stamps them, heard by one reader whose own clock says anything at all."""

    def __init__(self, reader_s: float = 17.0) -> None:
        self.heard = Heard()
        self.at_ms, self.reader_s = START_MS, reader_s

    def pass_(self, seconds: float) -> None:
        self.at_ms += round(seconds * 1000)
        self.reader_s += seconds

    def say(self, key: str, seq: int, *, process: str = "worker", started: int = 1, **more: Any) -> None:
        record = FiguresRecord(
            process=process, host="h", pid=7, started=started, seq=seq, version="1", **more
        )
        self.heard.hear(key.encode(), encode(record), self.at_ms, self.reader_s)

    @property
    def status(self) -> Status:
        return status(self.heard.living(self.reader_s), self.heard.now_ms(self.reader_s))


def test_counters_add_up_and_gauges_do_as_the_table_says() -> None:
    topic = Topic()
    topic.say(
        "m-0", 4, counters={"clicks": 10, 'lists{trigger="click"}': 9}, gauges={"lag_clicks": 3, "lag_ms": 40}
    )
    topic.say(
        "m-1", 9, counters={"clicks": 5}, gauges={"lag_clicks": 1, "lag_ms": 7.5, 'recall{role="live"}': 0.9}
    )
    topic.say("m-2", 1, gauges={'recall{role="live"}': 0.8, "items": 100, "process_open_fds": 4, "odd": 1})
    total = topic.status
    assert total.counters == {"clicks": 15, 'lists{trigger="click"}': 9}
    assert total.gauges == {
        "lag_clicks": 4, "lag_ms": 40, 'recall{role="live"}': 0.8, "items": 100, "process_open_fds": 4,
    }  # fmt: skip
    assert [each.key for each in total.processes] == ["m-0", "m-1", "m-2"]


def test_a_process_that_is_silent_for_ten_seconds_is_gone_whatever_the_readers_clock_says() -> None:
    for reader_s in (0.0, 1e9):
        topic = Topic(reader_s)
        topic.say("m-0", 0, counters={"clicks": 10})
        topic.pass_(6)
        topic.say("m-1", 0, counters={"clicks": 1})
        assert [(each.key, each.silent_ms) for each in topic.status.processes] == [("m-0", 6000), ("m-1", 0)]
        topic.pass_(3.9)
        assert topic.status.counters == {"clicks": 11}
        topic.pass_(0.2)
        assert [each.key for each in topic.status.processes] == ["m-1"]
        assert topic.status.counters == {"clicks": 1}
        topic.pass_(6)  # nobody speaks any more: time goes on all the same
        assert (topic.status.processes, topic.status.at, topic.status.counters) == ([], None, {})


def test_counters_begin_anew_with_another_start_and_last_words_do_not_bring_the_old_ones_back() -> None:
    topic = Topic()
    topic.say("m-0", 100, started=1, counters={"clicks": 1000})
    topic.pass_(1)
    topic.say("m-0", 0, started=2, counters={"clicks": 3})
    assert topic.status.counters == {"clicks": 3}
    assert topic.status.per_second == {}  # of one record nothing is known
    topic.say("m-0", 101, started=1, counters={"clicks": 1001})
    assert topic.status.counters == {"clicks": 3}
    topic.pass_(2)
    topic.say("m-0", 2, started=2, counters={"clicks": 13, "lists": 4})
    assert topic.status.per_second == {"clicks": 5, "lists": 2}
    (process,) = topic.status.processes
    assert (process.started, process.seq) == (2, 2)


def test_a_record_that_comes_twice_or_late_counts_once() -> None:
    topic = Topic()
    topic.say("m-0", 1, counters={"clicks": 1})
    topic.say("m-0", 2, counters={"clicks": 2})
    topic.say("m-0", 1, counters={"clicks": 1})
    assert topic.status.counters == {"clicks": 2}
    topic.heard.hear(b"m-0", b"{broken", topic.at_ms, topic.reader_s)
    topic.heard.hear(None, None, topic.at_ms, topic.reader_s)
    assert [each.key for each in topic.status.processes] == ["m-0"]


def test_rates_and_freshness_are_of_the_last_ten_seconds() -> None:
    topic = Topic()
    le = [5.0, 10.0]
    for second in range(41):
        fresh = Histogram(le, [100 + second, 100 + 2 * second, 100 + 2 * second])
        topic.say("m-0", second, counters={"clicks": 500 + 7 * second}, histograms={"freshness_ms": fresh})
        topic.pass_(1)
    found = topic.status
    assert found.per_second == {"clicks": 7}
    assert found.histograms["freshness_ms"].n == [140, 180, 180]
    # Ten of the last twenty are at most 5 ms, ten between 5 and 10.
    assert found.freshness_ms == Quantiles(p50=5, p90=9, p99=9.9)
    assert len(topic.heard._speakers["m-0"].said) == 11  # what is kept is bounded


def test_quantiles_lie_within_their_buckets() -> None:
    assert quantiles(None) is None
    assert quantiles(Histogram([1, 2], [0, 0, 0])) is None
    found = quantiles(Histogram([10, 20, 40], [0, 100, 100, 100]))
    assert found == Quantiles(p50=15, p90=19, p99=19.9)
    assert quantiles(Histogram([10], [0, 5])) == Quantiles(p50=10, p90=10, p99=10)  # above the last bound


def test_histograms_of_other_bounds_are_not_mixed() -> None:
    topic = Topic()
    topic.say("m-0", 0, histograms={"freshness_ms": Histogram([5], [1, 2])})
    topic.say("m-1", 0, histograms={"freshness_ms": Histogram([5], [3, 3])})
    topic.say("m-2", 0, histograms={"freshness_ms": Histogram([7, 9], [1, 1, 4])})
    assert topic.status.histograms["freshness_ms"] == Histogram([5], [4, 5])


@pytest.mark.parametrize(
    ("worker", "kinds"),
    [
        ({"gauges": {"idle_shown_caps": 2}}, {"idle_shown_caps"}),
        ({"gauges": {"signals_age_ms": 60_000}}, {"stale_signals"}),
        ({"partitions": [0, 1, 3]}, {"unowned_partitions"}),
        ({"release": "r-2"}, {"releases_differ"}),
    ],
)
def test_what_an_operator_wants_to_know_is_said(worker: dict[str, Any], kinds: set[str]) -> None:
    topic = Topic()
    topic.say("learner", 0, process="learner", gauges={"topic_partitions": 4})
    topic.say("m-1", 0, release="r-1", partitions=[2] if "partitions" not in worker else [])
    topic.say("m-0", 0, **{"release": "r-1", "partitions": [0, 1, 3], **worker})
    assert {each.kind for each in topic.status.remarks} == kinds
    assert all(each.text for each in topic.status.remarks)


def test_a_system_in_order_needs_no_remark_and_an_empty_one_has_two() -> None:
    topic = Topic()
    assert [each.kind for each in topic.status.remarks] == ["no_worker", "no_learner"]
    topic.say("learner", 0, process="learner", gauges={"topic_partitions": 2})
    topic.say("m-0", 0, release="r-1", partitions=[0, 1])
    assert topic.status.remarks == []
    assert msgspec.json.decode(msgspec.json.encode(topic.status), type=Status) == topic.status
