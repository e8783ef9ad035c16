"""The process and its description: addresses, what is at which path, OpenAPI of the same types."""

import os
import re
import resource
from typing import Any

import jsonschema
import pytest
from litestar.testing import TestClient

from streams.api.app import HANDLERS, make_app, routes_of
from streams.api.parts import Parts
from streams.api.process import Refused, check_reach, listening, many_files
from streams.settings import load_settings
from streams.transport.key_table import KeyTable
from streams.wire.keys import made
from tests.worlds.places import ROOT


@pytest.fixture
def client(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    parts = Parts(load_settings(prefix="t.", data_dir=tmp_path))
    monkeypatch.setattr(parts.brokers, "start", lambda: None)
    with TestClient(make_app(parts), raise_server_exceptions=False) as client:
        yield client


def test_an_address_that_others_can_reach_is_refused_without_keys() -> None:
    keys = KeyTable()
    for host in ("0.0.0.0", "::", "192.0.2.7", "example.com"):
        with pytest.raises(Refused, match=r"no keys; .*`nextclick keys add") as refused:
            check_reach(load_settings(api_host=host), lambda _: keys)
        assert refused.value.exit_code == os.EX_CONFIG
        assert "\n" not in str(refused.value)
    expired = made("old", "read", [], 1, 2).record
    keys.by_name["old"] = expired
    with pytest.raises(Refused):
        check_reach(load_settings(api_host="0.0.0.0"), lambda _: keys)
    keys.by_name["new"] = made("new", "read", [], 1, None).record
    assert check_reach(load_settings(api_host="0.0.0.0"), lambda _: keys)
    assert not check_reach(load_settings(api_host="127.0.0.1"), lambda _: KeyTable())


def test_a_port_in_use_is_one_clear_line() -> None:
    with listening(load_settings(api_port=0)) as first, pytest.raises(Refused, match="--port"):
        listening(load_settings(api_port=first.getsockname()[1]))


def test_as_many_connections_as_the_system_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"now": (64, 4096)}
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits["now"])
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: limits.update(now=wanted))
    many_files()
    assert limits["now"] == (4096, 4096)


def test_health_and_where_the_description_is(client: Any) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json()["broker"] == "away"
    welcome = client.get("/").json()
    assert (welcome["docs"], welcome["running"]) == ("/docs", {})
    assert "/docs" in client.get("/", headers={"accept": "text/html"}).text
    assert "/v1/clicks" in client.get("/docs").text


def test_the_contract_names_every_path() -> None:
    page = (ROOT / "docs" / "contract.md").read_text()
    rows = re.search(r"\| method and path \| what \|\n(.*?)\n\n", page, re.S)
    assert rows is not None
    named, methods = set(), []
    asked = "\n".join(line.split("|")[1] for line in rows[1].splitlines())
    for method, path in re.findall(r"`([A-Z]+)(?: (/[^`]*))?`", asked):
        methods.append(method)
        if path:
            named |= {(path, each) for each in methods}
            methods = []
    bare = {("/openapi.json", "GET"), ("/docs", "GET")}
    assert named == {(each.path, each.method) for each in routes_of(HANDLERS)} | bare


def test_errors_of_paths_and_methods_are_problems(client: Any) -> None:
    for answer, status in ((client.get("/v2"), 404), (client.delete("/v1/clicks"), 405)):
        assert (answer.status_code, answer.json()["status"]) == (status, status)
        assert answer.headers["content-type"].startswith("application/problem+json")


def test_large_answers_are_packed_where_asked_for(client: Any) -> None:
    assert client.get("/openapi.json").headers.get("content-encoding") == "gzip"
    plain = client.get("/openapi.json", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers


def test_the_description_has_every_handler_and_its_examples_fit(client: Any) -> None:
    told = client.get("/openapi.json").json()
    assert told["openapi"] == "3.1.0"
    described = {(path, method) for path, each in told["paths"].items() for method in each}
    assert described == {(each.path, each.method.lower()) for each in routes_of(HANDLERS)}
    for path in told["paths"].values():
        for operation in path.values():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            if "example" in content:
                schema = {**content["schema"], "components": told["components"]}
                jsonschema.validate(content["example"], schema)
            for each in operation["parameters"]:
                schema = {**each["schema"], "components": told["components"]}
                jsonschema.validate(each["example"], schema)
    names = {
        each["name"] for each in told["paths"]["/v1/users/{user_id}/recommendations"]["get"]["parameters"]
    }
    assert {"user_id", "k", "next", "seen", "timeout_ms", "diversity"} <= names
