from hypothesis import given
from hypothesis import strategies as st

from streams.wire.clock import DAY_MS, LEAP_MS, WITNESSES, Clock

START = 894_000_000_000  # 1998
WALL = 1_790_000_000_000  # 2026


def stream(*events: tuple[int, str]) -> Clock:
    clock = Clock("stream")
    for time_ms, user in events:
        clock.observe(time_ms, user)
    return clock


def test_the_wall_clock_is_not_moved_by_events() -> None:
    clock = Clock("wall", max_future_ms=300_000)
    clock.observe(START, "u")
    assert clock.now_ms(WALL) == WALL
    assert clock.refuses(WALL + 300_000, WALL) is None
    assert "ahead of the clock" in (clock.refuses(WALL + 300_001, WALL) or "")
    assert clock.refuses(1, WALL) is None
    assert "timestamp is 0" in (clock.refuses(0, WALL) or "")


def test_times_beyond_any_float_are_refused_as_others() -> None:
    for kind in ("wall", "stream"):
        for timestamp in (10**20, 10**400):
            assert "ahead of the clock" in (Clock(kind).refuses(timestamp, WALL) or "")  # type: ignore[arg-type]


def test_the_streams_clock_is_the_newest_event_time() -> None:
    clock = Clock("stream")
    assert clock.now_ms(WALL) == WALL
    for time_ms in (START, START + 5, START + 3):
        clock.observe(time_ms, "u")
    assert clock.now_ms(WALL) == START + 5
    assert clock.refuses(WALL, WALL) is None
    assert clock.refuses(WALL + 1, WALL) is not None
    assert "before 1970" in (clock.refuses(-1, WALL) or "")


def test_it_moves_past_a_leap_only_when_ten_users_agree() -> None:
    clock = stream((START, "u"))
    later = START + LEAP_MS + 1
    for _ in range(50):
        clock.observe(later + DAY_MS, "one user, however often")
    for n in range(WITNESSES - 2):
        clock.observe(later + n, f"w{n}")
    assert clock.now_ms(WALL) == START
    assert clock.bounded(later) == START
    clock.observe(START + LEAP_MS, "u")  # exactly a leap is none
    assert clock.now_ms(WALL) == START + LEAP_MS


def test_ten_witnesses_move_it_and_the_farthest_of_them_does_not() -> None:
    clock = stream((START, "u"))
    far = START + 1000 * DAY_MS
    clock.observe(far, "liar")
    for n in range(WITNESSES - 1):
        clock.observe(START + 100 * DAY_MS + n, f"w{n}")
    assert clock.now_ms(WALL) == START + 100 * DAY_MS + WITNESSES - 2
    assert clock.bounded(far) == clock.now_ms(WALL)
    assert clock.bounded(START) == START


def test_witnesses_whom_the_clock_has_overtaken_no_longer_count() -> None:
    clock = stream((START, "u"))
    for n in range(WITNESSES - 1):
        clock.observe(START + 40 * DAY_MS, f"w{n}")
    for days in (25, 50):
        clock.observe(START + days * DAY_MS, "u")
    clock.observe(START + 200 * DAY_MS, "w99")
    assert clock.now_ms(WALL) == START + 50 * DAY_MS


def test_a_first_event_from_the_future_is_put_right_by_ten_others() -> None:
    clock = stream((WALL, "liar"))
    for n in range(WITNESSES - 1):
        clock.observe(START + n, f"u{n}")
    assert clock.now_ms(WALL) == WALL
    clock.observe(START, "u99")
    assert clock.now_ms(WALL) == START + WITNESSES - 2
    clock.observe(START + DAY_MS, "u1")
    assert clock.now_ms(WALL) == START + DAY_MS


def test_late_events_do_not_turn_back_a_clock_that_ten_users_confirmed() -> None:
    clock = stream(*((WALL + n, f"u{n}") for n in range(WITNESSES)))
    for n in range(3 * WITNESSES):
        clock.observe(START, f"late{n}")
    assert clock.now_ms(0) == WALL + WITNESSES - 1


def test_it_hears_the_learner() -> None:
    clock = Clock("stream")
    clock.hear(0)
    assert clock.now_ms(WALL) == WALL
    clock.hear(START)
    clock.observe(START - DAY_MS, "u")
    assert clock.now_ms(WALL) == START


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 30)), min_size=1, max_size=80))
def test_once_confirmed_it_never_goes_back_and_no_nine_users_move_it_far(
    events: list[tuple[int, int]],
) -> None:
    clock = stream(*((START, f"first{n}") for n in range(WITNESSES)))
    ahead: dict[int, int] = {}
    before = START
    for days, user in events:
        time_ms = START + days * DAY_MS
        clock.observe(time_ms, f"u{user}")
        now = clock.now_ms(WALL)
        assert now >= before
        if time_ms > before + LEAP_MS:
            ahead[user] = time_ms
            if len(ahead) < WITNESSES:
                assert now == before
        elif now == before:
            assert time_ms <= before
        before = now
