"""Which items a filter lets through, by the columns of their fields.

Owns what the operators mean. Knows neither masks nor who asks.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learner.filters.fields import ITEM_ID, Column, Fields
from learner.filters.lane import Items, Lane
from learner.filters.language import Filter, Leaf, Node, Not, Test, Truth
from learner.filters.values import text_key, truth_key

_FEW = 8  # values compared one after the other; more are looked up in their order
_COMPARE: dict[str, Any] = {"lt": np.less, "lte": np.less_equal, "gt": np.greater, "gte": np.greater_equal}
_Mask = NDArray[np.bool_]


def matching(filter_: Filter, fields: Fields, items: Items) -> _Mask:
    """Which of the items (n,), or of a range with its bounds, the filter lets through: (n,) bool.

    Its fields must have been read for these items.
    """
    return _node(filter_.root, fields, items)


def _node(node: Node, fields: Fields, items: Items) -> _Mask:
    if isinstance(node, Not):
        return ~_node(node.part, fields, items)
    if isinstance(node, Leaf):
        mask = _test(node.field, node.tests[0], fields, items)
        for test in node.tests[1:]:
            mask &= _test(node.field, test, fields, items)
        return mask
    if not node.parts:
        return np.full(_length(items), node.kind == "all")
    mask = _node(node.parts[0], fields, items)
    for part in node.parts[1:]:
        other = _node(part, fields, items)
        mask = (
            np.logical_and(mask, other, out=mask)
            if node.kind == "all"
            else np.logical_or(mask, other, out=mask)
        )
    return mask


def _test(name: str, test: Test, fields: Fields, items: Items) -> _Mask:
    if test.operator in ("ne", "nin"):
        return ~_test(name, Test("in", test.values), fields, items)
    if name == ITEM_ID:
        return _test_ids(test, fields, items)
    column = fields.column(name)
    if test.operator == "exists":
        mask = np.zeros(_length(items), np.bool_)
        for lane in (column.numbers, column.keys):
            if lane is not None:
                mask |= lane.has(items)
        return mask if test.values[0] is Truth.YES else ~mask
    if test.operator in ("eq", "in"):
        return _equal(column, test, items)
    compare, limit = _COMPARE[test.operator], test.values[0]
    return _any(column.numbers, items, lambda values: compare(values, limit))


def _equal(column: Column, test: Test, items: Items) -> _Mask:
    numbers = [value for value in test.values if isinstance(value, float)]
    keys = [text_key(value) for value in test.values if isinstance(value, str)]
    keys += [truth_key(value.value) for value in test.values if isinstance(value, Truth)]
    if not numbers:
        return _any(column.keys, items, _one_of(np.array(keys, np.int64)))
    mask = _any(column.numbers, items, _one_of(np.array(numbers)))
    return mask | _any(column.keys, items, _one_of(np.array(keys, np.int64))) if keys else mask


def _one_of(wanted: NDArray[Any]) -> Callable[[NDArray[Any]], _Mask]:
    """A test whether values are among the wanted ones."""
    if len(wanted) > _FEW:
        wanted = np.sort(wanted)
        return lambda values: wanted[np.minimum(np.searchsorted(wanted, values), len(wanted) - 1)] == values

    def test(values: NDArray[Any]) -> _Mask:
        mask: _Mask = np.zeros(len(values), np.bool_) if not len(wanted) else values == wanted[0]
        for value in wanted[1:]:
            mask |= values == value
        return mask

    return test


def _any(lane: Lane | None, items: Items, test: Callable[[NDArray[Any]], _Mask]) -> _Mask:
    return np.zeros(_length(items), np.bool_) if lane is None else lane.any(items, test)


def _test_ids(test: Test, fields: Fields, items: Items) -> _Mask:
    """Every item has its id, and the catalogue knows each one's number."""
    if test.operator == "exists":
        return np.full(_length(items), test.values[0] is Truth.YES)
    index = fields.catalogue.index
    found = [index[value] for value in test.values if isinstance(value, str) and value in index]
    wanted = np.array(found, np.int64)
    if isinstance(items, slice):
        mask = np.zeros(_length(items), np.bool_)
        inside = wanted[(wanted >= items.start) & (wanted < items.stop)]
        mask[inside - items.start] = True
        return mask
    return np.isin(items, wanted)


def _length(items: Items) -> int:
    return items.stop - items.start if isinstance(items, slice) else len(items)
