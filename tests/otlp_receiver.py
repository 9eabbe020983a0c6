"""A receiver of OTLP on loopback: what arrives is decoded by the official protocol package."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Received:
    """One span, with its facts and those of the process that it comes from."""

    def __init__(self, span: Any, process: dict[str, Any]) -> None:
        self.name: str = span.name
        self.trace_id: str = span.trace_id.hex()
        self.span_id: str = span.span_id.hex()
        self.parent_id: str = span.parent_span_id.hex()
        self.facts = _facts(span.attributes)
        self.process = process
        self.is_error: bool = span.status.code == 2
        self.is_served: bool = span.kind == 2


class OtlpReceiver:
    """``raw``: every body that came, as it came; ``paths`` where."""

    def __init__(self) -> None:
        self.raw: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self._bodies: list[tuple[str, bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.headers.append({name.lower(): value for name, value in self.headers.items()})
                receiver.raw.append(body)
                receiver._bodies.append((self.path, body))
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def spans(self) -> list[Received]:
        found = []
        for path, body in self._bodies:
            if path == "/v1/traces":
                for of_process in ExportTraceServiceRequest.FromString(body).resource_spans:
                    process = _facts(of_process.resource.attributes)
                    found += [Received(span, process) for scope in of_process.scope_spans for span in scope.spans]
        return found

    def metrics(self) -> dict[str, list[tuple[dict[str, Any], float]]]:
        """By the metric's name: of each series its labels, and the value or the count of what was measured."""
        found: dict[str, list[tuple[dict[str, Any], float]]] = {}
        for path, body in self._bodies:
            if path == "/v1/metrics":
                for of_process in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                    for metric in (metric for scope in of_process.scope_metrics for metric in scope.metrics):
                        data = getattr(metric, metric.WhichOneof("data"))
                        for point in data.data_points:
                            value = point.count if metric.HasField("histogram") else point.as_double or point.as_int
                            found.setdefault(metric.name, []).append((_facts(point.attributes), float(value)))
        return found

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def _facts(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}
