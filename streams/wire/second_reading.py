"""What producers really send: a record that is off the schema is read once more, with a knowing eye.

Owns which slips are unmistakable and so are mended (a byte-order mark, a schema registry's five bytes,
numbers for ids, whole floats, times as text, a word in capitals), and what the others probably are. A
complaint reads "CAUSE: particulars": the causes are few and sums are made of them. Good records never come
here.
"""

import difflib
import re
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

import msgspec

NO_WORDS: Mapping[str, str] = {}
# Seconds of 1980 to 2286, as milliseconds in the first months of 1970; no producer's clock shows those.
SECONDS_MS = range(315_532_800, 10_000_000_000)
_MICROSECONDS, _NANOSECONDS, _NO_TIME = 10**14, 10**17, 10**20
_ID_LIMIT = 2**63  # numbers beyond it were floats in some producer, and are another id by now
_BOM = b"\xef\xbb\xbf"
_REGISTRY_BYTES = 5  # a 0 and the schema's number, which serializers write before each value
_DIGITS = re.compile(r"[0-9]{1,19}(\.0+)?")
# What shops call their events, and what is probably meant.
_MEANT = {
    "purchase": "buy bought order ordered checkout transaction complete_purchase pay",
    "like": "add_to_cart addtocart cart add wishlist favorite favourite bookmark save follow upvote share",
    "dislike": "downvote thumbs_down remove_from_cart unlike",
    "view": "page_view pageview detail_view detail_page_view viewed watch watched play played listen read",
    "click": "clicked tap select product_click click_item",
    "rating": "rate rated review stars",
    "hide": "skip skipped not_interested dismiss block",
    "impression": "show shown seen exposure display",
}
_PROBABLY = {word: meant for meant, words in _MEANT.items() for word in words.split()}
_ENVELOPES = ("payload", "after", "data", "value", "record", "message")


def reread(
    value: bytes, *, required: Collection[str], words: Collection[str], names: Mapping[str, str]
) -> dict[str, Any]:
    """The record's fields with what is unmistakable put right. The schema has yet to judge them.

    `required`: fields that every record has; `words`: the events there are ((): no events are told); `names`:
    other words for events, in small letters, and what they mean. Raises msgspec.ValidationError with what the
    record probably is.
    """
    found = _parsed(value)
    if not isinstance(found, dict):
        raise _complaint(*_no_object(found))
    record: dict[str, Any] = found
    for name in required:
        if name not in record:
            raise _complaint(f"no {name}", _looks_like(name, record))
    for name, content in record.items():
        if name in ("user_id", "item_id", "event_id", "request_id"):
            record[name] = _id(name, content)
        elif name in ("timestamp", "published_at") and content is not None:
            record[name] = _time(name, content)
        elif name in ("exclude", "items") and isinstance(content, list):
            record[name] = [_id(name, each) for each in content]
        elif name == "event" and words and isinstance(content, str):
            record[name] = _event(content, words, names)
        elif name in ("position", "k", "v") and isinstance(content, float) and content.is_integer():
            record[name] = int(content)
    return record


def unit_of(timestamp: int) -> str | None:
    """Of a number that is no time in milliseconds, the unit that it probably has."""
    if timestamp in SECONDS_MS:
        return "seconds"
    if timestamp >= _MICROSECONDS:  # of 1973 and later; beyond any nanoseconds it is no time at all
        return "microseconds" if timestamp < _NANOSECONDS else "nanoseconds" if timestamp < _NO_TIME else None
    return None


def _complaint(cause: str, particulars: str) -> msgspec.ValidationError:
    return msgspec.ValidationError(f"{cause}: {particulars}")


def _parsed(value: bytes) -> Any:
    text = value.removeprefix(_BOM)
    schema = None
    if text[:1] == b"\0" and len(text) >= _REGISTRY_BYTES:
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
        raise _complaint(_no_json(text), str(error)) from None


def _no_json(text: bytes) -> str:
    """What bytes that are no JSON probably are."""
    begins = text.lstrip()[:1]
    if not begins:
        return "the value is empty; send a JSON object"
    if text[:2] in (b"\xff\xfe", b"\xfe\xff") or text[1:2] == b"\0" or text[:3] == b"\0\0\0":
        return "UTF-16 or UTF-32? send UTF-8"
    if text[:2] == b"\x1f\x8b" or text[:4] == b"\x28\xb5\x2f\xfd":
        return "compressed by the producer itself? send JSON and set Kafka's compression.type"
    try:
        text.decode()
    except UnicodeDecodeError:
        return "no UTF-8, probably Latin-1; send UTF-8" if begins == b"{" else "no JSON but binary; send JSON"
    if begins == b"<":
        return "XML? send JSON"
    if text.lstrip()[:2] in (b"{'", b"{u"):
        return "Python's str(dict)? send json.dumps(dict)"
    if begins == b"{" and re.search(rb":\s*-?(NaN|Infinity)\b", text):
        return "NaN or Infinity, which JSON does not have; leave the field out"
    if begins == b"{" and re.search(rb"\}\s*\{", text):
        return "several objects in one record; send a record for each"
    if begins != b"{" and (text.count(b",") >= 2 or text.count(b"\t") >= 2):
        return "CSV? send JSON"
    return "no JSON"


def _no_object(found: Any) -> tuple[str, str]:
    if isinstance(found, str):
        twice = found.lstrip()[:1] == "{"
        cause = "JSON inside a JSON string, encoded twice; encode once" if twice else "no JSON object"
        return cause, f"the value is the string {found[:40]!r}"
    if isinstance(found, list):
        return "a list; send a record for each event", f"the value is a list of {len(found)}"
    return "no JSON object", f"the value is {str(found)[:40]}"


def _looks_like(name: str, record: dict[str, Any]) -> str:
    """What a record without a field has in its place."""
    for envelope in _ENVELOPES:
        inner = record.get(envelope)
        if isinstance(inner, dict) and name in inner:
            return (
                f"it stands inside {envelope!r}; send what is in there alone (with Kafka Connect, "
                "value.converter.schemas.enable=false)"
            )
    plain = {re.sub(r"[^a-z0-9]", "", other.lower()): other for other in record}
    near = difflib.get_close_matches(name.replace("_", ""), list(plain)[:50], 1, cutoff=0.8)
    short = {"user_id": ("user", "uid", "visitorid"), "item_id": ("item", "productid", "movieid", "itemid")}
    short |= {"event": ("eventtype", "type", "action", "behavior"), "timestamp": ("ts", "time", "eventtime")}
    other = next((plain[each] for each in (*near, *short.get(name, ())) if each in plain), None)
    if other is not None:
        return f"there is {other[:60]!r}; rename it to {name}"
    return f"there are only {', '.join(sorted(record))[:120] or 'no fields'}"


def _id(name: str, content: Any) -> Any:
    """A number as its decimal text; what has no one text is told."""
    if isinstance(content, str):
        return content
    if content is None:
        raise _complaint(f"{name} is null", "send a string")
    if isinstance(content, int) and not isinstance(content, bool):
        if -_ID_LIMIT <= content < _ID_LIMIT:
            return str(content)
        raise _complaint(f"{name} is too large a number; send a string", str(content)[:40])
    if isinstance(content, float):
        raise _complaint(f"{name} is a number with a point; send a whole number or a string", str(content))
    raise _complaint(f"{name} is no string", str(content)[:40])


def _time(name: str, content: Any) -> Any:
    if isinstance(content, str):
        content = _time_of_text(name, content.strip())
    if isinstance(content, bool) or not isinstance(content, int | float):
        raise _complaint(f"{name} is no number; send Unix milliseconds", str(content)[:40])
    if content < 0:
        raise _complaint(f"{name} lies before 1970; expected Unix milliseconds", str(content)[:40])
    whole = isinstance(content, int) or content.is_integer()
    unit = unit_of(int(content))
    if unit is not None and (unit != "seconds" or not whole):  # of whole seconds the clock judges
        raise _complaint(f"Unix {unit}? send milliseconds", f"{name} is {content}")
    if not whole:
        raise _complaint(f"{name} has a fraction; send a whole number of milliseconds", str(content))
    return int(content)


def _time_of_text(name: str, text: str) -> Any:
    """Milliseconds of digits, or of an ISO 8601 time that says its zone."""
    if _DIGITS.fullmatch(text):
        return int(text.partition(".")[0])
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise _complaint(f"{name} is text; send Unix milliseconds", repr(text[:40])) from None
    if time.tzinfo is None:
        raise _complaint(f"{name} is a time without its zone; send Unix milliseconds", repr(text[:40]))
    return round(time.timestamp() * 1000)


def _event(content: str, words: Collection[str], names: Mapping[str, str]) -> str:
    word = content.strip().lower()
    if word in words:
        return word
    if word in names:
        return names[word]
    plain = re.sub(r"[\s-]+", "_", word)
    meant = _PROBABLY.get(plain) or next(iter(difflib.get_close_matches(plain, words, 1, cutoff=0.7)), "like")
    raise _complaint(
        "an unknown word for an event; say what it means in the settings",
        f"{content[:60]!r} is none of {', '.join(words)}; for example "
        f'event_names = {{"{word[:60]}" = "{meant}"}}',
    )
