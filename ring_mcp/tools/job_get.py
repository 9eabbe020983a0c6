"""ring-job-get: wait for jobs, or read their results again."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any, Self

from pydantic import Field, model_validator

from ring_mcp.conductors.paid_calls import PaidCalls
from ring_mcp.conductors.results import GenerateImageResult, GenerateVideoResult, Wire
from ring_mcp.domain.fields import JobId
from ring_mcp.errors import RingError
from ring_mcp.tools.envelope import failure_facts, failure_text
from ring_mcp.tools.job_answers import Previews, answer_shown, report
from ring_mcp.tools.paid import PreviewSize, Wait, call_notes, free
from ring_mcp.tools.tool import Answer, Arguments, Caller, Progress, Tool

DESCRIPTION = """\
Waits for a job and returns what its create tool would have; with jobIds, for several at once. Costs nothing, \
also for jobs that ended long ago. Still running after waitSeconds: call again."""

MAX_JOBS = 20
"""Of one call: its answer has to stay below what clients take."""

MAX_PREVIEWS_BYTES = 512 * 1024
"""Of all previews of one call, for the same reason; as base64 they are a third larger."""


class AnyJobResult(GenerateVideoResult, GenerateImageResult):
    """A job's ``data``, as the tool that made it returns it."""


class JobGetResult(Wire):
    """The ``data`` of ring-job-get. What it shares with the create tools is described there, once for every client."""

    state: str | None = Field(None, description="Beside all of the create tool's data.")
    jobs: tuple[dict[str, Any], ...] | None = Field(
        None, description="Of jobIds: each what jobId returns, or success false and error."
    )


class JobGetArguments(Arguments):
    job_id: JobId | None = Field(None, description="Of the create tool or ring-job-list. This or jobIds.")
    job_ids: list[JobId] | None = Field(None, max_length=MAX_JOBS, description="Several: the answer has jobs.")
    wait_seconds: Wait = None
    preview: PreviewSize = None

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if not self.ids:
            raise ValueError("jobId is required, or jobIds")
        return self

    @property
    def ids(self) -> list[str]:
        """All ids, without duplicates."""
        given = [*([self.job_id] if self.job_id else []), *(self.job_ids or ())]
        return list(dict.fromkeys(given))


def job_get_tool(calls: PaidCalls, previews: Previews, inline_wait_s: float) -> Tool[JobGetArguments]:
    async def one(job_id: str, wait_s: float, caller: Caller, progress: Progress, preview: str | None) -> Answer:
        job = await calls.find_own(job_id, caller.actor_id)
        return await answer_shown(await calls.resume(job, wait_s, report(progress)), previews, preview)

    async def handle(arguments: JobGetArguments, caller: Caller) -> Answer:
        ids = arguments.ids
        wait_s = inline_wait_s if arguments.wait_seconds is None else arguments.wait_seconds
        # By what was given, not by how many: whoever gives a list of one reads a list.
        if arguments.job_ids is None:
            return await one(ids[0], wait_s, caller, caller.progress, arguments.preview)
        progress = Shared(caller.progress, len(ids))
        answers = await asyncio.gather(
            *(one(job_id, wait_s, caller, progress.of(n), arguments.preview or "none") for n, job_id in enumerate(ids)),
            # One job that failed or is not there must not cost the results of the others.
            return_exceptions=True,
        )
        return _together(ids, answers)

    return Tool(
        name="ring-job-get",
        title="Get results of jobs",
        description=DESCRIPTION,
        arguments=JobGetArguments,
        output=JobGetResult,
        annotations=free(),
        handler=handle,
        notes=call_notes(inline_wait_s, previews.default),
    )


class Shared:
    """Reports the progress of several jobs as one number, their mean."""

    def __init__(self, progress: Progress, jobs: int) -> None:
        self._progress = progress
        self._percents = [0.0] * jobs

    def of(self, number: int) -> Progress:
        async def tell(percent: float, message: str) -> None:
            self._percents[number] = percent
            await self._progress(sum(self._percents) / len(self._percents), message)

        return tell


def _together(ids: Sequence[str], answers: Sequence[Answer | BaseException]) -> Answer:
    """One answer with an entry for each job, failed ones included."""
    jobs: list[dict[str, Any]] = []
    texts: list[str] = []
    previews: list[bytes] = []
    for job_id, each in zip(ids, answers, strict=True):
        if isinstance(each, Answer):
            jobs.append(each.data)
            texts.append(each.text)
            previews += each.previews
        elif isinstance(each, RingError):
            each.job_id = each.job_id or job_id
            extra = getattr(each, "extra", {})
            jobs.append(failure_facts(each, extra))
            texts.append(failure_text(each, extra))
        else:
            # No word of the tree: a fault of ours, or a cancellation, and neither is one job's result.
            raise each
    # The running total only grows, so that those below the limit are the first ones, in the order of the answer.
    shown = previews[: sum(total <= MAX_PREVIEWS_BYTES for total in itertools.accumulate(map(len, previews)))]
    if len(shown) < len(previews):
        texts.append(f"Previews of the first {len(shown)} are here: ask for the others by themselves.")
    return Answer(data={"jobs": jobs}, text="\n\n".join(texts), previews=tuple(shown))
