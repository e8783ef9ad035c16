"""What makes spans: it is not there without its setting, keeps what is to be kept, and holds nobody up."""

import socket
import subprocess
import sys
import threading

import pytest

from streams.figures.traceparent import Parent, parent_of
from streams.figures.tracer import QUEUED_SPANS, open_tracer
from streams.settings import Settings, SettingsError, load_settings
from tests.worlds.collector import collecting

OFF = """
import sys
from streams.figures.tracer import open_tracer
from streams.settings import Settings
from streams.api.tracing import Traces
assert open_tracer(Settings(), "worker") is None
assert Traces(None).around(print) is print and Traces(None).of_lists(print) is print
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""


def test_without_a_collector_nothing_of_it_is_imported_or_wrapped() -> None:
    said = subprocess.run([sys.executable, "-c", OFF], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"


def test_spans_reach_a_collector_with_what_it_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20sesame")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")  # somebody else's; ours is the setting
    with collecting() as collector:
        tracer = open_tracer(Settings(otlp_endpoint=collector.url, prefix="shop."), "worker", "w0")
        assert tracer is not None
        parent = Parent(7, 9, True)
        whole = tracer.begin("whole", "consumer", parent, 1_000, {"n": 3})
        tracer.passed("part", "internal", whole, 1_500, 1_700)
        whole.end(2_000)
        tracer.close()
        spans = collector.of(f"{7:032x}")
    assert collector.headers["authorization"] == "Bearer sesame"
    assert b"sesame" not in collector.raw
    assert {span.service for span in spans.values()} == {"nextclick-worker"}
    assert (spans["whole"].parent, spans["whole"].kind) == (f"{9:016x}", "SPAN_KIND_CONSUMER")
    assert (spans["whole"].begun_ns, spans["whole"].ended_ns, spans["whole"].told) == (1_000, 2_000, {"n": 3})
    assert (spans["part"].parent, spans["part"].begun_ns) == (spans["whole"].id, 1_500)


def test_a_parent_decides_and_without_one_the_share() -> None:
    with collecting() as collector:
        tracer = open_tracer(Settings(otlp_endpoint=collector.url, trace_share=0.25), "worker")
        assert tracer is not None
        assert all(tracer.keeps(Parent(1, 1, sampled)) is sampled for sampled in (True, False))
        kept = sum(tracer.keeps(None) for _ in range(10_000))
        assert 2_200 < kept < 2_800
        dropped = parent_of(tracer.dropped())
        assert dropped is not None
        assert not tracer.keeps(dropped)
        tracer.close()


def test_a_collector_that_does_not_answer_holds_nobody_up_and_fills_no_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streams.figures.tracer._SEND_SECONDS", 600)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and says nothing
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        tracer = open_tracer(Settings(otlp_endpoint=endpoint), "worker")
        assert tracer is not None
        made = QUEUED_SPANS + 2_000
        for number in range(made):
            tracer.passed("part", "internal", None, number, number)
        processor = tracer._provider._active_span_processor._span_processors[0]
        queue = processor._batch_processor._queue  # type: ignore[attr-defined]
        assert queue[0].start_time == made - 1
        assert queue[-1].start_time >= made - QUEUED_SPANS  # the oldest are gone
        tracer.close()
        ending = next(each for each in threading.enumerate() if each.name == "last-spans")
        assert ending.is_alive()  # it goes on trying, and nobody has waited for it
    worker = processor._batch_processor._worker_thread  # type: ignore[attr-defined]
    worker.join(90)
    assert not worker.is_alive()


def test_a_missing_extra_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("opentelemetry")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter", None)
    with pytest.raises(SettingsError, match=r"the extra `otel` .*pip install 'nextclick\[otel\]'"):
        open_tracer(Settings(otlp_endpoint="http://127.0.0.1:4318"), "worker")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("collector:4318", "expected http://HOST:PORT"),
        ("http://", "expected http://HOST:PORT"),
        ("grpc://collector:4317", "expected http://HOST:PORT"),
        ("http://me:sesame@collector:4318", "OTEL_EXPORTER_OTLP_HEADERS"),
        ("http://collector:4318/?key=1", "OTEL_EXPORTER_OTLP_HEADERS"),
    ],
)
def test_addresses_that_cannot_be_or_hold_a_secret_are_refused(given: str, said: str) -> None:
    with pytest.raises(SettingsError, match="otlp_endpoint") as refused:
        load_settings(otlp_endpoint=given)
    assert said in str(refused.value)
    assert "sesame" not in str(refused.value)
