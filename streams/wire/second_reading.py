"""What producers really send: a record that is off the schema is read once more, with a knowing eye.

Owns which slips are unmistakable and so are mended (a byte-order mark, a schema registry's bytes, numbers
for ids, text for numbers, whole floats, times as text, null for nothing, a word in capitals); what the others
probably are is `streams.wire.foreign`'s. A complaint reads "CAUSE: particulars": the causes are few and sums
are made of them. Good records never come here.
"""

import re
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from streams.wire.foreign import is_utf_16, looks_like, meant_by, no_json, no_object

NO_WORDS: Mapping[str, str] = {}
# Seconds of 1980 to 2286, as milliseconds in the first months of 1970; no producer's clock shows those.
SECONDS_MS = range(315_532_800, 10_000_000_000)
_MICROSECONDS, _NANOSECONDS, _NO_TIME = 10**14, 10**17, 10**20
_ID_LIMIT = 2**63  # numbers beyond it were floats in some producer, and are another id by now
_BOM = b"\xef\xbb\xbf"
_REGISTRY_BYTES = 5  # a 0 and the schema's number, which serializers write before each value
_GLUE, _GLUE_BYTES = b"\x03\0", 18  # AWS's registry writes a version, a codec and a UUID of 16 bytes
_DIGITS = re.compile(r"[0-9]{1,19}(\.0+)?")
_TRUTH: dict[Any, bool] = {"true": True, "false": False, "1": True, "0": False, 1: True, 0: False}
_NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")


class Misread(msgspec.ValidationError):
    """What a record that is off the schema probably is. field: what it is about; "" of no single one."""

    def __init__(self, text: str, field: str = "") -> None:
        super().__init__(text)
        self.field = field


def reread(
    value: bytes,
    *,
    fields: Collection[str],
    required: Collection[str],
    words: Collection[str],
    names: Mapping[str, str],
) -> dict[str, Any]:
    """The record's fields with what is unmistakable put right. The schema has yet to judge them.

    `fields`: those of the schema; others are ignored, whatever they hold. `required`: fields that every
    record has; in others null says the same as leaving them out. `words`: the events there are ((): no
    events are told); `names`: other words for events, in small letters, and what they mean. Raises
    msgspec.ValidationError with what the record probably is.
    """
    found = _parsed(value)
    if not isinstance(found, dict):
        raise _complaint(*no_object(found))
    record: dict[str, Any] = found
    for name in required:
        if name not in record:
            raise _complaint(f"no {name}", looks_like(name, record), name)
    nothing = False
    for name, content in record.items():
        if name not in fields:
            continue
        if content is None and name not in required:
            nothing = True
        elif (mend := _MENDS.get(name)) is not None:
            record[name] = mend(name, content)
        elif name == "event" and words and isinstance(content, str):
            record[name] = _event(content, words, names)
    if not nothing:
        return record
    return {name: content for name, content in record.items() if content is not None or name in required}


def unit_of(timestamp: int) -> str | None:
    """Of a number that is no time in milliseconds, the unit that it probably has."""
    if timestamp in SECONDS_MS:
        return "seconds"
    if timestamp >= _MICROSECONDS:  # of 1973 and later; beyond any nanoseconds it is no time at all
        return "microseconds" if timestamp < _NANOSECONDS else "nanoseconds" if timestamp < _NO_TIME else None
    return None


def _complaint(cause: str, particulars: str, field: str = "") -> Misread:
    if not particulars.isprintable():  # letters end in logs and terminals
        particulars = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in particulars)
    return Misread(f"{cause}: {particulars}", field)


def _parsed(value: bytes) -> Any:
    text = value.removeprefix(_BOM)
    schema = None
    if text[:2] == _GLUE and len(text) > _GLUE_BYTES and text[_GLUE_BYTES:].lstrip()[:1] == b"{":
        text = text[_GLUE_BYTES:]
    if text[:1] == b"\0" and len(text) >= _REGISTRY_BYTES and not is_utf_16(text):
        schema = int.from_bytes(text[1:_REGISTRY_BYTES], "big")
        text = text[_REGISTRY_BYTES:].removeprefix(_BOM)
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        if schema is not None:
            raise _complaint(
                "schema registry bytes, and no JSON after them; probably Avro or Protobuf, send plain JSON",
                f"the value begins with 0 and the schema number {schema}",
            ) from None
        raise _complaint(no_json(text), str(error)) from None


def _number(name: str, content: Any) -> Any:
    """Text that is a plain number as one, and floats without a fraction where whole numbers are asked for."""
    if not isinstance(content, float | str):
        return content
    if isinstance(content, str) and (name == "v" or not _NUMBER.fullmatch(content.strip())):
        return content
    number = float(content)
    return int(number) if name in ("position", "k", "v") and number.is_integer() else number


def _yes_or_no(_: str, content: Any) -> Any:
    if not isinstance(content, int | str):
        return content
    return _TRUTH.get(content.strip().lower() if isinstance(content, str) else content, content)


def _ids(name: str, content: Any) -> Any:
    return [_id(name, each) for each in content] if isinstance(content, list) else content


def _id(name: str, content: Any) -> Any:
    """A number as its decimal text; what has no one text is told."""
    if isinstance(content, str):
        return content
    if content is None:
        raise _complaint(f"{name} is null", "send a string", name)
    if isinstance(content, int) and not isinstance(content, bool):
        if -_ID_LIMIT <= content < _ID_LIMIT:
            return str(content)
        raise _complaint(f"{name} is too large a number; send a string", str(content)[:40], name)
    if isinstance(content, float):
        raise _complaint(
            f"{name} is a number with a point; send a whole number or a string", str(content), name
        )
    raise _complaint(f"{name} is no string", str(content)[:40], name)


def _time(name: str, content: Any) -> Any:
    if isinstance(content, str):
        content = _time_of_text(name, content.strip())
    if isinstance(content, bool) or not isinstance(content, int | float):
        raise _complaint(f"{name} is no number; send Unix milliseconds", str(content)[:40], name)
    if content < 0:
        raise _complaint(f"{name} lies before 1970; expected Unix milliseconds", str(content)[:40], name)
    whole = isinstance(content, int) or content.is_integer()
    unit = unit_of(int(content))
    if unit is not None and (unit != "seconds" or not whole):  # of whole seconds the clock judges
        raise _complaint(f"Unix {unit}? send milliseconds", f"{name} is {content}", name)
    if not whole:
        raise _complaint(f"{name} has a fraction; send a whole number of milliseconds", str(content), name)
    return int(content)


def _time_of_text(name: str, text: str) -> Any:
    """Milliseconds of digits, or of an ISO 8601 time; of what happened it must say its zone."""
    if _DIGITS.fullmatch(text):
        return int(text.partition(".")[0])
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise _complaint(f"{name} is text; send Unix milliseconds", repr(text[:40]), name) from None
    if time.tzinfo is None and name == "published_at":  # mostly a date alone; filters read it so, too
        time = time.replace(tzinfo=UTC)
    if time.tzinfo is None:
        raise _complaint(f"{name} is a time without its zone; send Unix milliseconds", repr(text[:40]), name)
    return round(time.timestamp() * 1000)


def _event(content: str, words: Collection[str], names: Mapping[str, str]) -> str:
    word = content.strip().lower()
    if word in words:
        return word
    if word in names:
        return names[word]
    raise _complaint(
        "an unknown word for an event; say what it means in the settings",
        f"{content[:60]!r} is none of {', '.join(words)}; for example "
        f'event_names = {{{msgspec.json.encode(word[:60]).decode()} = "{meant_by(word, words)}"}}',
        "event",
    )


_MENDS: Mapping[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(("user_id", "item_id", "event_id", "request_id"), _id),
    **dict.fromkeys(("recommendation_id", "similar_to"), _id),
    **dict.fromkeys(("items", "exclude", "interests", "rank", "if_clicked"), _ids),
    **dict.fromkeys(("timestamp", "published_at", "expires_at"), _time),
    **dict.fromkeys(("position", "k", "v", "value", "price"), _number),
    **dict.fromkeys(("undo", "history", "available", "profile"), _yes_or_no),
}
"""By field, what puts right what it holds."""
