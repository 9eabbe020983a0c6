"""A clip and the job that may stand for it: asked for anew only where nothing was paid, and nothing will be."""

from __future__ import annotations

from typing import Any, cast

import pytest

from ring_mcp.clients.gateway_errors import GatewayAway, GatewayRefusal
from ring_mcp.errors import LedgerError, NotFound, RingError
from ring_mcp.scripted.base import Maker
from ring_mcp.scripted.clips import ClipRun
from ring_mcp.scripted.making import Making

JOB = "0f0e0d0c-0000-4000-8000-000000000001"


class FailingMaker:
    """Whose look at a job fails."""

    def __init__(self, error: RingError) -> None:
        self._error = error

    async def look(self, job_id: str) -> dict[str, Any]:
        raise self._error

    async def find(self, key: str) -> str | None:
        return None


async def nothing(clip: ClipRun) -> None:
    """Nothing is written down."""


def ended(state: str, billed: str) -> GatewayRefusal:
    return GatewayRefusal(502, {"error": "it went wrong", "billed": billed, "state": state})


@pytest.mark.parametrize(
    ("error", "stands"),
    [
        (NotFound("there is no such job"), False),
        (ended("failed", "no"), False),
        (ended("refused", "no"), False),
        (ended("failed", "yes"), True),
        (ended("planned", "no"), True),
        (LedgerError("the database is restarting"), True),
        (GatewayAway("the server is restarting"), True),
    ],
)
async def test_only_what_is_over_and_unpaid_is_asked_for_anew(error: RingError, stands: bool) -> None:
    making = Making(cast(Maker, FailingMaker(error)), 0.0, None, lambda _: None, nothing)
    row = {"id": "one", "jobId": JOB, "idempotencyKey": "key"}
    clip = ClipRun(id="one", duration_s=1, arguments={}, key="key", mode="draft", attempts=[row])
    assert await making.find(clip) is stands
    assert clip.job_id == (JOB if stands else None)
