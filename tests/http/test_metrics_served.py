"""/metrics over HTTP: who may read it, what stands there after a call, and that nothing private does."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from ring_mcp.metrics import METRICS
from tests.http.http_reach import ALICE, HttpRing, bearer

TOKEN = "token-of-prometheus"


def read(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def test_this_machine_reads_what_was_done(ring: HttpRing) -> None:
    ring.create(prompt="a private lighthouse")
    answer = ring.get("/metrics", None)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    series = read(answer.text)
    labels = {"kind": "image", "provider": "xai", "model": "grok-imagine-image-2.0", "world": "sandbox"}
    [settled] = [value for of, value in series["ring_mcp_job_settled_usd_total"] if of == labels]
    assert settled >= 0.06
    assert {of["event"] for of, _ in series["ring_mcp_job_events_total"]} >= {"opened", "submitted", "settled"}
    assert ({"role": "serve"}, 1.0) in series["ring_mcp_fleet_processes"]
    assert {of["state"] for of, _ in series["ring_mcp_fleet_jobs"]} >= {"planned", "rendering", "done", "unknown"}
    for private in ("lighthouse", ALICE, "alice", "/files/", "http"):
        assert private not in answer.text.replace("How long requests", "").replace("by HTTP status", "")


def test_every_name_that_is_served_is_one_of_ours(ring: HttpRing) -> None:
    ring.create(prompt="a kite")
    ours = {name for metric in METRICS for name in metric.prometheus_series}
    assert read(ring.get("/metrics", None).text).keys() <= ours


def test_what_comes_through_a_proxy_is_not_this_machine(ring: HttpRing) -> None:
    for name in ("x-forwarded-for", "forwarded", "x-real-ip"):
        assert ring.get("/metrics", None, headers={name: "203.0.113.7"}).status_code == 401


def test_with_a_token_of_its_own_only_that_one_opens(env: dict[str, str], tmp_path: Path) -> None:
    with HttpRing(env | {"RING_METRICS_TOKEN": TOKEN}, tmp_path) as ring:
        assert ring.get("/metrics", None).status_code == 401
        assert ring.get("/metrics", ALICE).status_code == 401, "a service token spends, and reads no metrics"
        assert ring.get("/metrics", TOKEN).status_code == 200
        proxied = bearer(TOKEN) | {"x-forwarded-for": "203.0.113.7"}
        assert ring.get("/metrics", None, headers=proxied).status_code == 200
        assert ring.get("/api/mcp/v1/jobs", TOKEN).status_code == 401, "nor does it spend"


def test_a_page_elsewhere_reads_no_metrics(ring: HttpRing) -> None:
    assert ring.get("/metrics", None, headers={"host": "evil.example"}).status_code == 421
    assert ring.get("/metrics", None, headers={"origin": "https://evil.example"}).status_code == 403


def test_methods_that_a_client_makes_up_are_one_series(ring: HttpRing) -> None:
    accept = {"accept": "application/json, text/event-stream"}
    for number in range(5):
        ring.post("/mcp", {"jsonrpc": "2.0", "id": 1, "method": f"made/up-{number}"}, headers=accept)
        call = {"name": f"made-up-{number}", "arguments": {}}
        ring.post("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}, headers=accept)
    text = ring.get("/metrics", None).text
    assert "made" not in text
    assert 'gen_ai_tool_name="other"' in text
