"""The published schema: valid itself, takes the contract's own examples, and refuses what workers refuse."""

import copy
from typing import Any

import jsonschema
import msgspec
import pytest

from streams.wire import contract, schema

EXAMPLES: dict[str, Any] = {
    "clicks": {
        "event_id": "c-81", "user_id": "u1", "item_id": "i9", "event": "click", "timestamp": 1763856000000,
        "value": 4.0, "scenario": "home", "recommendation_id": "c-3-1208", "position": 2,
    },
    "items": {
        "item_id": "i9", "title": "…", "description": "…", "categories": ["…"], "tags": ["…"], "image": "…",
        "attributes": {"brand": "…"}, "available": True, "published_at": 1763856000000,
    },
    "scenarios": {
        "scenario": "cart", "k": 6, "policy": "cart-rules-3", "filter": {"field": "price", "lt": 50},
        "boost": [{"filter": {"field": "brand", "eq": "Own"}, "factor": 1.5}],
        "caps": [{"field": "categories", "most": 2}], "pin": [{"item_id": "i9", "position": 1}],
        "block": ["i4"], "shown_cap": {"times": 3, "hours": 24}, "consumed": "back", "fill": ["popular"],
    },
    "requests": {"request_id": "q1", "user_id": "u1", "k": 5, "query": "a funny film", "exclude": ["i9"]},
    "recommendations": {
        "recommendation_id": "c-3-1208", "user_id": "u1",
        "trigger": {"kind": "click", "id": "c-81", "timestamp": 1763856000000},
        "items": [{"item_id": "i4", "score": 2.31, "source": "ann",
                   "reason": {"kind": "because_clicked", "items": ["i9"]}, "propensity": 1.0}],
        "release": "r-20261123-0412", "policy": "default", "scenario": "home", "created_at": 1763856000004,
    },
    "releases": {
        "release": "r-1", "url": "/releases/r-1", "sha256": "0" * 64, "role": "live", "decision": "promote",
        "reason": "first", "at": 1763856000000,
    },
    "figures": {
        "process": "worker", "host": "h", "pid": 1, "started": 1763856000000, "seq": 0, "version": "1",
        "counters": {"clicks": 1}, "histograms": {"freshness_ms": {"le": [5, 7.5], "n": [1, 1, 2]}},
    },
    "keys": {"name": "shop", "scope": "read", "sha256": "0" * 64, "created_at": 1763856000000},
}  # fmt: skip
DECODERS = {
    "clicks": contract.decode_click, "items": contract.decode_item, "requests": contract.decode_request,
    "releases": contract.decode_release, "keys": contract.decode_key,
}  # fmt: skip


def test_a_wish_to_be_forgotten_passes_among_clicks() -> None:
    assert _problems("clicks", {"user_id": "u1", "event": "forget"}) == []
    assert _problems("clicks", {"user_id": "u1", "event": "click"})


def _problems(topic: str, value: Any) -> list[str]:
    validator = jsonschema.Draft202012Validator(schema.of_topic(topic))
    return [error.message for error in validator.iter_errors(value)]


def test_the_documents_are_schemas() -> None:
    for document in (schema.document(), *map(schema.of_topic, schema.TOPICS)):
        jsonschema.Draft202012Validator.check_schema(document)


@pytest.mark.parametrize("topic", schema.TOPICS)
def test_examples_pass_alone_and_in_the_whole_document(topic: str) -> None:
    assert _problems(topic, EXAMPLES[topic]) == []
    jsonschema.validate(EXAMPLES, schema.document())


@pytest.mark.parametrize("topic", [topic for topic in schema.TOPICS if topic != "scenarios"])
def test_unknown_fields_pass(topic: str) -> None:
    assert _problems(topic, EXAMPLES[topic] | {"shoe_size": 43}) == []


def test_a_rule_that_is_misspelt_does_not_pass() -> None:
    assert _problems("scenarios", EXAMPLES["scenarios"] | {"blocked": ["i5"]})
    assert _problems("requests", EXAMPLES["requests"] | {"rules": {"blocked": ["i5"]}})


def test_a_tombstone_passes_where_it_means_something() -> None:
    assert _problems("items", None) == []
    assert _problems("scenarios", None) == []
    assert _problems("clicks", None) != []


@pytest.mark.parametrize("topic", DECODERS)
def test_what_the_schema_takes_is_read_and_what_is_read_beside_it_is_then_of_the_schema(topic: str) -> None:
    example = EXAMPLES[topic]
    changes: list[Any] = [{}, [], "text", 3]
    for field in example:
        changes.append({name: value for name, value in example.items() if name != field})
        for wrong in (None, 5, "", "x" * 300, -1, [1], {"a": 1}):
            changed = copy.deepcopy(example)
            changed[field] = wrong
            changes.append(changed)
    for change in changes:
        try:
            message = DECODERS[topic](msgspec.json.encode(change))
        except msgspec.DecodeError:
            assert _problems(topic, change), change
        else:  # a number for an id, say, is taken as its text
            assert _problems(topic, msgspec.to_builtins(message)) == [], change


def test_an_impression_may_name_a_list_and_nothing_else_may() -> None:
    seen = {"event_id": "e", "user_id": "u", "event": "impression", "timestamp": 1, "items": ["a", "b"]}
    assert _problems("clicks", seen) == []
    assert _problems("clicks", EXAMPLES["clicks"] | {"undo": True}) == []
    for wrong in (
        seen | {"items": []}, seen | {"event": "view"}, seen | {"undo": True},
        {name: value for name, value in seen.items() if name != "items"},
        EXAMPLES["clicks"] | {"items": ["a"]},
    ):  # fmt: skip
        assert _problems("clicks", wrong), wrong
        with pytest.raises(msgspec.ValidationError):
            contract.decode_click(msgspec.json.encode(wrong))
