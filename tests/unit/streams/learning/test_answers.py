"""Which clicks answer which lists."""

import tracemalloc
from collections.abc import Sequence

import pytest

from streams.learning.answers import Answer, Answers, ListSeen, decode_list
from streams.wire.contract import Click, ListedItem, Reason, Recommendation, Trigger, encode


def click(n: int, item: str, user: str = "u", **more: object) -> Click:
    return Click(event_id=f"e{n}", user_id=user, item_id=item, event="click", timestamp=n, **more)  # type: ignore[arg-type]


def listed(n: int, items: Sequence[str], release: str = "r", user: str = "u") -> ListSeen:
    made = Recommendation(
        recommendation_id=f"c-0-{n}", user_id=user, trigger=Trigger("click", f"e{n}", n), release=release,
        items=[ListedItem(item, 1.0, "ann", Reason("popular")) for item in items], policy="p", scenario=None,
        created_at=n,
    )  # fmt: skip
    return decode_list(encode(made))


@pytest.mark.parametrize("list_first", [True, False])
def test_a_click_answers_the_list_before_it(list_first: bool) -> None:
    answers = Answers()
    assert answers.see_click(click(1, "a")) is None
    steps = [lambda: answers.see_list(listed(1, "xyz")), lambda: answers.see_click(click(2, "y"))]
    first, second = steps if list_first else steps[::-1]
    assert first() is None
    assert second() == Answer("u", "r", hit=True, attributed=False)
    assert answers.see_list(listed(1, "xyz")) is None  # delivered twice


def test_a_miss_and_an_attributed_click() -> None:
    answers = Answers()
    answers.see_click(click(1, "a"))
    answers.see_list(listed(1, "x", "r1"))
    assert answers.see_click(click(2, "b")) == Answer("u", "r1", hit=False, attributed=False)
    answers.see_list(listed(2, "c", "r2"))
    answer = answers.see_click(click(3, "c", recommendation_id="c-0-2"))
    assert answer == Answer("u", "r2", hit=True, attributed=True)


def test_clicks_that_answer_nothing() -> None:
    answers = Answers()
    answers.see_click(click(1, "a"))
    answers.see_list(listed(1, "a"))
    assert answers.see_click(click(2, "a")) is None  # again
    answers.see_list(listed(2, "b"))
    assert answers.see_click(click(3, "b", history=True)) is None
    assert answers.see_click(click(4, "b")) is not None
    repeating = Answers(repeats=True)
    repeating.see_click(click(1, "a"))
    repeating.see_list(listed(1, "a"))
    assert repeating.see_click(click(2, "a")) == Answer("u", "r", hit=True, attributed=False)


@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize("list_first", [False, True])
def test_a_click_that_was_sent_twice_answers_nothing_and_costs_no_list(
    repeats: bool, list_first: bool
) -> None:
    answers = Answers(repeats=repeats)
    answers.see_click(click(1, "a"))
    if list_first:
        answers.see_list(listed(1, "ab"))
    assert answers.see_click(click(1, "a")) is None
    if not list_first:
        assert answers.see_list(listed(1, "ab")) is None
    assert answers.see_click(click(2, "b")) == Answer("u", "r", hit=True, attributed=False)


def test_memory_is_bounded_in_bytes_whatever_users_do() -> None:
    """By long lists that nobody answers, by long lives, and by users who come once; ids as long as uuids."""
    most = 400_000
    tracemalloc.start()
    try:
        at_first = tracemalloc.get_traced_memory()[0]
        answers = Answers(most_bytes=most)
        for n in range(25):
            for place in range(16):
                answers.see_list(
                    listed(place, [f"{n}-{place}-{item:036d}" for item in range(100)], user=f"l{n}")
                )
        assert tracemalloc.get_traced_memory()[0] - at_first < most
        for n in range(60):
            for place in range(150):
                answers.see_click(click(place, f"{n}-{place:036d}", f"c{n}"))
        assert tracemalloc.get_traced_memory()[0] - at_first < most
        for n in range(1000):
            answers.see_click(click(n, "i", f"{n:036d}"))
        assert tracemalloc.get_traced_memory()[0] - at_first < most
        assert 200 < len(answers) < 1000
        assert answers.bytes == sum(user.bytes for user in answers._users.values()) <= most
    finally:
        tracemalloc.stop()


def test_the_user_heard_of_longest_ago_is_forgotten() -> None:
    answers = Answers(most_bytes=10_000)
    answers.see_click(click(0, "a", "gone"))
    for n in range(40):
        answers.see_click(click(n, f"i{n}", "stays"))
        answers.see_list(listed(n, "xyz", user="stays"))
        answers.see_click(click(n, "a", f"u{n}"))
    answers.see_list(listed(0, "b", user="gone"))
    assert answers.see_click(click(1, "b", "gone")) is None
    assert answers.see_click(click(40, "x", "stays")) == Answer("stays", "r", hit=True, attributed=False)


def test_neither_an_undo_nor_an_impression_answers_a_list() -> None:
    expected: list[str] = []
    answers = Answers(expects=expected.append)
    answers.see_click(click(1, "a"))
    answers.see_list(listed(1, "xyz"))
    assert answers.see_click(click(2, "x", undo=True)) is None
    seen = Click(event_id="e3", user_id="u", event="impression", timestamp=3, items=("x", "y"))
    assert answers.see_click(seen) is None
    assert expected == []
    assert answers.see_click(click(4, "y")) == Answer("u", "r", hit=True, attributed=False)


def test_a_strangers_list_is_nobodys() -> None:
    answers = Answers()
    made = Recommendation(
        recommendation_id="r-0-1", trigger=Trigger("request", "r1", 1), release="r", policy="p",
        items=[ListedItem("x", 1.0, "ann", Reason("popular"))], scenario=None, created_at=1,
    )  # fmt: skip
    assert answers.see_list(decode_list(encode(made))) is None
    assert len(answers) == 0
