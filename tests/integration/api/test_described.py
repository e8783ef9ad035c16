"""The OpenAPI description is true: whatever it allows is answered as it says, by a real system, without 5xx.

Short in `make test`, where the cases are the same each time; the drill asks for many more.
"""

from typing import Any

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from streams.api.app import HANDLERS, routes_of
from streams.api.openapi import document

DESCRIPTION = msgspec.to_builtins(document(list(routes_of(HANDLERS))))
STREAMS = ("/stream",)  # they do not end; tests/unit/streams/api/test_streams.py has what they say
OPERATIONS = [
    (method.upper(), path)
    for path, methods in DESCRIPTION["paths"].items()
    for method in methods
    if not path.endswith(STREAMS)
]
PATIENT_MS = 60_000  # a slow machine must not be taken for workers that are away

load_all_checks()
CHECKED = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    ]
)


@schemathesis.serializer("application/x-ndjson")
def lines(_context: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


@pytest.fixture(scope="module")
def schema(over_http: Any) -> Any:
    """As the system tells it."""
    read = schemathesis.openapi.from_url(over_http.url + "/openapi.json")
    assert read.raw_schema["paths"].keys() == DESCRIPTION["paths"].keys()
    return read


def patient(case: Any) -> Any:
    """The case, with as much time as the machine may need."""
    for some in (case.query, case.body):
        if isinstance(some, dict) and "timeout_ms" in some:
            some["timeout_ms"] = PATIENT_MS
    rows = case.body.get("requests") if isinstance(case.body, dict) else None
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict) and "timeout_ms" in row:
            row["timeout_ms"] = PATIENT_MS
    return case


def ask(schema: Any, method: str, path: str, mode: GenerationMode, count: int, derandomize: bool) -> None:
    operation = schema[path][method]
    if mode is GenerationMode.NEGATIVE and not (
        operation.body or operation.query or operation.path_parameters
    ):
        return  # nothing can be wrong

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=count, derandomize=derandomize, deadline=None, database=None,
        suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate],
    )  # fmt: skip
    def each(case: Any) -> None:
        patient(case).call_and_validate(checks=CHECKED, timeout=90)

    each()


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_whatever_is_sent_the_answer_is_one_of_those_described(schema: Any, method: str, path: str) -> None:
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        ask(schema, method, path, mode, 3, derandomize=True)


def examples() -> list[tuple[str, str, Any]]:
    """Method, path and body of each example, in an order in which each can succeed."""
    found = []
    for method, path in OPERATIONS:
        body = DESCRIPTION["paths"][path][method.lower()].get("requestBody", {})
        for content in body.get("content", {}).values():
            if "example" in content:
                found.append((method, path, content["example"]))
    # The live release is pinned, let go, taken back and promoted again; an item is changed once it is there.
    actions = ("pin", "unpin", "rollback", "promote")
    at = {f"/v1/releases/{{release}}/{name}": n for n, name in enumerate(actions)}
    return sorted(found, key=lambda each: (at.get(each[1], -1), each[0] == "PATCH"))


def test_every_example_succeeds(schema: Any, over_http: Any) -> None:
    done = []
    for method, path, body in examples():
        named = {"user_id": "example", "item_id": "example", "name": "example", "release": over_http.live}
        wanted = {name: value for name, value in named.items() if f"{{{name}}}" in path}
        case = schema[path][method].Case(
            path_parameters=wanted, body=body, media_type="application/json", headers={}
        )
        answered = case.call_and_validate(checks=CHECKED, timeout=90)
        assert answered.status_code < 300, (method, path, answered.text)
        done.append(path)
    assert len(done) >= 12
    with_body = {
        path for method, path in OPERATIONS if "requestBody" in DESCRIPTION["paths"][path][method.lower()]
    }
    assert with_body == set(done)


@pytest.mark.drill
def test_the_same_with_many_more(schema: Any) -> None:
    for method, path in OPERATIONS:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            ask(schema, method, path, mode, 40, derandomize=False)
