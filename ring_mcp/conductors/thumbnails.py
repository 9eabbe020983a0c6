"""A new thumbnail for a finished clip: drawn on the stored clip, without a provider and without cost."""

from __future__ import annotations

from dataclasses import replace

from ring_mcp.conductors.paid_calls import PaidCalls
from ring_mcp.conductors.results import JobResult
from ring_mcp.domain import Job, JobState, Thumbnail, VideoPlan
from ring_mcp.errors import InvalidRequest, JobMoved
from ring_mcp.jobs.thumbnails import Thumbnails
from ring_mcp.ledger.base import Ledger
from ring_mcp.plans.thumbnails import check_thumbnail

_TRIES = 3
"""Few are enough: the row of a job that has ended is only written to mark its delivery."""


class ThumbnailConductor:
    def __init__(self, thumbnails: Thumbnails, calls: PaidCalls, ledger: Ledger) -> None:
        self._thumbnails = thumbnails
        self._calls = calls
        self._ledger = ledger

    async def draw(self, job: Job, thumbnail: Thumbnail) -> JobResult:
        """The job's result with this thumbnail, which is not drawn twice; or with a warning that says why not.

        Raises InvalidRequest for a job that is no finished clip, JobMoved or LedgerError.
        """
        plan = job.plan
        if not isinstance(plan, VideoPlan) or job.state is not JobState.DONE:
            raise InvalidRequest(f"job {job.id} is no finished clip: it is {job.kind}, {job.state}")
        warnings: list[str] = []
        wanted = check_thumbnail(thumbnail, warnings)
        if plan.made_thumbnail is not None and plan.thumbnail == wanted:
            return await self._calls.deliver(job)
        drawn, records = await self._thumbnails.draw_again(job, wanted)
        if not records:  # an earlier thumbnail stays
            return await self._calls.deliver(replace(job, warnings=(*job.warnings, drawn.warnings[-1])))
        drawn = replace(drawn, warnings=(*drawn.warnings, *warnings))
        for _ in range(_TRIES):
            try:
                return await self._calls.deliver(await self._ledger.amend(drawn, records))
            except JobMoved:
                now = await self._ledger.get(job.id)
                # Only the version has changed: the drawing does not depend on what was written meanwhile.
                drawn = replace(drawn, version=now.version if now else drawn.version)
        raise JobMoved(f"job {job.id} is being written by others; its thumbnail was not noted")
