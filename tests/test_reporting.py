"""What is exported, and where nothing is: the variables are often there for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ring_mcp import telemetry
from ring_mcp.config import load_config
from ring_mcp.config_checks import wants_export
from ring_mcp.reporting import can_export, read_headers, report
from tests.otlp_receiver import OtlpReceiver
from tests.server.wire import RingProcess, environment, eventually

HERE = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}


def config_of(folder: Path, **variables: str) -> Any:
    return load_config({"RING_STATE_DIR": str(folder), **variables}, folder=folder, trusted=())


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, False),
        (HERE, True),
        (HERE | {"OTEL_SDK_DISABLED": "TRUE"}, False),
        (HERE | {"OTEL_SDK_DISABLED": "perhaps"}, True),
    ],
)
def test_an_address_turns_it_on(tmp_path: Path, variables: dict[str, str], wanted: bool) -> None:
    assert wants_export(config_of(tmp_path, **variables)) is wanted


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"}, "it is no http(s) address"),
        (HERE | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL is not http/protobuf"),
    ],
)
def test_what_cannot_be_sent_is_told_and_stops_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, variables: dict[str, str], told: str
) -> None:
    assert not can_export(config_of(tmp_path, **variables))
    assert told in caplog.text


def test_headers_are_read_as_the_variable_has_them() -> None:
    assert read_headers("") == {}
    assert read_headers("Authorization=Basic%20abc=, x-team = 7,odd") == {"authorization": "Basic abc=", "x-team": "7"}


async def test_without_an_address_and_a_port_nothing_is_summed_up(tmp_path: Path) -> None:
    async with report(config_of(tmp_path), role="stdio", serves_metrics=False):
        assert not telemetry.is_measuring()
    async with report(config_of(tmp_path), role="serve", serves_metrics=True):
        assert telemetry.is_measuring()
        assert not telemetry.is_tracing()
    assert not telemetry.is_measuring()


@pytest.mark.long
def test_a_server_over_stdio_exports_what_it_did(sandbox: Any, tmp_path: Path) -> None:
    with OtlpReceiver() as receiver:
        env = environment(
            tmp_path, RING_SANDBOX=sandbox.url, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, RING_LOG_LEVEL="info"
        )
        with RingProcess(env, tmp_path) as ring:
            ring.initialize()
            eventually("it exports", lambda: "exports by OTLP" in ring.stderr)
            assert not ring.create(prompt="a red kite").is_error
            ring.hang_up()
            ring.wait()
        spans = receiver.spans()
        assert {span.process["ring_mcp.role"] for span in spans} == {"stdio"}
        assert {"tools/call", "submit", "settle"} <= {span.name.partition(" ")[0] for span in spans}
        facts, _ = receiver.metrics()["mcp.server.operation.duration"][-1]
        assert facts["network.transport"] == "pipe"
