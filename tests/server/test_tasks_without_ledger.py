"""A task whose row cannot be read just now: the request fails, and the task goes on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import mcp_types as types
import pytest
from mcp import MCPError

from ring_mcp.clock import SystemClock
from ring_mcp.conductors.paid_calls import PaidCalls
from ring_mcp.errors import LedgerError
from ring_mcp.server.asking import ERA
from ring_mcp.server.tasks import TASKS, TaskParams, Tasks
from ring_mcp.tools.job_answers import Previews
from ring_mcp.tools.tool import Answer
from tests.ledger_samples import planned

CALLER = "ann"


class LostLedger:
    """The paid calls of a server whose ledger goes away: after the task was found, or before it is read at all."""

    def __init__(self, *, finds: bool) -> None:
        self._finds = finds

    async def read(self, job_id: str) -> Any:
        if not self._finds:
            raise LedgerError("the ledger is away")
        return planned(id=job_id, actor_id=CALLER)

    async def find_own(self, job_id: str, actor_id: str) -> Any:
        return await self.read(job_id)

    async def resume(self, job: Any, wait_s: float) -> Any:
        raise LedgerError("the ledger is away")


def tasks_over(calls: LostLedger) -> Tasks:
    async def cancel(job: Any) -> None: ...

    async def identify_caller(ctx: object) -> str:
        return CALLER

    previews = Previews(Path("nowhere"))
    return Tasks(cast(PaidCalls, calls), previews, cancel, SystemClock(), identify=identify_caller, links=False)


def declaring() -> Any:
    capabilities = types.ClientCapabilities(extensions={TASKS: {}})
    session = SimpleNamespace(client_capabilities=capabilities)
    return SimpleNamespace(session=session, protocol_version=ERA, request=None, method="tasks/get")


async def test_a_lost_ledger_does_not_complete_a_task() -> None:
    with pytest.raises(MCPError) as refusal:
        await tasks_over(LostLedger(finds=True)).get(declaring(), TaskParams(task_id="the-job"))
    assert refusal.value.error.code == types.INTERNAL_ERROR


async def test_a_started_job_is_named_when_its_row_is_unreadable() -> None:
    async def start(arguments: Any, caller: Any) -> Answer:
        return Answer(data={"jobId": "the-job", "state": "planned"}, text="Not finished yet")

    tool = SimpleNamespace(is_long=True, handler=start)
    arguments = SimpleNamespace(model_copy=lambda update: None)
    with pytest.raises(LedgerError) as told:
        await tasks_over(LostLedger(finds=False)).call(declaring(), cast(Any, tool), arguments, cast(Any, None))
    assert (told.value.billed, told.value.job_id) == ("unknown", "the-job")


class BrokenCalls:
    """What it finds breaks in a way that nobody has foreseen."""

    async def find_own(self, job_id: str, actor_id: str) -> Any:
        raise ZeroDivisionError("postgresql://ring:hunter2@db/ring")


@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel"])
async def test_an_unexpected_error_of_a_task_shows_an_id(method: str, caplog: pytest.LogCaptureFixture) -> None:
    handlers: dict[str, Any] = {}

    def keep_handler(name: str, params: Any, handler: Any) -> None:
        handlers[name] = handler

    server: Any = SimpleNamespace(extensions={}, add_request_handler=keep_handler)
    tasks_over(cast(Any, BrokenCalls())).add_to(server)
    with pytest.raises(MCPError, match=r"^internal error, request [0-9a-f]{12}$"):
        await handlers[method](declaring(), TaskParams(task_id="the-job"))
    assert "hunter2" in caplog.text
