"""ring-job-cancel: cancel a job, as far as its provider can."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from ring_mcp.conductors.cancelling import CancelConductor, Cancellation
from ring_mcp.conductors.paid_calls import PaidCalls
from ring_mcp.conductors.results import Wire
from ring_mcp.domain.fields import JobId
from ring_mcp.tools.tool import Answer, Arguments, Caller, Tool

if TYPE_CHECKING:
    from mcp_types import ToolAnnotations

DESCRIPTION = """\
Cancels a job. Until its request was sent that is certain and free; after that it is broken off where its \
provider can, and what was made may be billed."""


class JobCancelArguments(Arguments):
    job_id: JobId = Field(description="Of the create tool.")


class JobCancelResult(Wire):
    job_id: str
    state: str
    cancelled: bool = Field(description="It has ended, unbilled.")
    asked: bool = Field(description="The provider was told.")
    note: str

    @classmethod
    def of(cls, done: Cancellation) -> JobCancelResult:
        return cls(
            job_id=done.job.id,
            state=done.job.state.value,
            cancelled=done.is_cancelled,
            asked=done.is_asked,
            note=done.text,
        )


def job_cancel_tool(calls: PaidCalls, cancelling: CancelConductor) -> Tool[JobCancelArguments]:
    async def handle(arguments: JobCancelArguments, caller: Caller) -> Answer:
        job = await calls.find_own(arguments.job_id, caller.actor_id)
        done = await cancelling.cancel(job, actor_id=caller.actor_id)
        return Answer(data=JobCancelResult.of(done).data(), text=done.text)

    return Tool(
        name="ring-job-cancel",
        title="Cancel a job",
        description=DESCRIPTION,
        arguments=JobCancelArguments,
        output=JobCancelResult,
        annotations=_annotate(),
        handler=handle,
    )


def _annotate() -> ToolAnnotations:
    """Ends something, costs nothing, and does the same when it is called again."""
    from mcp_types import ToolAnnotations

    return ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=True)
