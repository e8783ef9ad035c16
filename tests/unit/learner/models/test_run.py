"""A training's time: a budget that suffices changes nothing, one that does not is kept to."""

from learner.models.run import Budget, Run


def test_a_budget_ignores_time_that_suffices_and_ends_on_time_that_does_not() -> None:
    now = [0.0]
    roomy = Budget(steps=100, seconds=1000.0, clock=lambda: now[0])
    while roomy.advance():
        now[0] += 1.0
    assert roomy.step == 100
    assert not roomy.cut
    now[0] = 0.0
    tight = Budget(steps=100, seconds=20.0, clock=lambda: now[0])
    shares = []
    while tight.advance():
        shares.append(tight.share)
        now[0] += 1.0
    assert tight.cut
    assert 19 <= tight.step <= 21
    assert shares == sorted(shares)
    assert shares[-1] > 0.9  # so that the rate of learning has come down all the same


def test_without_any_time_left_nothing_is_trained() -> None:
    for budget_s in (0.0, -3.0):
        budget = Budget(100, budget_s, lambda: 5.0)
        assert not budget.advance()
        assert budget.cut


def test_a_run_tells_and_notes_only_where_somebody_wants_to_know() -> None:
    told: list[tuple[float, str]] = []
    points: list[tuple[str, float, int]] = []

    Run().tell(0.5, "half")
    Run().note("loss", 1.0, 3)
    run = Run(
        progress=lambda *what: told.append(what), noted=lambda *what: points.append(what), name="ranker/0"
    )
    run.tell(0.5, "half")
    run.note("loss", 1.0, 3)
    assert told == [(0.5, "half")]
    assert points == [("ranker/0/loss", 1.0, 3)]
