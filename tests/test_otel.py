"""Spans as they leave: facts are let through by name, and a stranger's trace is joined and nothing else of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Status, StatusCode

from ring_mcp import telemetry
from ring_mcp.errors import CapExceeded
from ring_mcp.otel import SPAN_FACTS, NamedFactsOnly, OtelTracer, read_parent

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"
PRIVATE = "a private prompt, https://files.example/signed?key=1"


@pytest.fixture
def sent() -> Iterator[InMemorySpanExporter]:
    """What leaves while this module traces."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(NamedFactsOnly(exporter)))
    with telemetry.trace(OtelTracer(provider.get_tracer("tests"))):
        yield exporter
    provider.shutdown()


def test_a_fact_without_a_name_on_the_list_stays_here(sent: InMemorySpanExporter) -> None:
    with telemetry.span("poll", {"ring_mcp.job.id": "1", "prompt": PRIVATE, "gen_ai.request.model": None}):
        inner = trace.get_current_span()
        inner.add_event("exception", {"exception.message": PRIVATE})
        inner.set_status(Status(StatusCode.ERROR, PRIVATE))
    [span] = sent.get_finished_spans()
    assert dict(span.attributes or {}) == {"ring_mcp.job.id": "1"}
    assert not span.events
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description is None


def test_a_long_text_is_cut(sent: InMemorySpanExporter) -> None:
    with telemetry.span("x" * 5000, {"gen_ai.request.model": "y" * 5000}):
        pass
    [span] = sent.get_finished_spans()
    assert len(span.name) == len(str((span.attributes or {})["gen_ai.request.model"])) == 100


def test_an_error_is_noted_by_its_code_alone(sent: InMemorySpanExporter) -> None:
    with pytest.raises(CapExceeded), telemetry.span("plan"):
        raise CapExceeded(PRIVATE)
    with pytest.raises(ZeroDivisionError), telemetry.span("plan"):
        raise ZeroDivisionError(PRIVATE)
    noted = [(span.attributes or {})["error.type"] for span in sent.get_finished_spans()]
    assert noted == [CapExceeded.code, "ZeroDivisionError"]
    assert all(PRIVATE not in span.to_json() for span in sent.get_finished_spans())


def test_a_span_of_a_row_joins_the_trace_that_stands_there(sent: InMemorySpanExporter) -> None:
    with telemetry.span("tools/call"):
        with telemetry.span("poll", parent=PARENT):
            kept = telemetry.current_trace_parent()
        with telemetry.span("poll", parent="no trace at all"):
            pass
    joined, unjoined, call = sent.get_finished_spans()
    assert kept is not None
    assert kept.startswith(f"00-{TRACE}-")
    assert joined.parent is not None
    assert (f"{joined.parent.trace_id:032x}", f"{joined.parent.span_id:016x}") == (TRACE, SPAN)
    assert unjoined.context is not None
    assert call.context is not None
    assert unjoined.context.trace_id == call.context.trace_id


async def test_a_callers_trace_is_gone_on_with(sent: InMemorySpanExporter) -> None:
    telemetry.join_trace("")
    telemetry.join_trace("00-short-1-01")
    assert telemetry.current_trace_parent() is None
    telemetry.join_trace(PARENT)
    assert telemetry.current_trace_parent() == PARENT


@pytest.mark.parametrize("text", ["", "0", PARENT + "x" * 10_000, f"00-{'0' * 32}-{SPAN}-01", f"ff-{TRACE}-{SPAN}-01"])
def test_what_is_no_trace_is_none(text: str) -> None:
    assert read_parent(text) is None


def test_no_name_on_the_list_could_hold_words_of_a_caller() -> None:
    words = ("prompt", "message", "url", "key", "token", "actor", "path", "text", "content")
    free = {name for name in SPAN_FACTS if any(word in name for word in words)}
    assert free == {"gen_ai.prompt.name"}, "the name of one of our own prompts"
