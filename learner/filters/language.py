"""The language of filters: what is asked of items, checked once and kept as a tree that never changes.

Owns the JSON form and its limits. Knows neither items nor the catalogue. In short:

    {"all": [...]}  {"any": [...]}  {"not": {...}}
    {"field": "price", "gte": 5, "lt": 20}

A leaf may have several operators, all of which must hold, each by itself: of an item with several sizes one
may be at least 5 and another below 20. An empty group counts as a leaf towards the limit.
An empty `all` lets everything through, an empty `any` nothing.
"""

import datetime
import enum
import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

MOST_LEAVES, MOST_LEVELS, MOST_VALUES = 64, 8, 1000
MOST_NAME_BYTES = 256  # of a field, in UTF-8
ORDERED = ("lt", "lte", "gt", "gte")
OPERATORS = ("eq", "ne", "in", "nin", *ORDERED, "exists")
TEXTS = ("item_id", "title", "categories", "tags")  # fields of every item that hold texts alone
TIME = "published_at"
OWN = frozenset((*TEXTS, "price", TIME))  # names that mean no attribute
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_encode = msgspec.json.Encoder().encode


class FilterError(ValueError):
    """What is wrong with a filter, and where: `filter.all[1].lt: expected a number, got "x"`."""


class Truth(enum.Enum):
    """true and false; Python's own would be equal to 1 and 0."""

    YES = True
    NO = False


Value = float | str | Truth


@dataclass(frozen=True, slots=True)
class Test:
    """One operator of a leaf with its values: one, or any number for `in` and `nin`."""

    operator: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Leaf:
    """What is asked of one field; all tests must hold."""

    field: str
    tests: tuple[Test, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Parts of which `all` must hold, or `any`."""

    kind: str
    parts: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The plain complement."""

    part: "Node"


Node = Leaf | Group | Not


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter that has been checked. Two of the same JSON form are equal; its hash costs nothing.

    root: the tree; fields: names of the fields that it reads, as given, each once
    """

    root: Node = field(compare=False, repr=False)
    fields: tuple[str, ...] = field(compare=False)
    text: str  # JSON; Python keeps the hash of a text

    @classmethod
    def of(cls, root: Node) -> "Filter":
        """The filter with this tree."""
        return cls(root, tuple(dict.fromkeys(_fields(root))), _encode(_json(root)).decode())

    def json(self) -> dict[str, Any]:
        """The JSON form; times as Unix ms."""
        return _json(self.root)


def parse(given: object, where: str = "filter") -> Filter:
    """Checks the JSON form. Raises FilterError, which names the place within `where`."""
    try:
        return Filter.of(_Reader(where).node(given, where, 1))
    except UnicodeEncodeError:  # half a surrogate pair, which some JSON parsers let through
        raise FilterError(f"{where}: holds characters that are no Unicode") from None


@functools.lru_cache(1024)  # lists of one scenario with one filter ask for the same again and again
def both(one: Filter | None, other: Filter | None) -> Filter | None:
    """What both let through; None lets everything through. May be beyond the limits of a user's filter."""
    if one is None or other is None or one == other:
        return other if one is None else one
    return Filter.of(Group("all", (one.root, other.root)))


def milliseconds(text: str) -> float:
    """Unix ms of a date or time in ISO 8601, in UTC where it names no zone. Raises ValueError."""
    moment = datetime.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return float((moment - _EPOCH) // datetime.timedelta(milliseconds=1))


def shown(given: object) -> str:
    """What was given, as JSON, cut to the length of a line's end."""
    try:
        text = _encode(given).decode()
    except (TypeError, ValueError, OverflowError, RecursionError):
        text = type(given).__name__
    return text if len(text) <= 60 else text[:59] + "…"


class _Reader:
    """Turns the JSON form into the tree and counts what it is made of."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._leaves = 0
        self._values = 0

    def node(self, given: object, where: str, level: int) -> Node:
        if not isinstance(given, dict):
            raise FilterError(f"{where}: expected an object, got {shown(given)}")
        if "field" in given:
            return self._leaf(given, where)
        if level > MOST_LEVELS:
            raise FilterError(f"{where}: nested more than {MOST_LEVELS} deep")
        kinds = [name for name in ("all", "any", "not") if name in given]
        if not kinds:
            other = next(iter(given), None)
            got = "got nothing" if other is None else f"got {shown(other)}"
            raise FilterError(f"{where}: expected one of all, any, not or field, {got}")
        for name in given:
            if name != kinds[0]:
                raise FilterError(f"{where}: {shown(name)} cannot stand beside {kinds[0]}")
        kind, parts = kinds[0], given[kinds[0]]
        if kind == "not":
            return Not(self.node(parts, f"{where}.not", level + 1))
        if not isinstance(parts, list):
            raise FilterError(f"{where}.{kind}: expected a list, got {shown(parts)}")
        if not parts:
            self._count()
        return Group(
            kind, tuple(self.node(part, f"{where}.{kind}[{k}]", level + 1) for k, part in enumerate(parts))
        )

    def _leaf(self, given: dict[Any, Any], where: str) -> Leaf:
        name = given["field"]
        if not isinstance(name, str) or not name or name == "attributes.":
            raise FilterError(f"{where}.field: expected the name of a field, got {shown(name)}")
        if len(name.encode()) > MOST_NAME_BYTES:
            raise FilterError(f"{where}.field: longer than {MOST_NAME_BYTES} bytes: {shown(name)}")
        self._count()
        tests = []
        for operator, value in given.items():
            if operator == "field":
                continue
            if operator not in OPERATORS:
                raise FilterError(
                    f"{where}: unknown operator {shown(operator)}; there are {', '.join(OPERATORS)}"
                )
            tests.append(self._test(name, operator, value, f"{where}.{operator}"))
        if not tests:
            raise FilterError(f"{where}: expected an operator beside field: {', '.join(OPERATORS)}")
        return Leaf(name, tuple(tests))

    def _test(self, name: str, operator: str, value: object, where: str) -> Test:
        if operator == "exists":
            if not isinstance(value, bool):
                raise FilterError(f"{where}: expected true or false, got {shown(value)}")
            return Test(operator, (Truth(value),))
        if operator in ("in", "nin"):
            if not isinstance(value, list):
                raise FilterError(f"{where}: expected a list, got {shown(value)}")
            self._values += len(value)
            if self._values > MOST_VALUES:
                raise FilterError(f"{self._where}: more than {MOST_VALUES} values")
            values = (_value(name, each, f"{where}[{k}]") for k, each in enumerate(value))
            return Test(operator, tuple(dict.fromkeys(values)))
        if operator not in ORDERED:
            return Test(operator, (_value(name, value, where),))
        if name in TEXTS:
            raise FilterError(f"{where}: {name} holds texts, which have no order; use eq, ne, in or nin")
        limit = _value(name, value, where) if isinstance(value, int | float | str) else None
        if not isinstance(limit, float):
            raise FilterError(f"{where}: expected a number, got {shown(value)}")
        return Test(operator, (limit,))

    def _count(self) -> None:
        self._leaves += 1
        if self._leaves > MOST_LEAVES:
            raise FilterError(f"{self._where}: more than {MOST_LEAVES} leaves")


def _value(name: str, given: object, where: str) -> Value:
    """A value as it is compared: numbers as float64 has them, times as Unix ms."""
    if isinstance(given, bool):
        return Truth(given)
    if isinstance(given, int | float):
        try:
            number = float(given)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            got = str(given) if isinstance(given, float) else shown(given)
            raise FilterError(f"{where}: {got} is no number that can be compared")
        return number
    if not isinstance(given, str):
        raise FilterError(f"{where}: expected a text, a number, true or false, got {shown(given)}")
    if name != TIME:
        return given
    try:
        return milliseconds(given)
    except (ValueError, OverflowError):
        raise FilterError(f"{where}: expected Unix ms or a date in ISO 8601, got {shown(given)}") from None


def _fields(node: Node) -> Iterator[str]:
    if isinstance(node, Leaf):
        yield node.field
    elif isinstance(node, Not):
        yield from _fields(node.part)
    else:
        for part in node.parts:
            yield from _fields(part)


def _json(node: Node) -> dict[str, Any]:
    if isinstance(node, Not):
        return {"not": _json(node.part)}
    if isinstance(node, Group):
        return {node.kind: [_json(part) for part in node.parts]}
    said: dict[str, Any] = {"field": node.field}
    for test in node.tests:
        values = [_plain(value) for value in test.values]
        said[test.operator] = values if test.operator in ("in", "nin") else values[0]
    return said


def _plain(value: Value) -> Any:
    if isinstance(value, Truth):
        return value.value
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value
