"""The health report: one check for each part, with its state and a fix."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ring_mcp.conductors.results import Standing, Usd, Wire

Status = Literal["ok", "warning", "error"]


class Check(Wire):
    """One part: its state in a sentence, and what to do about it."""

    name: str
    status: Status
    detail: str
    fix: str | None = None


class HealthReport(Wire):
    """The first four fields are Ring's; ``status`` is "error" if any part has an error."""

    status: Literal["ok", "error"]
    service: str = "ring-mcp-gateway"
    version: str = "v1"
    timestamp: str
    server_version: str
    sandbox: bool = Field(description="Nothing is real or paid.")
    checks: tuple[Check, ...]
    spent_today_usd: Usd | None = None
    cap_left_usd: dict[str, Usd] | None = None
    actor: Standing | None = None
