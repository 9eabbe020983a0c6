"""The one place where the rest of ring_mcp says what it does, for metrics and traces. Off, it does nothing.

Metrics are summed in this process once ``measure`` was called; spans are made once ``trace`` was, by ``otel``, the only
module that knows OpenTelemetry. Whatever goes wrong there never reaches a job.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import ClassVar, Protocol

from ring_mcp.metrics import Metric, Registry

logger = logging.getLogger(__name__)

Value = str | int | float | bool
Facts = Mapping[str, Value | None]


class Span(Protocol):
    def note(self, facts: Facts) -> None:
        """Write facts on the span; None is left out."""


class Tracer(Protocol):
    """What ``otel`` is to this module."""

    def span(self, name: str, facts: Facts, parent: str | None, *, is_served: bool) -> AbstractContextManager[Span]: ...

    def current(self) -> str | None:
        """The span that is under way here, in the words of the W3C (``traceparent``)."""

    def join(self, parent: str) -> None:
        """What is begun from here on, in this task and in those that it begins, belongs to this trace of somebody's."""


class _Nothing:
    def note(self, facts: Facts) -> None:
        pass

    def __enter__(self) -> Span:
        return self

    def __exit__(self, *_: object) -> None:
        pass


NOTHING = _Nothing()
"""The span of a process that traces nothing."""


class _On:
    """What this process measures and traces with; None: it does not."""

    # Of the class, hence of the process: jobs, threads and libraries measure, and nobody is handed a registry.
    registry: ClassVar[Registry | None] = None
    tracer: ClassVar[Tracer | None] = None


@contextlib.contextmanager
def measure(registry: Registry) -> Iterator[Registry]:
    """Sum up in ``registry``, until the end of the block."""
    before, _On.registry = _On.registry, registry
    try:
        yield registry
    finally:
        _On.registry = before


@contextlib.contextmanager
def trace(tracer: Tracer) -> Iterator[None]:
    """Have spans made by ``tracer``, until the end of the block."""
    before, _On.tracer = _On.tracer, tracer
    try:
        yield
    finally:
        _On.tracer = before


def is_measuring() -> bool:
    return _On.registry is not None


def is_tracing() -> bool:
    return _On.tracer is not None


def count(metric: Metric, *labels: str, amount: float = 1.0) -> None:
    """Count ``amount``; a measurement, where the metric is a histogram. ``labels`` in the metric's own order."""
    registry = _On.registry
    if registry is None:
        return
    try:
        registry.add(metric, amount, labels)
    # A measurement is a courtesy: it never ends the job that it is of.
    except Exception:
        logger.exception("%s is not counted", metric.name)


def span(
    name: str, facts: Facts | None = None, *, parent: str | None = None, is_served: bool = False
) -> AbstractContextManager[Span]:
    """A span around a block. ``parent``: as it stands in a row; None: whatever is under way here.

    An exception that passes through is noted by its class alone. ``is_served``: the block answers a request.
    """
    if _On.tracer is None:
        return NOTHING
    return _On.tracer.span(name, facts or {}, parent, is_served=is_served)


def current_trace_parent() -> str | None:
    """The trace that is under way here, for a row: a worker's spans join it."""
    return None if _On.tracer is None else _On.tracer.current()


def join_trace(parent: str) -> None:
    """Go on with the trace that a caller has told ("": none), from here on."""
    if _On.tracer is not None and parent:
        _On.tracer.join(parent)
