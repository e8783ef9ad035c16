"""Hits beside what the most popular items would have hit."""

import numpy as np
import pytest

from learner.data.catalogue import Catalogue
from learner.data.events import Kind
from learner.signals.settings import SignalSettings
from learner.signals.state import Signals
from streams.learning.answers import Answers
from streams.learning.hit_rates import PLACES, HitRates, Popular
from streams.wire.contract import Click

DAY_MS = 86_400_000


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def clicked(times: dict[str, int]) -> Signals:
    """Signals of so many clicks on each item, each by somebody else, on one day."""
    catalogue = Catalogue()
    signals = Signals(SignalSettings(), catalogue)
    for item, count in times.items():
        for _ in range(count):
            click(signals, item)
    return signals


def click(signals: Signals, item: str) -> None:
    """One click on an item by somebody whom nobody knows."""
    signals.learn(signals.catalogue.intern(item), DAY_MS, Kind.CLICK, 0.0, np.zeros(0, np.int32))


def test_the_popular_list_is_ten_long_and_leaves_out_what_the_user_knows() -> None:
    signals = clicked({f"i{n}": 40 - n for n in range(30)})
    popular = Popular(signals, Clock())
    held = [popular.holds(hash(f"i{n}"), set()) for n in range(30)]
    assert held == [True] * PLACES + [False] * (30 - PLACES)
    known = {hash(f"i{n}") for n in range(5)}
    assert popular.holds(hash("i14"), known)
    assert not popular.holds(hash("i15"), known)
    assert not popular.holds(hash("nobody's"), known)


def test_the_list_is_looked_at_anew_once_a_second() -> None:
    signals, clock = clicked({"old": 3}), Clock()
    popular = Popular(signals, clock)
    assert popular.holds(hash("old"), set())
    for _ in range(9):
        click(signals, "new")
    assert not popular.holds(hash("new"), set())
    clock.now += 1
    assert popular.holds(hash("new"), set())


def test_a_rate_is_a_mean_at_first_and_then_of_late() -> None:
    rates = HitRates()
    assert (rates.rate, rates.popular_rate) == (None, None)
    for number in range(100):
        rates.observe(hit=number % 4 == 0, popular=number % 10 == 0)
    assert (rates.answers, rates.hits, rates.popular_hits) == (100, 25, 10)
    assert (rates.rate, rates.popular_rate) == (pytest.approx(0.25), pytest.approx(0.1))
    for _ in range(20_000):
        rates.observe(hit=True, popular=False)
    assert (rates.rate, rates.popular_rate) == (pytest.approx(1), pytest.approx(0, abs=1e-6))


def test_an_answer_knows_whether_the_popular_items_had_it() -> None:
    asked: list[tuple[int, set[int]]] = []

    def popular(item: int, known: object) -> bool:
        asked.append((item, set(known)))  # type: ignore[call-overload]
        return item == hash("b")

    answers = Answers(popular=popular)

    def met(number: int, item: str) -> Click:
        return Click(event_id=f"e{number}", user_id="u", item_id=item, event="click", timestamp=number)

    for number, item in enumerate(("a", "b", "c")):
        answers.see_click(met(number, item))
    assert [item for item, _ in asked] == [hash("b"), hash("c")]
    assert hash("a") in asked[0][1]
    assert [waiting.popular for waiting in answers._users["u"].waiting.values()] == [True, False]
