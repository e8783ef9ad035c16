"""Spans for an OpenTelemetry collector: which traces are kept, and how spans leave this process.

Owns OpenTelemetry's SDK, which is imported where the setting `otlp_endpoint` is given and nowhere else. Spans
wait in a queue of bounded length for a thread that sends them; where the collector is away the oldest are
dropped, and nobody waits. Knows no stage of anything.
"""

import os
import random
import socket
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import structlog

from streams.figures.traceparent import Parent, written
from streams.settings import Settings, SettingsError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

log = structlog.get_logger()

QUEUED_SPANS = 4096  # some 8 MB
_BATCH_SPANS = 512
_EVERY_MS = 1_000
_SEND_SECONDS = 5
_LAST_SECONDS = 2.0  # that the end of a process waits for the last spans
_PATH = "/v1/traces"

Kind = Literal["internal", "server", "consumer", "producer"]
Attributes = Mapping[str, str | int | bool]
_NOTHING: Attributes = {}


def open_tracer(settings: Settings, process: str, instance: str = "") -> "Tracer | None":
    """What makes this process's spans; None where no collector is set. Raises SettingsError.

    `instance` tells processes of the kind apart; by default its machine and number do.
    """
    if settings.otlp_endpoint is None:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON
    except ImportError as error:
        raise SettingsError(
            f"otlp_endpoint: traces need the extra `otel` ({error.name} is missing): "
            "pip install 'nextclick[otel]'"
        ) from None
    address = settings.otlp_endpoint.rstrip("/")
    exporter = OTLPSpanExporter(
        address if address.endswith(_PATH) else address + _PATH, timeout=_SEND_SECONDS
    )
    told = {
        "service.name": f"nextclick-{process}",
        "service.namespace": settings.prefix.rstrip("."),
        "service.instance.id": instance or f"{socket.gethostname()}-{os.getpid()}",
    }
    provider = TracerProvider(ALWAYS_ON, Resource.create(told), shutdown_on_exit=False)  # `keeps` has chosen
    provider.add_span_processor(
        BatchSpanProcessor(
            exporter, max_queue_size=QUEUED_SPANS, schedule_delay_millis=_EVERY_MS,
            max_export_batch_size=_BATCH_SPANS,
        )
    )  # fmt: skip
    log.info("traces", process=process, collector=address, share=settings.trace_share)
    return Tracer(provider, exporter, settings.trace_share)


class Tracer:
    """Makes spans. `share`: of the traces that begin here, how many are kept."""

    def __init__(self, provider: "TracerProvider", exporter: "SpanExporter", share: float) -> None:
        from opentelemetry import trace

        self._trace = trace
        self._kinds: dict[Kind, trace.SpanKind] = {
            "internal": trace.SpanKind.INTERNAL, "server": trace.SpanKind.SERVER,
            "consumer": trace.SpanKind.CONSUMER, "producer": trace.SpanKind.PRODUCER,
        }  # fmt: skip
        self._provider, self._exporter = provider, exporter
        self._tracer = provider.get_tracer("nextclick")
        self._share = share
        self._draw = random.Random()

    def keeps(self, parent: Parent | None) -> bool:
        """Whether what happens now is traced: as its parent says; without one it is drawn."""
        return self._draw.random() < self._share if parent is None else parent.sampled

    def begin(
        self, name: str, kind: Kind, parent: "Parent | Span | None", start_ns: int,
        attributes: Attributes = _NOTHING,
    ) -> "Span":  # fmt: skip
        """A span that began at this Unix time; without a parent a trace begins with it."""
        if isinstance(parent, Parent):
            context = self._trace.SpanContext(
                parent.trace_id, parent.span_id, is_remote=True, trace_flags=self._trace.TraceFlags(1)
            )
            parent = self._trace.NonRecordingSpan(context)
        within = self._trace.set_span_in_context(parent or self._trace.INVALID_SPAN)
        return self._tracer.start_span(name, within, self._kinds[kind], dict(attributes), start_time=start_ns)

    def passed(
        self, name: str, kind: Kind, parent: "Parent | Span | None", start_ns: int, end_ns: int,
        attributes: Attributes = _NOTHING,
    ) -> None:  # fmt: skip
        """A span of what is over."""
        self.begin(name, kind, parent, start_ns, attributes).end(end_ns)

    def dropped(self) -> bytes:
        """The header of a trace that is not kept, so that whoever reads it draws no second time."""
        return written(Parent(self._draw.getrandbits(128) | 1, self._draw.getrandbits(64) | 1, False))

    def close(self) -> None:
        """Sends what waits, for a moment at most."""
        ending = threading.Thread(target=self._provider.shutdown, daemon=True, name="last-spans")
        ending.start()
        ending.join(_LAST_SECONDS)
        if ending.is_alive():  # else it would try for half a minute
            self._exporter.shutdown()


def header_of(span: "Span") -> bytes:
    """The header by which the next process goes on from a span."""
    context = span.get_span_context()
    return written(Parent(context.trace_id, context.span_id, bool(context.trace_flags)))
