"""Tokens that are remembered: the newest of each user, of so many users, for so long."""

import pytest

from nextclick.errors import seconds_of
from nextclick.paths import path
from nextclick.seen import Seen


def test_the_newest_counts_and_the_oldest_goes() -> None:
    now = [0.0]
    seen = Seen(2, 600.0, lambda: now[0])
    assert seen.of("u1") is None
    seen.note("u1", "3-9")
    seen.note("u1", "3-10")
    seen.note("u1", "3-8")  # two threads: the later click's answer came first
    assert seen.of("u1") == "3-10"
    seen.note("u1", "1-2")  # of a topic with other partitions
    assert seen.of("u1") == "1-2"
    seen.note("u2", "0-1")
    seen.note("u3", "0-2")
    assert (len(seen), seen.of("u1")) == (2, None)
    now[0] = 601.0
    assert seen.of("u2") is None
    seen.note("u3", "0-1")  # the topic was made anew
    assert seen.of("u3") == "0-1"


@pytest.mark.parametrize(
    ("item_id", "expected"),
    [
        ("a/b", "/v1/items/a%2Fb"),
        ("..", "/v1/items/%2E%2E"),
        ("ä ?#%", "/v1/items/%C3%A4%20%3F%23%25"),
        ("a.b", "/v1/items/a.b"),
    ],
)
def test_an_id_stays_one_part_of_a_path(item_id: str, expected: str) -> None:
    assert path("v1", "items", item_id) == expected


def test_no_id_has_no_path() -> None:
    with pytest.raises(ValueError, match="empty"):
        path("v1", "items", "")


def test_what_retry_after_says() -> None:
    assert [seconds_of(text) for text in ("3", " 0 ", "-1", "1e9", "x", "", None)] == [3.0, 0.0] + [None] * 5
