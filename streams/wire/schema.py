"""The wire contract as one JSON Schema document, for producers and consumers in any language.

Owns the document's form: a property for each topic that others write or read. What a message may hold is
`streams.wire.contract`'s business; this module only asks msgspec for it.
"""

from typing import Any

import msgspec

from streams.wire.contract import (
    Click,
    Forget,
    Item,
    KeyRecord,
    Merge,
    Recommendation,
    ReleaseRecord,
    Request,
    Rules,
)
from streams.wire.figures import FiguresRecord

DIALECT = "https://json-schema.org/draft/2020-12/schema"
VERSION = 1

# What the type of a click cannot say: it is on an item, or an impression of several.
_A_LIST = {"required": ["items"], "properties": {"items": {"minItems": 1}}}
_IMPRESSION = {"required": ["event"], "properties": {"event": {"const": "impression"}}}
_WHAT_CLICKS_ARE_ON = {
    "anyOf": [{"required": ["item_id"]}, _A_LIST],
    "allOf": [
        {"if": _A_LIST, "then": _IMPRESSION},
        {"if": _IMPRESSION, "then": {"properties": {"undo": {"const": False}}}},
    ],
}

# Of each topic the kinds of values that it takes, and a word on it.
TOPICS: dict[str, tuple[tuple[Any, ...], str]] = {
    "clicks": (
        (Click, Forget, Merge),
        "Key: user_id. Interaction events, and wishes that a user be forgotten; anyone may produce them.",
    ),
    "items": ((Item | None,), "Key: item_id. The catalogue; null, or available=false, withdraws the item."),
    "scenarios": (
        (Rules | None,),
        "Key: the scenario's name. The rules of its lists; null, and it has none any more.",
    ),
    "requests": (
        (Request,),
        "Key: user_id, or request_id where there is none. Asks for a list without a click.",
    ),
    "recommendations": (
        (Recommendation,),
        "Key: user_id, or request_id for a stranger. One list for each click of interest or request.",
    ),
    "releases": ((ReleaseRecord,), "Key: release. The role of a release and the decision behind it."),
    "figures": ((FiguresRecord,), "Key: the process. What each process says of itself, once a second."),
    "keys": ((KeyRecord | None,), "Key: the key's name. Who may ask over HTTP; null, and it is revoked."),
}


def document() -> dict[str, Any]:
    """The whole contract: an object with one property for each topic, whose value is a record's value."""
    schemas, definitions = msgspec.json.schema_components(
        [kind for kinds, _ in TOPICS.values() for kind in kinds], ref_template="#/$defs/{name}"
    )
    definitions["Click"].update(_WHAT_CLICKS_ARE_ON)
    del definitions["Click"]["properties"]["item_id"]["default"]
    following = iter(schemas)
    properties = {
        topic: {"description": text, **_any_of([next(following) for _ in kinds])}
        for topic, (kinds, text) in TOPICS.items()
    }
    return {
        "$schema": DIALECT,
        "title": "Nextclick wire contract",
        "description": "Values of the records of each topic: UTF-8 JSON, times in Unix milliseconds, ids of "
        "1 to 256 bytes. Unknown fields are ignored.",
        "version": VERSION,
        "type": "object",
        "properties": properties,
        "$defs": definitions,
    }


def _any_of(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def of_topic(topic: str) -> dict[str, Any]:
    """The schema of one topic's records, complete in itself. Raises KeyError for another topic."""
    whole = document()
    return {
        "$schema": DIALECT,
        "title": f"Nextclick {topic}",
        "version": VERSION,
        **whole["properties"][topic],
        "$defs": whole["$defs"],
    }
