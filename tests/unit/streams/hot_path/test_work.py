"""How much of a round a record takes."""

from typing import Any

import msgspec
import pytest

from streams.hot_path.policy import Policy
from streams.hot_path.work import ENCODED_ANEW, ONLY_FOLDED, work_of
from streams.wire.contract import Click, Merge, Merged, Request, Rules
from streams.wire.intake import Arrival
from streams.wire.steering import Cap, Tilt
from streams.worker.rounds import OF_ONE

HIDE = Click(event_id="e", user_id="u", item_id="i", event="hide", timestamp=1)


def test_what_encodes_a_state_anew_costs_more_than_a_list() -> None:
    """A burst of undos by one user must not hold up the others."""
    wish = Merge(user_id="u", event="merge", into="v", timestamp=1)
    came = Merged(
        user_id="v", event="merged", merged_from="u", merge="0-1-0", timestamp=1, state=msgspec.Raw()
    )
    undo = msgspec.structs.replace(HIDE, undo=True)
    click = msgspec.structs.replace(HIDE, event="click")
    work = [work_of(Arrival(message, 0, 0)) for message in (HIDE, wish, click, undo, came)]
    assert work == [ONLY_FOLDED, ONLY_FOLDED, 1.0, ENCODED_ANEW, ENCODED_ANEW]
    assert 1.0 < ENCODED_ANEW <= OF_ONE
    long = Request(request_id="r", user_id="u", k=2 * Policy.candidates)
    assert work_of(Arrival(long, 0, 0)) == 2.0


def _of(given: dict[str, Rules], **wishes: Any) -> float:
    return work_of(Arrival(Request(request_id="r", user_id="u", **wishes), 0, 0), given)


WIDE = Policy.candidates


@pytest.mark.parametrize(
    ("wishes", "work"),
    [
        ({}, 1.0),
        ({"filter": {"field": "price", "lt": 1}}, 1.0),
        ({"rank": [f"i{n}" for n in range(2 * WIDE)]}, 4.0),
        ({"k": WIDE, "exclude_hashes": list(range(WIDE))}, 4.0),
        ({"similar_to": "i"}, 2.0),
        ({"query": "shoes"}, 2.0),
        ({"rules": Rules(caps=[Cap("brand", 1)]), "k": 2 * WIDE}, 4.0),
        ({"rules": Rules(boost=[Tilt({"field": "price", "lt": 1}, 2.0)] * 64)}, 3.0),
        ({"k": 100, "fields": [f"f{n}" for n in range(20)]}, 2.0),
        ({"if_clicked": ["i"]}, 1.0 + ENCODED_ANEW),
    ],
)
def test_a_list_costs_what_is_asked_of_it(wishes: dict[str, Any], work: float) -> None:
    assert _of({}, **wishes) == pytest.approx(work)


def test_a_scenario_s_rules_count() -> None:
    given = {"cart": Rules(k=3 * WIDE), "default": Rules(caps=[Cap("brand", 1)])}
    assert _of(given, scenario="cart") == 3.0
    assert _of(given, scenario="cart", k=10) == 1.0
    assert _of(given, scenario="nobody-defined-it") == _of(given) == 2.0
    click = msgspec.structs.replace(HIDE, event="click", scenario="cart")
    assert [work_of(Arrival(click, 0, 0), each) for each in (given, {})] == [3.0, 1.0]
