"""An OpenTelemetry collector of one's own: takes OTLP over HTTP as any does, and keeps the spans."""

import gzip
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True)
class Seen:
    """A span as it came. kind: OTLP's word, such as SPAN_KIND_SERVER; service: who made it."""

    name: str
    service: str
    trace: str
    id: str
    parent: str
    kind: str
    begun_ns: int
    ended_ns: int
    told: dict[str, Any]


@dataclass
class Collector:
    """url: what `otlp_endpoint` is set to; headers: of the last export"""

    url: str = ""
    spans: list[Seen] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes = b""

    def of(self, trace: str) -> dict[str, Seen]:
        """The spans of a trace that have come so far, by their names."""
        return {span.name: span for span in self.spans if span.trace == trace}

    def wait_for(self, trace: str, names: set[str], seconds: float = 90) -> dict[str, Seen]:
        """Waits until all of these have come."""
        until = time.monotonic() + seconds
        while not names <= self.of(trace).keys():
            assert time.monotonic() < until, (
                f"came: {sorted(self.of(trace))}, missing: {names - {*self.of(trace)}}"
            )
            time.sleep(0.05)
        return self.of(trace)

    def take(self, body: bytes) -> None:
        """An export."""
        request = ExportTraceServiceRequest.FromString(body)
        self.raw += body
        for resource in request.resource_spans:
            of = {each.key: each.value.string_value for each in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    values = {each.key: each.value for each in span.attributes}
                    self.spans.append(
                        Seen(
                            span.name, of["service.name"], span.trace_id.hex(), span.span_id.hex(),
                            span.parent_span_id.hex(), span.SpanKind.Name(span.kind),
                            span.start_time_unix_nano, span.end_time_unix_nano,
                            {key: getattr(value, value.WhichOneof("value")) for key, value in values.items()},
                        )
                    )  # fmt: skip


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that listens on this machine."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            body = self.rfile.read(int(self.headers["content-length"]))
            collector.headers = {name.lower(): value for name, value in self.headers.items()}
            collector.take(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield collector
        finally:
            server.shutdown()
