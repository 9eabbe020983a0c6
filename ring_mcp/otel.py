"""OpenTelemetry: spans and metrics of this process, sent by OTLP to where OTEL_EXPORTER_OTLP_ENDPOINT points.

Needs the extra ``[otel]``, and is imported where that address is set. What leaves is let through by name: a fact that
is not in SPAN_FACTS, a status text or the text of an exception stays here, whoever put it on a span.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import NonRecordingSpan, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ring_mcp import __version__
from ring_mcp.metrics import METRICS, Labels, Metric, Sample
from ring_mcp.telemetry import Facts, Span

SPAN_FACTS = frozenset(
    {
        *("mcp.method.name", "mcp.protocol.version", "jsonrpc.request.id", "rpc.response.status_code", "error.type"),
        *("gen_ai.operation.name", "gen_ai.tool.name", "gen_ai.prompt.name", "gen_ai.provider.name"),
        *("gen_ai.request.model", "gen_ai.response.model", "gen_ai.output.type"),
        *("gen_ai.usage.cost.amount", "gen_ai.usage.cost.currency", "gen_ai.usage.cost.source"),
        *("http.request.method", "http.route", "http.response.status_code", "network.transport"),
        *("ring_mcp.job.id", "ring_mcp.job.kind", "ring_mcp.job.state", "ring_mcp.job.progress"),
        *("ring_mcp.job.reserved_usd", "ring_mcp.sandbox"),
    }
)
"""What may stand on a span that leaves."""

_MAX_CHARS = 100
_W3C = TraceContextTextMapPropagator()
_SCOPE = "ring_mcp"


def read_parent(parent: str) -> context.Context | None:
    """The context of a ``traceparent``; None where it is none."""
    # Onto an empty context: otherwise the span that is under way here would pass for the one of an unsound header.
    found = _W3C.extract({"traceparent": parent}, context.Context())
    return found if trace.get_current_span(found).get_span_context().is_valid else None


class OtelTracer:
    """``telemetry.Tracer`` over OpenTelemetry's."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    @contextlib.contextmanager
    def span(self, name: str, facts: Facts, parent: str | None, *, is_served: bool) -> Iterator[Span]:
        started = self._tracer.start_span(
            name,
            read_parent(parent) if parent else None,
            kind=SpanKind.SERVER if is_served else SpanKind.INTERNAL,
            attributes={key: value for key, value in facts.items() if value is not None},
        )
        try:
            # Both off: an exception's text may hold a prompt or an address, and the SDK would write it on the span.
            with trace.use_span(started, record_exception=False, set_status_on_exception=False):
                yield _OtelSpan(started)
        except BaseException as exc:
            started.set_attribute("error.type", getattr(exc, "code", None) or type(exc).__name__)
            started.set_status(Status(StatusCode.ERROR))
            raise
        finally:
            started.end()

    def current(self) -> str | None:
        carrier: dict[str, str] = {}
        _W3C.inject(carrier)
        return carrier.get("traceparent")

    def join(self, parent: str) -> None:
        found = read_parent(parent)
        if found is not None:  # the span alone: nothing else of what a stranger sends is carried on
            context.attach(
                trace.set_span_in_context(NonRecordingSpan(trace.get_current_span(found).get_span_context()))
            )


class _OtelSpan:
    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def note(self, facts: Facts) -> None:
        for key, value in facts.items():
            if value is not None:
                self._span.set_attribute(key, value)
        if facts.get("error.type") is not None:
            self._span.set_status(Status(StatusCode.ERROR))


class NamedFactsOnly(SpanExporter):
    """Hands spans on with the facts of SPAN_FACTS and nothing else that a text could stand in."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._exporter.export([_strip(span) for span in spans])

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _strip(span: ReadableSpan) -> ReadableSpan:
    # At the exporter, the last step: spans of the MCP SDK come this way, too, and nobody here has filled them.
    kept = {
        name: value[:_MAX_CHARS] if isinstance(value, str) else value
        for name, value in (span.attributes or {}).items()
        if name in SPAN_FACTS and isinstance(value, str | bool | int | float)
    }
    return ReadableSpan(
        name=span.name[:_MAX_CHARS],
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=kept,
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


class Exporting:
    """Both exporters. ``read_gauges`` is asked for the gauges as they are, from a thread of the SDK, whenever metrics
    are sent; ``headers`` None: those of OTEL_EXPORTER_OTLP_HEADERS."""

    def __init__(
        self,
        endpoint: str,
        headers: Mapping[str, str] | None,
        *,
        role: str,
        instance: str,
        every_s: float,
        read_gauges: Callable[[], Iterable[Sample]],
    ) -> None:
        resource = Resource.create(
            {
                "service.name": "ring-mcp",
                "service.version": __version__,
                "service.instance.id": instance,
                "ring_mcp.role": role,
            }
        )
        base = endpoint.rstrip("/")
        spans = OTLPSpanExporter(endpoint=f"{base}/v1/traces", headers=dict(headers) if headers else None)
        # Without the SDK's exit handlers: `close` ends both in a few seconds, and the SDK's own limits are longer.
        self._traces = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._traces.add_span_processor(BatchSpanProcessor(NamedFactsOnly(spans)))
        measured = OTLPMetricExporter(endpoint=f"{base}/v1/metrics", headers=dict(headers) if headers else None)
        reader = PeriodicExportingMetricReader(measured, export_interval_millis=every_s * 1000)
        self._metrics = MeterProvider(metric_readers=[reader], resource=resource, shutdown_on_exit=False)
        self._read_gauges = read_gauges
        self._instruments = self._make_instruments()
        self.tracer = OtelTracer(self._traces.get_tracer(_SCOPE, __version__))

    def serve_library_spans(self) -> None:
        """Have the spans that the MCP SDK makes of each request sent as well. For good, in this process."""
        trace.set_tracer_provider(self._traces)

    def measure(self, metric: Metric, labels: Labels, amount: float) -> None:
        """The sink of a ``metrics.Registry``."""
        instrument = self._instruments[metric]
        facts = {name: value for name, value in zip(metric.labels, labels, strict=True) if value}
        if metric.kind == "histogram":
            instrument.record(amount, facts)
        else:
            instrument.add(amount, facts)

    def close(self) -> None:
        """Send what is left, and end. Blocks for as long as the receiver takes, a few seconds at most."""
        self._traces.force_flush(2000)
        with contextlib.suppress(Exception):  # the SDK raises what its readers met
            self._metrics.shutdown(3000)
        self._traces.shutdown()

    def _make_instruments(self) -> dict[Metric, Any]:
        meter = self._metrics.get_meter(_SCOPE, __version__)
        made: dict[Metric, Any] = {}
        for metric in METRICS:
            about: dict[str, Any] = {"unit": metric.unit, "description": metric.help}
            if metric.kind == "counter":
                made[metric] = meter.create_counter(metric.name, **about)
            elif metric.kind == "histogram":
                made[metric] = meter.create_histogram(
                    metric.name, **about, explicit_bucket_boundaries_advisory=metric.bounds
                )
            else:
                made[metric] = meter.create_observable_gauge(metric.name, [self._observe(metric)], **about)
        return made

    def _observe(self, metric: Metric) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            for each, labels, value in self._read_gauges():
                if each is metric:
                    yield Observation(value, cast("Any", dict(zip(metric.labels, labels, strict=True))))

        return observe
