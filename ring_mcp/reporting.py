"""What a serving process tells of itself: sums for ``/metrics``, and OTLP where an address for it is set."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import platform
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import unquote

from ring_mcp import telemetry
from ring_mcp.conductors.fleet import FleetConductor
from ring_mcp.config import Config
from ring_mcp.config_checks import wants_export
from ring_mcp.extras import install_line
from ring_mcp.metrics import Registry, Sample

if TYPE_CHECKING:
    from ring_mcp.otel import Exporting

logger = logging.getLogger(__name__)

EVERY_S = 60.0
"""How often metrics are sent by OTLP."""


@dataclass(slots=True)
class Reporting:
    """``registry`` has the sums of this process; ``fleet`` is looked at once it is known."""

    registry: Registry
    fleet: FleetConductor | None = None
    gauges: list[Sample] = field(default_factory=list)

    async def to_text(self) -> str:
        """Everything, as Prometheus reads it."""
        return self.registry.to_text([] if self.fleet is None else await self.fleet.gauges())


@contextlib.asynccontextmanager
async def report(config: Config, *, role: str, serves_metrics: bool) -> AsyncIterator[Reporting]:
    """Sum up from here on, and export where that is configured; what is left is sent at the end.

    Without ``serves_metrics`` and without an address nothing is summed up, and nothing costs anything. The libraries
    are loaded beside the start; where they are missing, that is told, and everything else works.
    """
    reporting = Reporting(Registry())
    exports = wants_export(config) and can_export(config)
    async with contextlib.AsyncExitStack() as stack:
        if exports or serves_metrics:
            stack.enter_context(telemetry.measure(reporting.registry))
        if exports:
            exporting = asyncio.create_task(_export(config, reporting, role, stack))
            stack.push_async_callback(_end, exporting)
        yield reporting


async def _export(config: Config, reporting: Reporting, role: str, stack: contextlib.AsyncExitStack) -> None:
    try:
        exporting = await asyncio.to_thread(_open, config, reporting, role)
        exporting.serve_library_spans()
        reporting.registry.sink = exporting.measure
        with telemetry.trace(exporting.tracer):
            logger.info("ring-mcp exports by OTLP")
            try:
                while True:
                    # Read here, where a ledger can be awaited: the SDK asks for gauges from a thread of its own. Twice
                    # for each sending, so that what is sent is not a whole interval old.
                    if reporting.fleet is not None:
                        reporting.gauges = await reporting.fleet.gauges()
                    await asyncio.sleep(EVERY_S / 2)
            finally:
                reporting.registry.sink = None
                # Shielded: a second cancel must not keep what is left from being sent.
                await asyncio.shield(asyncio.to_thread(exporting.close))
    except Exception:  # whatever OpenTelemetry does, the server goes on
        logger.exception("nothing is exported by OTLP")


async def _end(exporting: asyncio.Task[None]) -> None:
    exporting.cancel()
    await asyncio.gather(exporting, return_exceptions=True)


def _open(config: Config, reporting: Reporting, role: str) -> Exporting:
    from ring_mcp.otel import Exporting

    given = config.otel_headers.get_secret_value() if config.otel_headers else ""
    return Exporting(
        str(config.otel_endpoint),
        read_headers(given),
        role=role,
        instance=f"{platform.node()}:{os.getpid()}",
        every_s=EVERY_S,
        read_gauges=lambda: reporting.gauges,
    )


def read_headers(text: str) -> dict[str, str]:
    """``name=value`` pairs, percent-encoded and with commas between, as OTEL_EXPORTER_OTLP_HEADERS has them."""
    pairs = (pair.partition("=") for pair in text.split(",") if "=" in pair)
    return {unquote(name).strip().lower(): unquote(value).strip() for name, _, value in pairs}


def can_export(config: Config) -> bool:
    """Whether there is what OTLP needs; what is missing is logged.

    No reason not to start: these variables are often set for all programs of a machine.
    """
    if (obstacle := _find_obstacle(config)) is not None:
        logger.warning("OTEL_EXPORTER_OTLP_ENDPOINT is set, and nothing is sent there: %s", obstacle)
    return obstacle is None


def _find_obstacle(config: Config) -> str | None:
    if not str(config.otel_endpoint).lower().startswith(("http://", "https://")):
        return "it is no http(s) address"
    if (config.otel_protocol or "http/protobuf") != "http/protobuf":
        return "OTEL_EXPORTER_OTLP_PROTOCOL is not http/protobuf, which is what ring-mcp speaks"
    try:
        found = find_spec("opentelemetry.sdk") and find_spec("opentelemetry.exporter.otlp.proto.http")
    except ModuleNotFoundError:  # find_spec raises where the parent, "opentelemetry", is not there
        found = None
    return f"run {install_line('otel')}" if found is None else None
