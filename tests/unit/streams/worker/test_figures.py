"""What a worker measures of a round: how fresh its lists are, and what took how long."""

import time
from collections.abc import Mapping
from typing import Any

from streams.figures.record import Speaker
from streams.transport.delivery import Outgoing
from streams.worker.assignment import Parcel
from streams.worker.figures import Measured, _by_cause


def at_most(told: Any, ms: float) -> int:
    """Observations of at most so many ms."""
    found: Mapping[float, int] = dict(zip(told.le, told.n, strict=False))
    return found[ms]


def test_a_list_is_as_old_as_its_click_when_it_is_acknowledged() -> None:
    measured = Measured()
    now_ms = int(time.time() * 1000)
    parcel = Parcel(3)
    parcel.lists = [Outgoing(b"u", b"{}")] * 4
    parcel.clicked_ms, parcel.asked_ms = [now_ms - 2_000, now_ms - 4_000, now_ms + 500], [now_ms - 60_100]
    arrived = measured.round(now_ms - 1_500, took_s=0.004)
    arrived(parcel)
    told = Speaker(measured.figures, "m-0").record().histograms
    fresh = told["freshness_ms"]
    assert (at_most(fresh, 2), at_most(fresh, 1_000), at_most(fresh, 2_500), fresh.n[-1]) == (1, 1, 2, 3)
    assert (at_most(told["answer_ms"], 60_000), told["answer_ms"].n[-1]) == (0, 1)
    stages = {stage: told[f'stage_ms{{stage="{stage}"}}'] for stage in ("waiting", "computing", "delivery")}
    assert {stage.n[-1] for stage in stages.values()} == {4}
    assert (at_most(stages["computing"], 3), at_most(stages["computing"], 5)) == (0, 4)
    assert at_most(stages["waiting"], 1_000) == 2  # 500 ms, and one sent after the round began
    assert at_most(stages["delivery"], 60_000) == 4


def test_lists_are_told_by_their_triggers() -> None:
    measured = Measured()
    measured.counts["lists"], measured.counts["asked_lists"] = 7, 2
    counters = Speaker(measured.figures, "m-0").record().counters
    assert {name: value for name, value in counters.items() if name.startswith("lists")} == {
        "lists": 7, 'lists{trigger="click"}': 5, 'lists{trigger="request"}': 2,
    }  # fmt: skip


def test_bad_records_are_told_by_topic_and_cause() -> None:
    kinds = {
        "p.clicks: no JSON": 3,
        "p.items: no JSON: byte 7": 1,
        "p.items: no JSON: byte 8": 2,
        "others": 5,
    }
    assert _by_cause(kinds, "p.") == {
        ("clicks", "no JSON"): 3, ("items", "no JSON"): 3, ("other", "others"): 5,
    }  # fmt: skip
