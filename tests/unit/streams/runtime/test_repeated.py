"""Floods in a few lines: the first of each kind at once, then how many there were, once a minute."""

from structlog.testing import capture_logs

from streams.runtime.repeated import EVERY_SECONDS, MOST_KINDS, Repeated


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_first_of_each_kind_at_once_and_the_rest_once_a_minute() -> None:
    clock = Clock()
    bad = Repeated("bad record", "mend it", clock)
    with capture_logs() as lines:
        for offset in range(1000):
            bad.note(f"expected int at byte {offset}", offset=offset)
            bad.watch()
        bad.note("no JSON", offset=1000)
        assert [line["offset"] for line in lines] == [0, 1000]
        clock.now += EVERY_SECONDS - 1
        bad.watch()
        assert len(lines) == 2
        clock.now += 2
        bad.watch()
        bad.watch()
        assert len(lines) == 3
        assert lines[2] | {"mostly": "expected int at byte #", "more": 999, "so_far": 1001} == lines[2]
        clock.now += 10 * EVERY_SECONDS
        bad.watch()
        assert len(lines) == 3  # nothing more came


def test_a_flood_of_kinds_is_a_few_lines_too() -> None:
    clock = Clock()
    bad = Repeated("bad record", "mend it", clock)
    with capture_logs() as lines:
        for number in range(5000):
            bad.note("".join(chr(ord("a") + int(digit)) for digit in str(number)))
        clock.now += EVERY_SECONDS
        bad.watch()
    assert len(lines) == MOST_KINDS + 1
    assert lines[-1]["more"] == 5000 - MOST_KINDS
    assert len(bad.by_kind) <= MOST_KINDS + 1  # with "others"
