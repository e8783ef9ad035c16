"""How far a worker is behind: by clicks, and by the age of the oldest."""

from faust.types.tuples import TP

from streams.transport.lag import Lag, Progress

ONE, TWO = TP("clicks", 0), TP("clicks", 1)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_clicks_in_hand_tell_their_age_and_what_the_log_holds_behind_them_counts() -> None:
    lag = Lag(Clock())
    at = {ONE: Progress(10, 25, 996_000), TWO: Progress(7, 7, None)}
    lag.look(at, at.__getitem__)
    assert (lag.clicks, lag.seconds) == (15, 4.0)
    at[ONE] = Progress(25, 25, None)
    lag.look(at, at.__getitem__)
    assert (lag.clicks, lag.seconds) == (0, 0.0)


def test_clicks_that_nobody_has_fetched_are_as_old_as_they_are_known_to_wait() -> None:
    """As while states are restored."""
    clock = Clock()
    lag = Lag(clock)
    at = {ONE: Progress(0, 500, None)}
    lag.look(at, at.__getitem__)
    assert (lag.clicks, lag.seconds) == (500, 0.0)
    clock.now += 12
    lag.look(at, at.__getitem__)
    assert (lag.clicks, lag.seconds) == (500, 12.0)
    at[ONE] = Progress(500, 500, None)
    lag.look(at, at.__getitem__)
    at[ONE] = Progress(500, 501, None)
    clock.now += 60
    lag.look(at, at.__getitem__)
    assert (lag.clicks, lag.seconds) == (1, 0.0)  # this one has come just now


def test_a_partition_that_is_gone_or_was_never_fetched_is_nobodys_lag() -> None:
    lag = Lag(Clock())
    lag.look([ONE], {ONE: Progress(0, None, None)}.__getitem__)
    assert lag.clicks == 0
    lag.look([ONE], {ONE: Progress(3, 9, 1_000_000)}.__getitem__)
    lag.look([], {}.__getitem__)
    assert (lag.clicks, lag.seconds) == (0, 0.0)


def test_an_end_that_was_seen_before_the_record_in_hand_makes_no_lag_less_than_one() -> None:
    lag = Lag(Clock())
    lag.look([ONE], {ONE: Progress(9, 9, 999_000)}.__getitem__)
    assert (lag.clicks, lag.seconds) == (1, 1.0)
