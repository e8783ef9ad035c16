"""The OpenAPI description is true: whatever it allows is answered as it says, by a real system, without 5xx.

Short in `make test`, where the cases are the same each time; the drill asks for many more.
"""

from typing import Any

import httpx
import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core import NOT_SET

from streams.api.app import HANDLERS, routes_of
from streams.api.examples import PARAMETERS
from streams.api.openapi import document

DESCRIPTION = msgspec.to_builtins(document(list(routes_of(HANDLERS))))
STREAMS = ("/stream",)  # they do not end; tests/unit/streams/api/test_streams.py has what they say
EVERYTHING = [(method.upper(), path) for path, methods in DESCRIPTION["paths"].items() for method in methods]
OPERATIONS = [each for each in EVERYTHING if not each[1].endswith(STREAMS)]
STREAMED = [each for each in EVERYTHING if each[1].endswith(STREAMS)]
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


def examples() -> list[tuple[str, str, dict[str, Any], Any]]:
    """Method, path, parameters and body: all examples that the description has, each query parameter alone.

    In an order in which each can succeed: things are put before they are read, and taken away at the end; the
    live release is pinned, let go, taken back and promoted again.
    """
    found = []
    for method, path in OPERATIONS + STREAMED:
        said = DESCRIPTION["paths"][path][method.lower()]
        content = said.get("requestBody", {}).get("content", {})
        body = content.get("application/json", {}).get("example", NOT_SET)
        needed = {each["name"]: each["example"] for each in said["parameters"] if each["required"]}
        asked = [{each["name"]: each["example"]} for each in said["parameters"] if not each["required"]]
        found += [(method, path, needed | more, body) for more in ({}, *asked)]
    methods = ("PUT", "PATCH", "POST", "GET", "DELETE")
    actions = ("/pin", "/unpin", "/rollback", "/promote")
    return sorted(
        found,
        key=lambda each: (
            methods.index(each[0]), next((n for n, name in enumerate(actions) if each[1].endswith(name)), -1)
        ),
    )  # fmt: skip


def test_every_example_succeeds(schema: Any, over_http: Any) -> None:
    assert over_http.live == PARAMETERS["release"]
    for method, path, named, body in examples():
        in_path = {name: value for name, value in named.items() if f"{{{name}}}" in path}
        query = {name: value for name, value in named.items() if name not in in_path}
        if path.endswith(STREAMS):
            where = over_http.url + path.format(**in_path)
            with httpx.stream(method, where, params=query, timeout=90) as stream:
                assert stream.status_code == 200, (path, named)
                assert next(stream.iter_lines()).startswith("retry: ")
            continue
        case = patient(
            schema[path][method].Case(
                path_parameters=in_path, query=query, body=body, media_type="application/json", headers={}
            )
        )
        answered = case.call_and_validate(checks=CHECKED, timeout=90)
        assert answered.status_code < 300, (method, path, named, answered.text)


def test_nothing_is_without_an_example() -> None:
    for method, path in OPERATIONS:
        content = DESCRIPTION["paths"][path][method.lower()].get("requestBody", {}).get("content", {})
        assert not content or "example" in content["application/json"], (method, path)
    assert len(examples()) > 70


@pytest.mark.drill
def test_the_same_with_many_more(schema: Any) -> None:
    for method, path in OPERATIONS:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            ask(schema, method, path, mode, 40, derandomize=False)
