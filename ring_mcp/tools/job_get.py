"""ring-job-get: go on waiting for a job, or read its result again."""

from __future__ import annotations

from pydantic import Field

from ring_mcp.conductors.paid_calls import PaidCalls
from ring_mcp.conductors.results import GenerateImageResult, GenerateVideoResult
from ring_mcp.domain.fields import ShortText
from ring_mcp.errors import NotFound
from ring_mcp.tools.job_answers import Previews, answer, report
from ring_mcp.tools.paid import Wait, free
from ring_mcp.tools.tool import Answer, Arguments, Caller, Tool

DESCRIPTION = """\
Waits for a job that a create tool answered with, and returns exactly what the create tool would have returned. \
Costs nothing and may be called as often as you like, also for jobs that ended long ago. If the job is still running \
after waitSeconds, the answer has its state: call again."""


class AnyJobResult(GenerateVideoResult, GenerateImageResult):
    """The ``data`` of ring-job-get: that of the tool which made the job."""


class JobGetArguments(Arguments):
    job_id: ShortText = Field(description="The jobId that the create tool answered with. Required.")
    wait_seconds: Wait = None


def job_get_tool(calls: PaidCalls, previews: Previews, inline_wait_s: float) -> Tool[JobGetArguments]:
    async def handle(arguments: JobGetArguments, caller: Caller) -> Answer:
        job = await calls.read(arguments.job_id)
        if job is None or job.actor_id != caller.actor_id:
            raise NotFound(f"there is no job {arguments.job_id!r}")
        wait_s = inline_wait_s if arguments.wait_seconds is None else arguments.wait_seconds
        return answer(await calls.resume(job, wait_s, report(caller.progress)), previews)

    return Tool(
        name="ring-job-get",
        title="Get a job's result",
        description=DESCRIPTION,
        arguments=JobGetArguments,
        output=AnyJobResult,
        annotations=free("Get a job's result"),
        handler=handle,
    )
