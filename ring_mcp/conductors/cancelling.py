"""Cancelling a job: certain and free until its request leaves, then only as far as its provider can."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ring_mcp.clock import Clock
from ring_mcp.conductors.allowance import Allowance
from ring_mcp.domain import Job, JobState, VideoPlan, usd
from ring_mcp.errors import Billed, GenerationFailed, JobCancelled, JobMoved, ProviderError
from ring_mcp.jobs.accounts import Accounts
from ring_mcp.jobs.endings import Ending
from ring_mcp.jobs.outcomes import end_job, failure_of, name_typed
from ring_mcp.jobs.sharing import Sharing
from ring_mcp.jobs.watch import JobWatch
from ring_mcp.ledger.base import Ledger
from ring_mcp.providers.base import CancelsJobs, Providers
from ring_mcp.providers.vendors import title_of

_TRIES = 5
"""A job changes its state only a few times; after each change it is read again."""


@dataclass(frozen=True, slots=True)
class Cancellation:
    """What became of a cancellation. ``is_asked``: the provider was asked, and the job will say how it ended."""

    job: Job
    is_cancelled: bool
    is_asked: bool
    text: str


class CancelConductor:
    def __init__(
        self,
        ledger: Ledger,
        watch: JobWatch,
        providers: Providers,
        accounts: Accounts,
        clock: Clock,
        allowance: Allowance,
        sharing: Sharing,
    ) -> None:
        self._ledger = ledger
        self._watch = watch
        self._providers = providers
        self._accounts = accounts
        self._clock = clock
        self._allowance = allowance
        self._sharing = sharing

    async def cancel(self, job: Job, *, actor_id: str | None = None) -> Cancellation:
        """Cancel a job, if that is possible. Raises LedgerError; calling again then does what is left to do.

        ``actor_id``: who cancels, None for the operator; raises LookOnly or Unauthorized for one who may not spend.

        A ``planned`` job's row is ended, and its version decides the race: a process that is about to send the request
        writes the intent first, and finds the row changed. A still of its own is cancelled before it: in the other
        order, a fault in between would leave a still that goes on, and is paid for, without a clip.
        """
        if actor_id is not None:
            await self._allowance.check_may_spend(actor_id)
        still: Job | None = None
        for _ in range(_TRIES):
            # Read each time, since the caller's copy may be old: only a row that is still planned may be ended here.
            stored = await self._ledger.get(job.id) or job
            if stored.state is not JobState.PLANNED:
                if stored.state is JobState.FAILED and still is not None and still.is_cancelled:
                    return _say_cancelled(stored, still)  # its driver saw that the still had ended, and ended it
                return await self._cancel_sent(stored)
            try:
                still = await self._cancel_still(stored)
                ended = await self._end(stored, still)
            except JobMoved:
                continue
            return _say_cancelled(ended, still)
        raise JobMoved(f"job {job.id} keeps changing; call again")

    async def _end(self, job: Job, still: Job | None = None) -> Job:
        """End a planned job. ``still``: its first frame. The failure is about both, the cost about the job alone."""
        now = self._clock.now()
        what = f"cancelled before its request was sent{_say_of_still(still)}"
        why = JobCancelled(what, job_id=job.id, billed=_say_billed(job, still))
        ended = end_job(job, Ending.CANCELLED, now, failure=failure_of(why, job.id), billed="no")
        ended = await self._ledger.save(job, replace(ended, owner=None, updated_at=now))
        self._watch.tell(ended)
        self._sharing.forget(ended)
        return ended

    async def _cancel_still(self, clip: Job) -> Job | None:
        """Cancel the clip's own first frame if it is planned; returns it as it is then. One that is being made is paid
        for, and kept for the next clip that wants it. Raises JobMoved."""
        still_id = clip.plan.frame_job_id if isinstance(clip.plan, VideoPlan) else None
        still = await self._ledger.get(still_id) if still_id is not None else None
        # A still that has become another clip's is not this one's to end.
        if still is None or still.parent_job_id != clip.id:
            return None
        return await self._end(still) if still.state is JobState.PLANNED else still

    async def _cancel_sent(self, job: Job) -> Cancellation:
        if job.is_terminal:
            return Cancellation(job, False, False, f"job {job.id} is {job.state} already: there is nothing to cancel")
        # A provider is asked by the handle, which nobody has.
        if job.state is JobState.UNKNOWN:
            named = name_typed(job.id, sandbox=job.sandbox)
            settle = f"`ring-mcp jobs resolve {named} --paid|--not-paid` settles it"
            text = f"nobody knows what became of the request of job {job.id}: it cannot be cancelled; {settle}"
            return Cancellation(job, False, False, text)
        if job.state is JobState.RENDERING and (asked := await self._ask_provider(job)) is not None:
            return asked
        text = (
            f"job {job.id} is {job.state}: {self._say_why_not(job)}. It will cost {usd(job.reserved_usd)} at most, and "
            "the result is kept: ring-job-get returns it"
        )
        return Cancellation(job, False, False, text)

    def _say_why_not(self, job: Job) -> str:
        vendor = title_of(job.plan.provider)
        if job.state is JobState.STORING:
            return f"{vendor} has made it already, and nothing is left to cancel"
        # The provider is asked by the handle, which comes with the answer to the request.
        if job.state is JobState.SUBMITTING and self._find_canceller(job) is not None:
            return f"{vendor} can be told to cancel it once it has answered the request, so cancel it again in a moment"
        return f"{vendor} cannot cancel a request that it has been sent"

    def _find_canceller(self, job: Job) -> CancelsJobs | None:
        provider = self._providers.get((job.kind, job.plan.provider))
        return provider if isinstance(provider, CancelsJobs) else None

    async def _ask_provider(self, job: Job) -> Cancellation | None:
        """Ask the provider to cancel; returns None if it offers no way to."""
        provider = self._find_canceller(job)
        if provider is None:
            return None
        assert job.provider_request_id is not None, "the table has a CHECK for this"
        vendor = title_of(job.plan.provider)
        # With another key the provider would answer that there is no such job, which means something else.
        if not self._accounts.hold(job):
            text = f"job {job.id} belongs to {job.account}, whose key this server does not have: it was not cancelled"
            return Cancellation(job, False, False, text)
        try:
            await provider.cancel(job.plan, job.provider_request_id)
        except GenerationFailed:
            pass  # it has failed already: the next poll gets the same answer, with its bill, and ends the job
        except ProviderError as exc:
            text = f"{vendor} did not cancel job {job.id}: {exc.message}. It goes on, and the result is kept"
            return Cancellation(job, False, False, text)
        # The next poll, which tells how the job ended, may be a while off.
        self._watch.wake(job.id)
        text = (
            f"{vendor} was told to cancel job {job.id}. ring-job-get says how it ended, and what was billed for what "
            "had been made by then"
        )
        return Cancellation(job, False, True, text)


def _say_cancelled(job: Job, still: Job | None) -> Cancellation:
    if still is None:
        text = f"job {job.id} was cancelled before its request was sent; nothing was billed"
    elif still.is_cancelled:
        text = f"job {job.id} was cancelled, and its first frame, before a request was sent; nothing was billed"
    else:
        text = (
            f"job {job.id} was cancelled before its request was sent. Its first frame (job {still.id}) is "
            f"{still.state}: its bill is in its own row, and the next clip that asks for the same first frame takes it"
        )
    return Cancellation(job, True, False, text)


def _say_of_still(still: Job | None) -> str:
    if still is None or still.is_cancelled:
        return ""
    return f"; its first frame (job {still.id}) is {still.state}, and its bill is in its own row"


def _say_billed(clip: Job, still: Job | None) -> Billed:
    """Whether the whole call was billed: it may have bought the still."""
    is_of_an_earlier_call = isinstance(clip.plan, VideoPlan) and clip.plan.frame_was_paid
    if still is None or is_of_an_earlier_call:
        return "no"
    if still.failure is not None and still.is_terminal:
        return still.failure.billed
    return "yes" if still.state is JobState.DONE else "unknown"
