"""What is measured: every metric with its labels, and the sums of this process, also as the text that Prometheus reads.

Names are those of OpenTelemetry (``mcp.server.operation.duration`` is of its conventions for MCP); Prometheus has them
by the rules of its exporters. A label is a word of ours, of presets.json or of a protocol: never a prompt, an id or an
address; and of each metric so many series are kept and no more.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

MAX_SERIES = 200
"""Of one metric. What comes beyond is counted under OTHER: whoever makes up names makes one series, not a million."""

OTHER = "other"
_MAX_LABEL_CHARS = 64

# Calls are answered in a moment, jobs take minutes or, parked, a day: one scale would put all of either in one bucket.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_LONG_SECONDS = (1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 240.0, 480.0, 900.0, 3600.0, 86400.0)
_SUFFIX = {"s": "_seconds", "USD": "_usd"}

Kind = Literal["counter", "gauge", "histogram"]
Labels = tuple[str, ...]


# eq=False: metrics are keys that are looked up at each measurement, and identity is the cheapest hash.
@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """``labels`` are names, in the order in which values are given. ``unit`` as OpenTelemetry writes it."""

    name: str
    kind: Kind
    unit: str
    help: str
    labels: Labels = ()
    bounds: tuple[float, ...] = ()

    @property
    def prometheus_name(self) -> str:
        base = self.name.replace(".", "_") + _SUFFIX.get(self.unit, "")
        return f"{base}_total" if self.kind == "counter" else base

    @property
    def prometheus_labels(self) -> Labels:
        return tuple(label.replace(".", "_") for label in self.labels)

    @property
    def prometheus_series(self) -> tuple[str, ...]:
        """The names under which its samples stand."""
        name = self.prometheus_name
        return (f"{name}_bucket", f"{name}_sum", f"{name}_count") if self.kind == "histogram" else (name,)


_OF_A_JOB = ("kind", "provider", "model", "world")

OPERATION_DURATION = Metric(
    "mcp.server.operation.duration",
    "histogram",
    "s",
    "How long requests of MCP clients took.",
    ("mcp.method.name", "gen_ai.tool.name", "error.type", "network.transport"),
    _SECONDS,
)
JOB_EVENTS = Metric(
    "ring_mcp.job.events",
    "counter",
    "{event}",
    "What happened to jobs here: opened, joined, submitted, accepted, stored, settled, unknown.",
    ("event", "kind", "provider", "world"),
)
JOB_DURATION = Metric(
    "ring_mcp.job.duration",
    "histogram",
    "s",
    "From the opening of a job to its end, or to where its outcome was found to be unknown.",
    ("state", *_OF_A_JOB),
    _LONG_SECONDS,
)
USD_RESERVED = Metric("ring_mcp.job.reserved", "counter", "USD", "Reserved for jobs opened here.", _OF_A_JOB)
USD_SETTLED = Metric("ring_mcp.job.settled", "counter", "USD", "Cost of jobs that ended here.", _OF_A_JOB)
USD_BILLED = Metric("ring_mcp.job.billed", "counter", "USD", "The part of it that the provider said itself.", _OF_A_JOB)
TAKEOVERS = Metric(
    "ring_mcp.jobs.taken_over",
    "counter",
    "{job}",
    "Jobs under way that this process took over from another one, dead or stopped.",
    ("kind",),
)
PROVIDER_REQUESTS = Metric(
    "ring_mcp.provider.requests",
    "counter",
    "{request}",
    "Requests to providers by HTTP status; none: no whole answer came.",
    ("provider", "purpose", "status"),
)

FLEET_JOBS = Metric("ring_mcp.fleet.jobs", "gauge", "{job}", "Jobs in the ledger, by state.", ("state", "world"))
FLEET_QUEUE_DEPTH = Metric(
    "ring_mcp.fleet.queue.depth", "gauge", "{job}", "Jobs whose request was not sent yet.", ("world",)
)
FLEET_QUEUE_AGE = Metric(
    "ring_mcp.fleet.queue.age", "gauge", "s", "How long the oldest of them has been waiting.", ("world",)
)
FLEET_PROCESSES = Metric(
    "ring_mcp.fleet.processes", "gauge", "{process}", "Processes of ring-mcp at this ledger.", ("role",)
)
FLEET_USD = Metric(
    "ring_mcp.fleet.spent",
    "gauge",
    "USD",
    "What counts against the caps since the span began (UTC).",
    ("span", "world"),
)
FLEET_USD_RESERVED = Metric(
    "ring_mcp.fleet.reserved", "gauge", "USD", "The part of it that is reserved and not settled yet.", ("span", "world")
)
FLEET_USD_CAP = Metric("ring_mcp.fleet.cap", "gauge", "USD", "The cap, where one is set.", ("span", "world"))
RATE_FULL = Metric(
    "ring_mcp.rate.full",
    "gauge",
    "1",
    "How much of what this process's account may ask at once is used; at 1, requests wait.",
    ("provider", "model", "asking", "world"),
)
RATE_SLOWED = Metric(
    "ring_mcp.rate.slowed",
    "gauge",
    "1",
    "How many times slower than its numbers the account is asked after refusals; 1: as they are.",
    ("provider", "model", "asking", "world"),
)
FLEET_READ = Metric(
    "ring_mcp.fleet.up",
    "gauge",
    "1",
    "1: the ledger was read for the figures of the fleet; 0: it did not answer, and they are missing.",
)


def world(*, sandbox: bool) -> str:
    """The label that keeps the sandbox's jobs and money apart from real ones."""
    return "sandbox" if sandbox else "real"


# Gathered and not listed, so that a metric added above is in what is exported.
METRICS = tuple(each for each in list(globals().values()) if isinstance(each, Metric))

Sample = tuple[Metric, Labels, float]
"""A value of a gauge, as it is now."""


@dataclass(slots=True)
class Histogram:
    counts: list[int]
    sum: float = 0.0


@dataclass(slots=True)
class Registry:
    """The sums of this process. ``sink`` is told of each measurement as well: an exporter."""

    sink: Callable[[Metric, Labels, float], None] | None = None
    _series: dict[Metric, dict[Labels, float]] = field(default_factory=dict)
    _histograms: dict[Metric, dict[Labels, Histogram]] = field(default_factory=dict)

    def add(self, metric: Metric, amount: float, labels: Labels) -> None:
        """Count ``amount`` of a counter, or note it as one measurement of a histogram."""
        if metric.kind == "histogram":
            measured = self._histograms.setdefault(metric, {})
            labels = _bound(metric, labels, measured)
            found = measured.get(labels)
            if found is None:
                found = measured[labels] = Histogram([0] * (len(metric.bounds) + 1))
            found.counts[bisect_left(metric.bounds, amount)] += 1
            found.sum += amount
        else:
            series = self._series.setdefault(metric, {})
            labels = _bound(metric, labels, series)
            series[labels] = series.get(labels, 0.0) + amount
        if self.sink is not None:
            self.sink(metric, labels, amount)

    def to_text(self, gauges: Iterable[Sample] = ()) -> str:
        """All of it in the text format of Prometheus, version 0.0.4, with ``gauges`` as they are now."""
        by_metric: dict[Metric, list[tuple[Labels, float]]] = {m: list(s.items()) for m, s in self._series.items()}
        for metric, labels, value in gauges:
            by_metric.setdefault(metric, []).append((labels, value))
        lines: list[str] = []
        for metric in METRICS:
            name, histograms, samples = metric.prometheus_name, self._histograms.get(metric), by_metric.get(metric)
            if not histograms and not samples:
                continue
            lines += [f"# HELP {name} {metric.help}", f"# TYPE {name} {metric.kind}"]
            lines += [f"{name}{_braces(metric, labels)} {value!r}" for labels, value in samples or ()]
            for labels, histogram in (histograms or {}).items():
                lines += _histogram_lines(metric, labels, histogram)
        return "\n".join([*lines, ""])


def _bound(metric: Metric, labels: Labels, known: dict[Labels, float] | dict[Labels, Histogram]) -> Labels:
    # The bounds are for what is new: labels come from outside, and memory must not grow with them.
    if labels in known:
        return labels
    labels = tuple(label[:_MAX_LABEL_CHARS] for label in labels)
    return labels if labels in known or len(known) < MAX_SERIES else (OTHER,) * len(metric.labels)


def _histogram_lines(metric: Metric, labels: Labels, histogram: Histogram) -> Iterator[str]:
    bucket, total, count = metric.prometheus_series
    so_far = 0
    for bound, here in zip((*metric.bounds, float("inf")), histogram.counts, strict=True):
        so_far += here
        at = "+Inf" if bound == float("inf") else repr(bound)
        yield f"{bucket}{_braces(metric, labels, ('le', at))} {so_far}"
    yield f"{total}{_braces(metric, labels)} {histogram.sum!r}"
    yield f"{count}{_braces(metric, labels)} {so_far}"


def _braces(metric: Metric, values: Labels, *more: tuple[str, str]) -> str:
    pairs: Sequence[tuple[str, str]] = [*zip(metric.prometheus_labels, values, strict=True), *more]
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in pairs) + "}" if pairs else ""


def _escape(value: str) -> str:
    # Backslashes first: the other two put new ones in.
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
