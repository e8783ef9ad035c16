"""What single cells hold: lists, attributes, yes and no.

Owns the spellings that are understood. Knows neither columns nor files.
"""

import ast
import io
import math
import tokenize
from contextlib import suppress
from datetime import date, time
from decimal import Decimal
from typing import Any

import msgspec

_YES = frozenset(
    {"true", "yes", "t", "y", "on", "instock", "available", "limitedavailability", "preorder", "backorder"}
)
_NO = frozenset({"false", "no", "f", "n", "off", "outofstock", "soldout", "unavailable", "discontinued"})
NOTHING = frozenset(
    {"null", "(null)", "nan", "none", "nil", "na", "n/a", "#n/a", "<na>", "nat", "\\n", "-", "--",
     "0000-00-00", "0000-00-00 00:00:00"}
)  # fmt: skip
"""What programs write into columns of numbers and times where they have nothing, in small letters."""
_UNREAD = object()
_DEEPEST = 64
_CONSTANTS = {"nan": None, "NaN": None, "inf": None, "null": None, "true": True, "false": False}


def parts(cell: Any) -> list[str]:
    """The parts of a list: `a|b`, JSON (["a", "b"]), a Python literal (['a', 'b']), or a list already.

    Of objects the name is taken. Text in brackets that is neither is split by commas if it has any.
    """
    if isinstance(cell, str):
        text = cell.strip()
        if text.startswith(("[", "(", "{")) and text.endswith(("]", ")", "}")):
            read = _literal(text)
            with suppress(RecursionError):  # of brackets in brackets without end, which are taken as text
                if isinstance(read, list | tuple | set | dict):
                    return parts(read)
            if text.startswith("[") and "|" not in text and "," in text:
                text = text[1:-1].replace(",", "|")
        return [part for part in map(str.strip, text.split("|")) if part]
    if isinstance(cell, dict):
        named = next((cell[name] for name in ("name", "title", "value", "id") if cell.get(name)), _UNREAD)
        if named is not _UNREAD:
            return _part(named)
        return [f"{as_text(name)}: {as_text(value)}" for name, value in cell.items() if _part(value)]
    if isinstance(cell, set):
        cell = sorted(cell, key=as_text)
    if isinstance(cell, list | tuple):
        nested = (list, tuple, dict)
        return [part for each in cell for part in (parts(each) if isinstance(each, nested) else _part(each))]
    return []


def attributes(cell: str) -> dict[str, Any]:
    """An object in JSON or as a Python literal stays what it is; any other list becomes {"values": [...]}."""
    text = cell.strip()
    if text.startswith("{") and text.endswith("}"):
        read = _literal(text)
        if isinstance(read, dict):
            return entries(read)
    values = parts(cell)
    return {"values": values} if values else {}


def entries(read: dict[Any, Any]) -> dict[str, Any]:
    """Attributes as JSON has them: text for names, nothing that is None; dates and bytes as text."""
    return {as_text(name): _of_json(value) for name, value in read.items() if value is not None}


def _of_json(value: Any, depth: int = 0) -> Any:
    if isinstance(value, dict | list | tuple) and depth == _DEEPEST:
        return "…"  # workers refuse what is nested much less deep; here it may not end the reading
    if isinstance(value, dict):
        return {as_text(name): _of_json(inner, depth + 1) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_of_json(inner, depth + 1) for inner in value]
    if isinstance(value, set | frozenset):
        return sorted(map(as_text, value))
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if value is None or isinstance(value, int):
        return value
    return value.isoformat() if isinstance(value, date | time) else as_text(value)


def as_text(value: Any) -> str:
    """A value as text that can be encoded, whatever it is."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    try:
        text = str(value)
    except ValueError:  # Python writes no numbers of more than 4,300 digits
        return "…"
    return text if text.isascii() else text.encode("utf-8", "replace").decode()  # half a surrogate pair


def has_huge_number(value: Any) -> bool:
    """Whether attributes, as `entries` gives them, hold an integer of more than 64 bits."""
    if isinstance(value, dict | list):
        return any(map(has_huge_number, value.values() if isinstance(value, dict) else value))
    return isinstance(value, int) and not -(2**63) <= value < 2**64


def is_number(text: str) -> bool:
    """Whether Python reads the text as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def yes_or_no(word: str) -> bool | None:
    """What a word such as true, 1.0, no or "out of stock" says; None for one that is not known."""
    spelt = word.casefold().rpartition("/")[2].replace(" ", "").replace("_", "").replace("-", "")
    if spelt in _YES or spelt in _NO:
        return spelt in _YES
    try:
        number = float(word)
    except ValueError:
        return None
    return bool(number) if number in (0.0, 1.0) else None


def _part(value: Any) -> list[str]:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return []
    text = as_text(value).strip()
    return [text] if text else []


def _literal(text: str) -> Any:
    """The value that JSON or else Python reads in the text; `_UNREAD` where neither does."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        pass
    try:
        words = _neighbouring(text)
        return words if words else ast.literal_eval(_Named().visit(ast.parse(text, mode="eval")))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError, tokenize.TokenError):
        return _UNREAD


class _Named(ast.NodeTransformer):
    """Names that JSON and printed lists have for values: nan, null, true."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(_CONSTANTS[node.id]) if node.id in _CONSTANTS else node


def _neighbouring(text: str) -> list[Any]:
    """The strings of a printed NumPy array, ['a' 'b'], which Python would read as one; else nothing."""
    tokens = [
        token for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type not in (tokenize.NEWLINE, tokenize.NL, tokenize.ENDMARKER)
    ]  # fmt: skip
    inner = tokens[1:-1]
    if text.startswith("[") and len(inner) > 1 and all(token.type == tokenize.STRING for token in inner):
        return [ast.literal_eval(token.string) for token in inner]
    return []
