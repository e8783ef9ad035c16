"""Filters once more, from their description alone, slowly: which of an item's fields say what is asked."""

import datetime
from collections.abc import Iterator
from typing import Any

from learner.data.catalogue import Item

_OWN = ("item_id", "title", "categories", "tags", "price", "published_at")


def lets_through(form: dict[str, Any], item: Item) -> bool:
    """Whether a filter in its JSON form matches an item; availability is another matter."""
    if "all" in form:
        return all(lets_through(part, item) for part in form["all"])
    if "any" in form:
        return any(lets_through(part, item) for part in form["any"])
    if "not" in form:
        return not lets_through(form["not"], item)
    name = form["field"]
    values = list(values_of(item, name))
    return all(_holds(name, op, asked, values) for op, asked in form.items() if op != "field")


def values_of(item: Item, name: str) -> Iterator[Any]:
    """The values of an item in a field."""
    cell = getattr(item, name) if name in _OWN else item.attributes.get(name.removeprefix("attributes."))
    if isinstance(cell, dict) and set(cell) == {"values"} and isinstance(cell["values"], list):
        cell = cell["values"]
    for value in cell if isinstance(cell, list) else [cell]:
        if value is not None:
            yield value


def _holds(name: str, op: str, asked: Any, values: list[Any]) -> bool:
    if op == "exists":
        return bool(values) == asked
    if op == "in":
        return any(_same(value, _time(name, one)) for value in values for one in asked)
    if op == "nin":
        return not _holds(name, "in", asked, values)
    asked = _time(name, asked)
    if op == "eq":
        return any(_same(value, asked) for value in values)
    if op == "ne":
        return not any(_same(value, asked) for value in values)
    numbers = [float(value) for value in values if _is_number(value)]
    asked = float(asked)
    if op == "lt":
        return any(number < asked for number in numbers)
    if op == "lte":
        return any(number <= asked for number in numbers)
    if op == "gt":
        return any(number > asked for number in numbers)
    assert op == "gte"
    return any(number >= asked for number in numbers)


def _same(value: Any, asked: Any) -> bool:
    if _is_number(value) and _is_number(asked):
        return float(value) == float(asked)
    return type(value) is type(asked) and isinstance(value, str | bool) and value == asked


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _time(name: str, asked: Any) -> Any:
    if name != "published_at" or not isinstance(asked, str):
        return asked
    moment = datetime.datetime.fromisoformat(asked)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
    return int(moment.timestamp() * 1000)
