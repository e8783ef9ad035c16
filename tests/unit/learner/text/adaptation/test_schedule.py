"""The plan of an adaptation against its time."""

from learner.text.adaptation.options import AdaptationOptions
from learner.text.adaptation.schedule import Pace, Stopping


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def walked(pace: Pace, clock: Clock, step_s: float) -> list[tuple[str, int]]:
    seen = []
    while pace.advance():
        seen.append((pace.stage.kind, pace.stage.layers))
        clock.now += step_s
    return seen


def test_stages_follow_each_other_and_what_fits_is_made_as_planned() -> None:
    clock = Clock()
    options = AdaptationOptions(words=1.0, twins=0.5, passes=(1, 1), layers=(1, 3), batch=10, minutes=10)
    seen = walked(Pace(options, 200, 100, clock, begun=clock()), clock, 0.1)
    assert seen == [("words", 3)] * 20 + [("twins", 3)] * 10 + [("clicks", 1)] * 10 + [("clicks", 3)] * 10


def test_every_stage_is_shortened_where_time_is_short() -> None:
    clock = Clock()
    options = AdaptationOptions(words=1.0, passes=(10,), layers=(2,), batch=10, minutes=1)
    pace = Pace(options, 100, 100, clock, begun=clock())
    seen = walked(pace, clock, 2.0)
    assert pace.cut
    assert pace.spent_s <= 62
    assert 25 <= len(seen) <= 31
    assert 2 <= seen.count(("words", 2)) <= 10
    assert seen.count(("clicks", 2)) > 15


def test_a_resumed_one_goes_on_where_it_was() -> None:
    clock = Clock()
    options = AdaptationOptions(passes=(5, 5), layers=(1, 2), batch=10, minutes=1)
    seen = walked(Pace(options, 100, 100, clock, begun=clock() - 20, step=60), clock, 0.1)
    assert seen == [("clicks", 2)] * 40


def test_each_part_is_judged_and_can_be_left_early() -> None:
    clock = Clock()
    options = AdaptationOptions(words=1.0, passes=(5, 5), layers=(1, 2), batch=10)
    pace = Pace(options, 100, 100, clock, begun=clock())
    judged, seen = [], []
    while pace.advance():
        judged.append(pace.judgement)
        seen.append(pace.stage.layers)
        if pace.stage.layers == 1 and pace.stage.kind == "clicks" and judged[-1] > 6:
            assert pace.skip()
    assert judged[:10] == [0] * 10
    assert judged == sorted(judged)
    assert seen[10:] == [1] * 21 + [2] * 50
    assert {7, 10, 14} <= set(judged)
    assert not pace.skip()


def test_the_rate_rises_then_falls() -> None:
    clock = Clock()
    pace = Pace(AdaptationOptions(layers=(1,), passes=(50,), batch=10), 100, 100, clock, begun=clock())
    rates = []
    while pace.advance():
        rates.append(pace.rate(pace.step - 1))
    assert rates[0] < rates[10] < rates[19]
    assert rates[25] > rates[200] > rates[-1] > 0


def test_it_stops_after_some_judgements_without_a_better_one() -> None:
    stopping = Stopping(2)
    assert [stopping.judged(each) for each in (0.1, 0.2, 0.15)] == [True, True, False]
    assert not stopping.ended
    assert not stopping.judged(0.2)
    assert stopping.ended
    assert stopping.best == 0.2
