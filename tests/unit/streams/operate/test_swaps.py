"""What is made of the lists that came while releases were swapped."""

from dataclasses import replace

import msgspec

from streams.operate.probe import Answer
from streams.operate.swaps import Seen, figures
from tests.worlds.messages import answer


def listed(n: int, user: str, release: str, created_ms: int, *items: str) -> Answer:
    return Answer(msgspec.structs.replace(answer(n, user, *items), release=release), 0.0, created_ms)


def seen() -> Seen:
    """Six clicks, a second and more apart; the release changes at the fourth's list."""
    sent = {f"e{n}": 10_000 * n for n in range(1, 7)}
    answers = {
        f"e{n}": listed(n, "u", "a" if n < 4 else "b", at + 10, "i") for n, at in enumerate(sent.values(), 1)
    }
    return Seen(sent, answers, {"a", "b"}, [39_000], (100.0, 101.0))


def test_a_swap_that_nobody_notices() -> None:
    assert figures(seen()) == {
        "lost": 0, "mixed": 0, "empty": 0, "longest_batch_delay_ms": 0.0, "rss_mb": [100.0, 101.0],
        "clicks": 6, "swaps": 1,
        "freshness_ms": {"around_swaps": {"p50": 10.0, "p99": 10.0}, "elsewhere": {"p50": 10.0, "p99": 10.0}},
        "swap_ms": {"p50": 1010.0, "p99": 1010.0},
    }  # fmt: skip


def test_what_goes_wrong_is_counted() -> None:
    was = seen()
    answers = dict(was.answers)
    del answers["e2"]  # lost
    answers["e3"] = listed(3, "u", "a", 30_010)  # an empty list
    answers["e4"] = listed(4, "u", "b", 40_500, "i")  # late, at the swap
    answers["e5"] = listed(5, "u", "a", 50_010, "i")  # back to the release before
    answers["e6"] = listed(6, "other", "c", 60_010, "i")  # which nobody has announced
    found = figures(replace(was, answers=answers))
    assert (found["lost"], found["empty"], found["mixed"]) == (1, 1, 2)
    assert found["longest_batch_delay_ms"] == 490.0
    assert found["swaps"] == 2


def test_another_users_older_list_is_not_mixed() -> None:
    """Workers swap one after the other: only the same user must not go back."""
    was = seen()
    answers = was.answers | {"e5": listed(5, "other", "a", 50_010, "i")}
    assert replace(was, answers=answers).mixed() == 0


def test_where_no_click_got_a_list_all_are_lost() -> None:
    told = figures(replace(seen(), answers={}))
    assert told["lost"] == told["clicks"] > 0
    assert told["swaps"] == 0
