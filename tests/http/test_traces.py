"""OTLP as a receiver on loopback gets it: one trace from the caller to the worker's steps, and nothing private."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.http.http_reach import ALICE, LONG_S, HttpRing, bearer, eventually
from tests.otlp_receiver import OtlpReceiver, Received
from tests.postgres_server import fresh_database, server_url

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
PROMPT = "a very private lighthouse"
SECRET = "token-of-the-receiver"


def call(ring: HttpRing, tool: str, arguments: dict[str, Any], meta: dict[str, Any], headers: dict[str, str]) -> str:
    params = {"name": tool, "arguments": arguments, "_meta": meta}
    accept = {"accept": "application/json, text/event-stream", **bearer(ALICE), **headers}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    answer = ring.post("/mcp", body, headers=accept)
    assert answer.status_code == 200, answer.text
    return answer.text


def of_trace(spans: list[Received], trace_id: str = TRACE) -> set[str]:
    return {span.name.partition(" ")[0] for span in spans if span.trace_id == trace_id}


@pytest.mark.parametrize("way", ["_meta", "header"])
def test_a_picture_is_one_trace_from_its_caller_on(env: dict[str, str], tmp_path: Path, way: str) -> None:
    with OtlpReceiver() as receiver:
        env |= {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_EXPORTER_OTLP_HEADERS": f"x-key={SECRET}"}
        meta, headers = ({"traceparent": PARENT}, {}) if way == "_meta" else ({}, {"traceparent": PARENT})
        with HttpRing(env, tmp_path) as ring:
            eventually("the exporter is there", lambda: exports(ring, receiver))
            text = call(ring, "ring-image-create", {"prompt": PROMPT, "waitSeconds": 60}, meta, headers)
            assert '"success":true' in text.replace(" ", "")
        spans = receiver.spans()
        served = next(span for span in spans if span.trace_id == TRACE and span.is_served)
        assert served.name == "tools/call ring-image-create"
        assert served.parent_id == "b7ad6b7169203331"
        assert of_trace(spans) == {"tools/call", "plan", "submit", "poll", "download", "store", "settle"}
        settled = next(span for span in spans if span.name.startswith("settle"))
        assert settled.facts["gen_ai.usage.cost.amount"] == 0.06
        assert settled.facts["gen_ai.usage.cost.source"] == "provider"
        assert settled.facts["gen_ai.provider.name"] == "x_ai"
        assert receiver.metrics()["mcp.server.operation.duration"]
        assert receiver.metrics()["ring_mcp.job.billed"][-1][1] == pytest.approx(0.06)
        assert all(header["x-key"] == SECRET for header in receiver.headers)
        assert_nothing_private(receiver, env)


def exports(ring: HttpRing, receiver: OtlpReceiver) -> bool:
    """Whether a request of ours becomes a span; the exporter's libraries are loaded beside the start."""
    text = ring.get("/metrics", None).text
    return "ring_mcp_fleet_up 1" in text and "ring-mcp exports by OTLP" in ring.stderr


def assert_nothing_private(receiver: OtlpReceiver, env: dict[str, str]) -> None:
    sent = b"".join(receiver.raw)
    for private in (PROMPT, "lighthouse", ALICE, SECRET, "/files/", "http://", "sandbox-key", str(env["HOME"])):
        assert private.encode() not in sent, private


@pytest.mark.long
def test_a_workers_steps_join_the_trace_of_the_call(env: dict[str, str], tmp_path: Path) -> None:
    with OtlpReceiver() as receiver, fresh_database(server_url()) as database:
        env |= {
            "DATABASE_URL": database,
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
            "VIDEO_GEN_POLL_INTERVAL_MS": "100",
        }
        worker = ("-m", "ring_mcp", "worker", "--metrics-port", "0")
        with HttpRing(env | {"RING_DRIVE": "off"}, tmp_path) as ring, HttpRing(env, tmp_path, *worker) as other:
            eventually("both export", lambda: exports(ring, receiver) and "exports by OTLP" in other.stderr)
            meta = {"traceparent": PARENT}
            text = call(ring, "ring-video-create", {"prompt": PROMPT, "waitSeconds": 120}, meta, {})
            assert '"state":"done"' in text.replace(" ", "").replace("\\", ""), text[:500]
            metrics = eventually("it tells where", lambda: address_of_metrics(other))
            assert "ring_mcp_fleet_processes" in httpx2.get(metrics, timeout=LONG_S).text
        spans = receiver.spans()
        of_worker = [span for span in spans if span.process["ring_mcp.role"] == "worker"]
        assert of_trace(of_worker) == {"submit", "poll", "download", "store", "settle"}
        assert of_trace([span for span in spans if span not in of_worker]) == {"tools/call", "plan"}
        assert_nothing_private(receiver, env)


def address_of_metrics(ring: HttpRing) -> str | None:
    lines = [line for line in ring.stderr.splitlines() if line.startswith("metrics: ")]
    return lines[0].removeprefix("metrics: ") if lines else None


@pytest.mark.long
def test_a_missing_extra_is_told_and_everything_else_works(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, importlib.abc\n"
        "class Hides(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter', 'opentelemetry.proto')):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Hides())\n"
    )
    env |= {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "PYTHONPATH": str(tmp_path)}
    with HttpRing(env, tmp_path) as ring:
        assert ring.create(prompt="a red kite")["success"]
        assert "ring_mcp_job_events_total" in ring.get("/metrics", None).text
        assert "nothing is sent there: run " in ring.stderr
        assert "OTEL_EXPORTER_OTLP_ENDPOINT" in ring.stderr
