"""A click through the stages as a collector sees it: real broker, worker, api and OpenTelemetry exporter."""

import itertools
import json
import urllib.request
from typing import Any

import pytest

from tests.worlds.collector import Seen, collecting
from tests.worlds.over_http import listening
from tests.worlds.system import START_MS, ready

STAGES = {"decode", "wait", "state update", "candidates", "features", "ranking", "places"}
OF_WORKER = {"answer click", "publish", *STAGES}
BY_HTTP, BY_KAFKA, UNSAMPLED = "a" * 32, "b" * 32, "c" * 32


def header(trace: str, flags: str = "01") -> str:
    return f"00-{trace}-b7ad6b7169203331-{flags}"


def post(url: str, body: Any, **headers: str) -> None:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"content-type": "application/json", **headers}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 202


def in_order(spans: dict[str, Seen]) -> None:
    """What the worker has done with a click: each stage within the whole, one after the other."""
    whole, publish = spans["answer click"], spans["publish"]
    assert {spans[name].parent for name in STAGES | {"publish"}} == {whole.id}
    order = ["decode", "wait", "state update", "candidates", "features", "ranking", "places"]
    for before, after in itertools.pairwise(order):
        assert spans[before].ended_ns == spans[after].begun_ns, (before, after)
    assert whole.begun_ns == spans["decode"].begun_ns
    assert spans["places"].ended_ns == publish.begun_ns
    assert publish.ended_ns == whole.ended_ns
    assert whole.told["messaging.destination.name"].endswith("clicks")
    assert whole.told["nextclick.fate"] == "done"


@pytest.mark.drill
def test_a_click_is_followed_from_whoever_sends_it_to_the_list_that_can_be_read(system: Any) -> None:
    user = "somebody-with-a-name"
    click = {"user_id": user, "item_id": "50", "event": "click", "timestamp": START_MS}
    with collecting() as collector:
        where = {"NEXTCLICK_OTLP_ENDPOINT": collector.url, "NEXTCLICK_TRACE_SHARE": "0"}
        system.start("worker", env=where)
        ready(system)
        url = listening(system, env=where)
        post(url + "/v1/clicks", click)  # of a share of 0
        post(url + "/v1/clicks", click | {"item_id": "56"}, traceparent=header(UNSAMPLED, "00"))
        post(url + "/v1/clicks", click | {"item_id": "100"}, traceparent=header(BY_HTTP))
        spans = collector.wait_for(BY_HTTP, {"POST /v1/clicks", "take list", *OF_WORKER})
        system.send(
            "clicks",
            user,
            click | {"event_id": "by-kafka"},
            headers=[("traceparent", header(BY_KAFKA).encode())],
        )
        direct = collector.wait_for(BY_KAFKA, {"take list", *OF_WORKER})
        assert system.stop("api") == 0
        assert system.stop("worker") == 0
    intake = spans["POST /v1/clicks"]
    assert (intake.parent, intake.kind, intake.service) == (
        "b7ad6b7169203331", "SPAN_KIND_SERVER", "nextclick-api",
    )  # fmt: skip
    assert intake.told["http.response.status_code"] == 202
    assert spans["answer click"].parent == intake.id
    assert direct["answer click"].parent == "b7ad6b7169203331"
    for each in (spans, direct):
        in_order(each)
        taken = each["take list"]
        assert (taken.parent, taken.service) == (each["publish"].id, "nextclick-api")
        assert each["answer click"].service == "nextclick-worker"
    lists = {
        dict(record.headers).get("traceparent", b"").decode()[:35]
        for record in system.read("recommendations")
    }
    assert lists == {"", f"00-{BY_HTTP}", f"00-{BY_KAFKA}"}
    assert {span.trace for span in collector.spans} == {BY_HTTP, BY_KAFKA}
    assert user.encode() not in collector.raw
