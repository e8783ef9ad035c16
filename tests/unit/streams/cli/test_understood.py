"""How a query was read, in a terminal's words."""

import pytest

from streams.cli.showing import understood
from streams.wire.contract import Understood


@pytest.mark.parametrize(
    ("read", "line"),
    [
        (Understood(None, "tea pot"), "looked for 'tea pot'"),
        (
            Understood({"field": "price", "lt": 20}, ""),
            'no words looked for; filter {"field": "price", "lt": 20}',
        ),
        (
            Understood(None, "war", (None, 1959), ["tom cruise"], ["under 5 dollars"]),
            "looked for 'war'; years -1959; without tom cruise; no filter: under 5 dollars",
        ),
    ],
)
def test_what_was_understood_is_said_in_a_line(read: Understood, line: str) -> None:
    assert understood(read) == line
