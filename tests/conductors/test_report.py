"""What health answers, as JSON: Ring's fields first, and nothing that is not set."""

from __future__ import annotations

from ring_mcp.conductors.report import Check, HealthReport


def test_a_report_has_rings_fields_and_no_empty_ones() -> None:
    report = HealthReport(
        status="ok",
        timestamp="2026-11-28T12:00:00.000Z",
        server_version="0",
        sandbox=False,
        checks=(Check(name="ledger", status="ok", detail="sqlite"),),
    )
    told = report.data()
    assert list(told)[:4] == ["status", "service", "version", "timestamp"]
    assert (told["service"], told["version"]) == ("ring-mcp-gateway", "v1")
    assert told["checks"] == [{"name": "ledger", "status": "ok", "detail": "sqlite"}]
    assert "capLeftUsd" not in told
