"""What rules add to scores: by the items alone that a list is drawn from."""

import math

import numpy as np
import pytest

from learner.data.catalogue import Catalogue, Item
from streams.hot_path.policy import Policy
from streams.hot_path.rules import Steering
from streams.wire.contract import Rules
from streams.wire.steering import Cap, Tilt


def _steering(count: int) -> Steering:
    catalogue = Catalogue()
    for number in range(count):
        catalogue.announce(
            Item(item_id=f"i{number}", price=float(number), attributes={"brand": "ab"[number % 2]})
        )
    return Steering(catalogue, Policy())


def test_factors_need_no_masks_and_follow_the_catalogue() -> None:
    """However many filters a request brings along, nothing is built for all items."""
    steering = _steering(6)
    tilts = steering.inline(
        Rules(
            boost=[Tilt({"field": "item_id", "eq": f"i{number}"}, 2.0) for number in range(64)],
            bury=[Tilt({"field": "brand", "eq": "a"}, 0.5), Tilt({"field": "price", "lt": 2}, 0.5)],
        )
    ).tilts
    added = steering.tilt(np.array([4, 1, 3], np.int32), tilts)
    np.testing.assert_allclose(added, np.array([0, 0, 1]) * math.log(2.0), atol=1e-6)
    steering.catalogue.announce(Item(item_id="i3", price=1.0))
    steering.catalogue.announce(Item(item_id="i6", price=1.0))
    added = steering.tilt(np.array([3, 6], np.int32), tilts)
    np.testing.assert_allclose(added, [0, 0], atol=1e-6)
    assert len(steering.masks._rows) == 0


def test_fields_that_rules_read_are_known() -> None:
    steering = _steering(1)
    rules = Rules(
        filter={"field": "title", "eq": "x"},
        boost=[Tilt({"field": "brand", "eq": "a"}, 2.0), Tilt({"field": "price", "eq": 1}, 2.0)],
        caps=[Cap("brand", 1), Cap("categories", 1)],
    )
    assert steering.inline(rules).fields == ("brand", "price", "categories")


@pytest.mark.parametrize("items", [[], [0, 1]])
def test_without_factors_nothing_is_added(items: list[int]) -> None:
    assert _steering(2).tilt(np.array(items, np.int32), ()).tolist() == [0] * len(items)
