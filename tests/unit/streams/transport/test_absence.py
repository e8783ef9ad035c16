"""A broker that is away is said in one line, and once a minute; when it is back in one more."""

import pytest
from structlog.testing import capture_logs

from streams.transport.absence import Absence


def _said(seconds: list[tuple[float, float]]) -> list[tuple[float, str]]:
    """What is said at which second, where (now, silent) are those of each look."""
    now = silent = 0.0
    absence = Absence("host:9092", lambda: silent, clock=lambda: now)
    told = []
    for now, silent in seconds:  # noqa: B007 (read by the functions above)
        with capture_logs() as lines:
            absence.look()
        told += [(now, str(line["event"])) for line in lines]
    return told


def test_one_line_when_it_goes_one_a_minute_and_one_when_it_is_back() -> None:
    looks = [(float(n), float(n)) for n in range(140)] + [(140.0, 0.1), (141.0, 1.1)]
    assert _said(looks) == [
        (6.0, "the broker does not answer"),
        (66.0, "the broker is still away"),
        (126.0, "the broker is still away"),
        (140.0, "the broker answers again"),
    ]


def test_what_holds_this_process_up_is_no_absence() -> None:
    assert _said([(1.0, 1.0), (15.0, 15.0), (16.0, 0.1), (30.0, 14.0), (31.0, 0.2)]) == []


def test_what_ends_the_place_for_good_is_raised() -> None:
    def check() -> None:
        raise PermissionError("no right to the group")

    with pytest.raises(PermissionError):
        Absence("host:9092", lambda: 0.0, check).look()
