"""The text that Prometheus reads, read by Prometheus' own parser; names and labels by the rules, and bounded."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ring_mcp import metrics, telemetry
from ring_mcp.metrics import FLEET_JOBS, JOB_DURATION, METRICS, OPERATION_DURATION, PROVIDER_REQUESTS, Metric, Registry


def read(registry: Registry, *gauges: metrics.Sample) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """By the name of the series, and its labels."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(registry.to_text(gauges)):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def test_counters_add_up_in_the_text() -> None:
    registry = Registry()
    registry.add(PROVIDER_REQUESTS, 1, ("xai", "paid", "200"))
    registry.add(PROVIDER_REQUESTS, 2, ("xai", "paid", "200"))
    registry.add(PROVIDER_REQUESTS, 1, ("xai", "paid", "429"))
    series = read(registry)["ring_mcp_provider_requests_total"]
    labels = (("provider", "xai"), ("purpose", "paid"), ("status", "200"))
    assert series[labels] == 3
    assert len(series) == 2


def test_a_histogram_counts_up_to_each_bound() -> None:
    registry = Registry()
    for seconds in (0.001, 0.005, 0.02, 1e9):
        registry.add(OPERATION_DURATION, seconds, ("tools/call", "ring-health", "", "tcp"))
    series = read(registry)
    name = OPERATION_DURATION.prometheus_name
    by_bound = {float(dict(labels)["le"]): value for labels, value in series[f"{name}_bucket"].items()}
    assert (by_bound[0.005], by_bound[0.025], by_bound[300.0], by_bound[math.inf]) == (2, 3, 3, 4)
    assert list(series[f"{name}_count"].values()) == [4]
    assert list(series[f"{name}_sum"].values()) == [pytest.approx(1e9 + 0.026)]


def test_labels_may_hold_whatever_somebody_writes() -> None:
    registry = Registry()
    odd = 'a "quoted" \\ name\nof two lines'
    registry.add(PROVIDER_REQUESTS, 1, (odd, "paid", "200"))
    [labels] = read(registry)["ring_mcp_provider_requests_total"]
    assert dict(labels)["provider"] == odd


def test_made_up_labels_come_to_one_series_more() -> None:
    registry = Registry()
    for number in range(10 * metrics.MAX_SERIES):
        registry.add(PROVIDER_REQUESTS, 1, ("xai", "paid", str(number)))
        registry.add(JOB_DURATION, 1.0, ("done", "image", "xai", f"model-{number}", "real"))
    series = read(registry)
    counted = series["ring_mcp_provider_requests_total"]
    assert len(counted) == metrics.MAX_SERIES + 1
    assert sum(counted.values()) == 10 * metrics.MAX_SERIES
    assert len(series["ring_mcp_job_duration_seconds_count"]) == metrics.MAX_SERIES + 1


def test_a_long_label_is_cut() -> None:
    registry = Registry()
    registry.add(PROVIDER_REQUESTS, 1, ("x" * 10_000, "paid", "200"))
    assert len(registry.to_text()) < 1000


def test_gauges_stand_as_they_are_now() -> None:
    samples = (FLEET_JOBS, ("planned", "real"), 3.0), (FLEET_JOBS, ("done", "real"), 7.0)
    assert sorted(read(Registry(), *samples)["ring_mcp_fleet_jobs"].values()) == [3.0, 7.0]


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_each_metric_has_a_name_by_the_rules(metric: Metric) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+", metric.name)
    assert re.fullmatch(r"[a-z][a-z0-9_]*", metric.prometheus_name)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", label) for label in metric.prometheus_labels)
    assert (metric.kind == "histogram") == bool(metric.bounds)
    assert list(metric.bounds) == sorted(metric.bounds)


def test_no_two_metrics_share_a_name() -> None:
    assert len({metric.prometheus_name for metric in METRICS}) == len(METRICS)


def test_nothing_is_counted_before_somebody_measures() -> None:
    assert not telemetry.is_measuring()
    telemetry.count(PROVIDER_REQUESTS, "xai", "paid", "200")
    with telemetry.measure(Registry()) as registry:
        telemetry.count(PROVIDER_REQUESTS, "xai", "paid", "200")
    telemetry.count(PROVIDER_REQUESTS, "xai", "paid", "200")
    assert list(read(registry)["ring_mcp_provider_requests_total"].values()) == [1.0]


def test_an_exporter_that_fails_reaches_no_job(caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: object) -> None:
        raise OSError("the exporter is broken")

    with telemetry.measure(Registry(sink=fail)):
        telemetry.count(PROVIDER_REQUESTS, "xai", "paid", "200")
    assert "ring_mcp.provider.requests is not counted" in caplog.text


def test_the_page_lists_every_metric_with_its_labels() -> None:
    page = (Path(__file__).parents[1] / "docs" / "observability.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z_.]+)` \| `([a-z_]+)` \| (.*?) \|", page, re.M)
    listed = {name: (prometheus, tuple(re.findall(r"`([a-z_]+)`", labels))) for name, prometheus, labels in rows}
    assert listed == {metric.name: (metric.prometheus_name, metric.prometheus_labels) for metric in METRICS}


DASHBOARD = Path(__file__).parents[1] / "examples" / "deploy" / "grafana-dashboard.json"
_SELECTOR = re.compile(r"\b([a-z][a-z_]*_[a-z_]+)(?:\{([^}]*)\})?")
_GROUPING = re.compile(r"\bby \(([^)]*)\)")


def queries() -> list[str]:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def labels_of(name: str) -> set[str]:
    [metric] = [metric for metric in METRICS if name in metric.prometheus_series]
    return {*metric.prometheus_labels, *(["le"] if name.endswith("_bucket") else [])}


@pytest.mark.parametrize("query", queries())
def test_each_query_of_the_dashboard_asks_for_what_is_exported(query: str) -> None:
    bare = re.sub(r"\[\$__rate_interval\]|histogram_quantile", "", query)
    grouping = {label.strip() for found in _GROUPING.findall(bare) for label in found.split(",")}
    selectors = _SELECTOR.findall(_GROUPING.sub("", bare))
    assert selectors
    for name, conditions in selectors:
        chosen = set(re.findall(r"(\w+)(?:=~|!=|=)\"", conditions))
        assert grouping | chosen <= labels_of(name), query


def test_the_dashboard_shows_every_metric() -> None:
    asked = {name for query in queries() for name, _ in _SELECTOR.findall(query)}
    assert [metric.name for metric in METRICS if not asked & set(metric.prometheus_series)] == []
