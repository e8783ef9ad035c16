"""What records of other systems probably are: no JSON, envelopes, other names for fields and events.

Owns the guesses and their wording. Puts nothing right: that is `streams.wire.second_reading`'s.
"""

import base64
import binascii
import difflib
import re
from collections.abc import Collection
from typing import Any

from learner.data.not_text import AVRO, GZIP, LZ4, ZSTD

# What shops call their events, and what is probably meant.
_MEANT = {
    "purchase": "buy bought order ordered checkout transaction complete_purchase pay purchased",
    "like": "add_to_cart addtocart cart add added wishlist favorite favourite fav bookmark save follow upvote"
    " share",
    "dislike": "downvote thumbs_down remove_from_cart removefromcart unlike remove removed",
    "view": "page_view pageview pv detail_view detail_page_view viewed watch watched play played listen read",
    "click": "clicked tap select product_click click_item",
    "rating": "rate rated review stars",
    "hide": "skip skipped not_interested dismiss block",
    "impression": "show shown seen exposure display",
}
_PROBABLY = {word: meant for meant, words in _MEANT.items() for word in words.split()}
_OURS = frozenset({"eventid", "userid", "itemid", "event", "timestamp", "value", "requestid", "position"})
_THEIRS = {
    "event_id": ("messageid", "eventuuid", "insertid", "uuid", "id"),
    "user_id": ("user", "uid", "visitorid", "customerid", "distinctid", "userpseudoid", "anonymousid"),
    "item_id": ("item", "productid", "movieid", "contentid", "sku", "id"),
    "event": ("eventtype", "eventname", "type", "action", "behavior"),
    "timestamp": ("ts", "time", "eventtime", "eventtimestamp", "originaltimestamp"),
}
_DEEP, _WIDE = 3, 50  # levels and fields in which one that is missing is looked for
# Bytes below a blank that no text has; JSON escapes them within its own.
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_SNAPPY = b"\xff\x06\0\0"
_FORM_BYTES = 2048  # that tell a form by its beginning
_FORM = re.compile(rb"[\w.\-%\[\]]+=[^&\s]*(&[\w.\-%\[\]]+=[^&\s]*)+(&[\w.\-%\[\]]*)?|%7B.*", re.DOTALL)


def is_utf_16(text: bytes) -> bool:
    """Whether bytes are probably UTF-16, or UTF-32 with the lowest byte first."""
    if text[:2] in (b"\xff\xfe", b"\xfe\xff", b"{\0", b"[\0", b'"\0'):
        return True
    return text[:2] in (b"\0{", b"\0[", b'\0"') and text[2:3] == b"\0"


def no_json(text: bytes) -> str:
    """What bytes that are no JSON probably are."""
    begins = text.lstrip()[:1]
    if not begins:
        return "the value is empty; send a JSON object"
    if is_utf_16(text):
        return "UTF-16 or UTF-32? send UTF-8"
    if text.startswith((GZIP, ZSTD, LZ4, _SNAPPY)):
        return "compressed by the producer itself? send JSON and set Kafka's compression.type"
    if text.startswith((AVRO, b"\x03\0", b"\x03\x05")):
        return "Avro, or another schema's bytes? send plain JSON"
    if int.from_bytes(text[:4], "little") == len(text):
        return "BSON? send JSON"
    if _CONTROL.search(text[:64]):
        return (
            "a control character within a text; escape it"
            if begins in b"{["
            else "no JSON but binary; send JSON"
        )
    try:
        text.decode()
    except UnicodeDecodeError:
        return "no UTF-8, probably Latin-1; send UTF-8" if begins == b"{" else "no JSON but binary; send JSON"
    return _no_json_but_text(text, begins)


def _no_json_but_text(text: bytes, begins: bytes) -> str:
    if begins == b"<":
        return "XML? send JSON"
    if text.lstrip()[:2] in (b"{'", b"{u"):
        return "Python's str(dict)? send json.dumps(dict)"
    if begins == b"{" and re.search(rb":\s*-?(NaN|Infinity)\b", text):
        return "NaN or Infinity, which JSON does not have; leave the field out"
    if begins == b"{" and re.search(rb"\}\s*\{", text):
        return "several objects in one record; send a record for each"
    if begins == b"{" and not text.rstrip().endswith(b"}"):
        return "JSON that is cut off, or goes on behind its end; send one object alone"
    if _FORM.fullmatch(text.strip()[:_FORM_BYTES]):
        return "the fields of a web form? send JSON"
    if _is_base64(text):
        return "base64? send the JSON in it"
    if begins != b"{" and (text.count(b",") >= 2 or text.count(b"\t") >= 2):
        return "CSV? send JSON"
    return "no JSON"


def _is_base64(text: bytes) -> bool:
    try:
        return base64.b64decode(text.strip(), validate=True).lstrip()[:1] == b"{"
    except (binascii.Error, ValueError):
        return False


def no_object(found: Any) -> tuple[str, str]:
    """What JSON that is no object is, and the particulars."""
    if isinstance(found, str):
        twice = found.lstrip()[:1] in ("{", '"')
        cause = "JSON inside a JSON string, encoded twice; encode once" if twice else "no JSON object"
        return cause, f"the value is the string {found[:40]!r}"
    if isinstance(found, list):
        return "a list; send a record for each event", f"the value is a list of {len(found)}"
    return "no JSON object", f"the value is {str(found)[:40]}"


def looks_like(name: str, record: dict[str, Any]) -> str:
    """What a record without a field has in its place."""
    if path := _inside(name, record, _DEEP):
        return (
            f"it stands inside {path!r}; send what is in there alone (with Kafka Connect, "
            "value.converter.schemas.enable=false)"
        )
    plain = {re.sub(r"[^a-z0-9]", "", other.lower()): other for other in list(record)[:_WIDE]}
    own = name.replace("_", "")
    near = difflib.get_close_matches(
        own, [each for each in plain if each == own or each not in _OURS], 1, 0.8
    )
    other = next((plain[each] for each in (*near, *_THEIRS.get(name, ())) if each in plain), None)
    if other is not None:
        return f"there is {other[:60]!r}; rename it to {name}"
    several = next(
        (key for key, value in record.items() if isinstance(value, list) and _objects(value)), None
    )
    if several is not None:
        return f"there is a list of objects, {several[:60]!r}; send a record for each event"
    return f"there are only {', '.join(sorted(record))[:120] or 'no fields'}"


def _objects(values: list[Any]) -> bool:
    return bool(values) and all(isinstance(each, dict) for each in values[:_WIDE])


def _inside(name: str, record: dict[str, Any], levels: int) -> str:
    """The path to the object within a record that has the field; "" for none."""
    inner = [(key, value) for key, value in list(record.items())[:_WIDE] if isinstance(value, dict)]
    for key, value in inner:
        if name in value:
            return key[:60]
    for key, value in inner if levels > 1 else ():
        if path := _inside(name, value, levels - 1):
            return f"{key[:60]}.{path}"
    return ""


def meant_by(word: str, words: Collection[str]) -> str:
    """Which of the `words` for events another one, in small letters, probably means."""
    plain = re.sub(r"[\s-]+", "_", word)
    if plain in _PROBABLY:
        return _PROBABLY[plain]
    for part in reversed(plain.split("_")[:8]):  # mostly the verb stands last
        if part in words or part in _PROBABLY:
            return part if part in words else _PROBABLY[part]
    return next(iter(difflib.get_close_matches(plain[:60], words, 1, cutoff=0.7)), "like")
