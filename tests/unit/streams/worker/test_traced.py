"""Which records are traced, that lists are the same with and without, and what the spans of one say."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
from aiokafka import ConsumerRecord

from streams.figures.traceparent import HEADER, parent_of
from streams.figures.tracer import Tracer, open_tracer
from streams.hot_path.recommend import recommend
from streams.hot_path.world import unmarked
from streams.settings import Settings
from streams.transport.delivery import Outgoing
from streams.wire.contract import encode
from streams.wire.intake import Arrival
from streams.worker.assignment import Parcel
from streams.worker.traced import MOST_OF_SLICE, UNTRACED, Noted, Stages, Traces
from tests.worlds.collector import collecting
from tests.worlds.rounds import NOW, arrivals, world

SAMPLED, DROPPED = (
    b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01",
    b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-00",
)


class Ticking:
    """A clock that goes on by one each time."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        self.now += 1
        return self.now


def slice_of(headers: list[Any]) -> Any:
    records = [
        ConsumerRecord("clicks", 0, offset, 0, 0, b"u", b"", None, 0, 0, each)
        for offset, each in enumerate(headers)
    ]
    return SimpleNamespace(topic="clicks", partition=0, records=records)


def good(offsets: list[int]) -> list[tuple[str, Arrival]]:
    message: Any = None
    return [("u", Arrival(message, 0, offset)) for offset in offsets]


def tracer_of(url: str, share: float = 0.0) -> Tracer:
    made = open_tracer(Settings(otlp_endpoint=url, trace_share=share), "worker")
    assert made is not None
    return made


def test_lists_are_the_same_whether_or_not_stages_are_marked() -> None:
    made = []
    for mark in (unmarked, Stages(Ticking())):
        known, states = world()
        some = arrivals(np.random.default_rng(0), 4, 60)
        outcomes = [
            recommend(some[at : at + 20], states, known, NOW, None, NOW, mark) for at in range(0, 60, 20)
        ]
        made.append(
            [
                encode(replace_id(each.recommendation))
                for outcome in outcomes
                for each in outcome
                if each.recommendation is not None
            ]
        )
    assert made[0] == made[1]
    assert len(made[0]) > 20
    assert isinstance(mark, Stages)
    assert [name for name, *_ in mark.passed][:5] == [
        "state update", "candidates", "features", "ranking", "places",
    ]  # fmt: skip


def replace_id(made: Any) -> Any:
    import msgspec

    return msgspec.structs.replace(made, recommendation_id="")


def test_each_stage_begins_where_the_one_before_has_ended_and_there_are_not_ever_more() -> None:
    stages = Stages(Ticking())
    for name in ("a", "a", "b", "a"):
        stages(name)
    assert stages.passed == [("a", 1, 3), ("b", 3, 4), ("a", 4, 5)]
    for number in range(1_000):
        stages(f"{number}")
    assert len(stages.passed) < 50
    assert stages.passed[-1][2] == stages.ended_ns


def test_a_record_is_traced_as_its_header_says_and_a_flood_of_them_is_not() -> None:
    with collecting() as collector:
        traces = Traces(tracer_of(collector.url))
        some = good([0, 2, 3])
        headers = [[], [(HEADER, SAMPLED)], [(HEADER, SAMPLED)], [(HEADER, DROPPED)]]
        traces.decoded(slice_of(headers), some, 5)
        assert [each.trace is not None for _, each in some] == [False, True, False]
        noted = some[1][1].trace
        assert isinstance(noted, Noted)
        assert (noted.parent, noted.begun_ns, noted.records) == (parent_of(SAMPLED), 5, 4)
        flood = good([*range(500)])
        traces.decoded(slice_of([[(HEADER, SAMPLED)]] * 500), flood, 5)
        assert sum(each.trace is not None for _, each in flood) == MOST_OF_SLICE
        assert traces.round([each for _, each in some[:1]]) is unmarked
        assert isinstance(traces.round([each for _, each in some]), Stages)
        drawn = Traces(tracer_of(collector.url, share=1.0))
        some = good([0])
        drawn.decoded(slice_of([[]]), some, 5)
        assert isinstance(some[0][1].trace, Noted)
    assert UNTRACED.round([each for _, each in flood]) is unmarked


def test_the_list_of_a_traced_record_carries_on_its_trace_and_others_do_not() -> None:
    known, states = world()
    some = [
        replace(each, partition=at % 2) for at, each in enumerate(arrivals(np.random.default_rng(0), 4, 20))
    ]
    traced = [at for at in range(20) if at % 3 == 0]
    for at in traced:
        some[at].trace = Noted(parent_of(SAMPLED), "clicks", 1, 2, 20)
    acknowledged: list[int] = []
    with collecting() as collector:
        tracer = tracer_of(collector.url)
        traces = Traces(tracer)
        mark = traces.round(some)
        outcomes = recommend(some, states, known, NOW, None, NOW, mark)
        parcels = {0: Parcel(0), 1: Parcel(1)}
        for outcome in outcomes:
            if outcome.recommendation is not None:
                sent = Outgoing(b"u", outcome.recommendation.recommendation_id.encode())
                parcels[outcome.arrival.partition].lists.append(sent)
        before = {number: [each.value for each in parcel.lists] for number, parcel in parcels.items()}
        made, arrived = traces.packed(
            parcels.values(), outcomes, mark, lambda parcel: acknowledged.append(parcel.partition)
        )
        assert {parcel.partition: [each.value for each in parcel.lists] for parcel in made} == before
        listed = [outcome for outcome in outcomes if outcome.recommendation is not None]
        named = {
            outcome.recommendation.recommendation_id.encode(): outcome.arrival.trace is not None
            for outcome in listed
            if outcome.recommendation is not None
        }
        lists = [each for parcel in parcels.values() for each in parcel.lists]
        assert {each.value: bool(each.headers) for each in lists} == named
        assert 0 < sum(named.values()) < len(named)
        for parcel in parcels.values():
            arrived(parcel)
        assert acknowledged == [0, 1]
        tracer.close()
        spans = collector.spans
    carried = {parent_of(dict(each.headers)[HEADER]) for each in lists if each.headers}
    published = {span.id for span in spans if span.name == "publish"}
    assert {f"{each.span_id:016x}" for each in carried if each is not None} == published
    answers = [span for span in spans if span.name.startswith("answer")]
    assert len(answers) == len(traced)
    assert all(span.parent == "2" * 16 for span in answers)
    told = repr([span.told for span in spans])
    assert not any(each.user_id in told or f"more-{number}" in told for each in some for number in range(30))
