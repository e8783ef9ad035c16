"""The short form of filters, for query strings and shells: `categories:tea, price<20, -brand:"Acme Ltd"`.

Owns its spelling. Knows of the fields only which of the usual ones are texts: there `1984` is a title,
elsewhere a number, and `"1984"` a text everywhere.
"""

import re
from typing import Any

from learner.filters.language import ORDERED, TEXTS, TIME, FilterError, shown

_SIGNS = {":": "eq", "=": "eq", "!=": "ne", "<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
_SIGN = re.compile(r"!=|<=|>=|[:=<>]")
_NAME = re.compile(r'[^,:=<>!"]+')
_BARE = re.compile(r'[^,"]+')
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.S)
_SPACE = re.compile(r"\s*")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)  # as in JSON: 007 is a text
_WORDS = {"true": True, "false": False}


def read(text: str, where: str = "filter") -> dict[str, Any]:
    """The JSON form. Raises FilterError, which names the place as a character, counted from 1."""
    terms, at = [], 0
    while True:
        term, at = _term(text, at, where)
        terms.append(term)
        if at == len(text):
            return terms[0] if len(terms) == 1 else {"all": terms}
        if text[at] != ",":
            raise _wrong(where, at, "expected a comma", text)
        at += 1


def _term(text: str, at: int, where: str) -> tuple[dict[str, Any], int]:
    """One comparison, and where the next character is that does not belong to it."""
    at = _after_space(text, at)
    negative = text.startswith("-", at)
    name, at, _ = _word(text, _after_space(text, at + negative), _NAME, "the name of a field", where)
    found = _SIGN.match(text, at)
    if not found:
        raise _wrong(where, at, "expected one of : = != < <= > >=", text)
    operator, begin = _SIGNS[found.group()], _after_space(text, found.end())
    word, at, quoted = _word(text, begin, _BARE, f"a value after {found.group()}", where)
    value: Any = word
    if not quoted and name not in TEXTS:
        value = _WORDS.get(word, float(word) if _NUMBER.fullmatch(word) else word)
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            value = int(value)
    if operator in ORDERED and name != TIME and type(value) not in (int, float):
        raise _wrong(where, begin, f"expected a number after {found.group()}", text)
    term = {"field": name, operator: value}
    return {"not": term} if negative else term, at


def _word(text: str, at: int, bare: re.Pattern[str], what: str, where: str) -> tuple[str, int, bool]:
    """A word, where it and the space behind it end, and whether it stood in quotes."""
    if text.startswith('"', at):
        found = _QUOTED.match(text, at)
        if not found:
            raise _wrong(where, at, "expected a second quote", text)
        return re.sub(r"\\(.)", r"\1", found.group(1), flags=re.S), _after_space(text, found.end()), True
    found = bare.match(text, at)
    word = found.group().strip() if found else ""
    if not found or not word:
        raise _wrong(where, at, f"expected {what}", text)
    if text.startswith('"', found.end()):
        raise _wrong(where, found.end(), "a quote must stand first: put the whole in quotes", text)
    return word, found.end(), False


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _wrong(where: str, at: int, expected: str, text: str) -> FilterError:
    got = shown(text[at : at + 20]) if at < len(text) else "the end"
    return FilterError(f"{where}, character {at + 1}: {expected}, got {got}")
