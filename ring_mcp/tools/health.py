"""ring-health: whether keys, storage, ledger and tools are in order. Spends nothing."""

from __future__ import annotations

from ring_mcp.conductors.health import HealthConductor
from ring_mcp.conductors.report import HealthReport
from ring_mcp.conductors.results import Standing
from ring_mcp.tools.brief import ToldBy
from ring_mcp.tools.paid import describe_standing, free
from ring_mcp.tools.tool import Answer, Arguments, Caller, Tool

DESCRIPTION = """\
Checks ledger, storage, keys, prices, models and caps. Spends nothing. Call it first, and when a create tool fails: \
each problem comes with its fix."""


class HealthArguments(Arguments):
    pass


def health_tool(health: HealthConductor) -> Tool[HealthArguments]:
    async def handle(arguments: HealthArguments, caller: Caller) -> Answer:
        report = await health.check(caller.actor_id)
        return Answer(data=report.data(), text=_text(report))

    return Tool(
        name="ring-health",
        title="Check the server",
        description=DESCRIPTION,
        arguments=HealthArguments,
        output=HealthReport,
        told_by=ToldBy(frozenset(), "", ((Standing.__name__, "ring-image-create's actor"),)),
        annotations=free(),
        handler=handle,
    )


def _text(report: HealthReport) -> str:
    lines = [f"status: {report.status} ({report.service} {report.version}, ring-mcp {report.server_version})"]
    for check in report.checks:
        lines.append(f"{check.status}: {check.name}: {check.detail}")
        if check.fix:
            lines.append(f"  fix: {check.fix}")
    if report.actor is not None:
        lines.append(describe_standing(report.actor))
    return "\n".join(lines)
