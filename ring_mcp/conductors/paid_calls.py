"""What both create tools do with their plans: quote them, or open a job, wait for it and deliver its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from ring_mcp.clock import Clock
from ring_mcp.conductors.allowance import Allowance, Allowed
from ring_mcp.conductors.confirming import Confirming, describe_plan
from ring_mcp.conductors.results import JobResult, QuoteLine, job_result, quote_result
from ring_mcp.conductors.signed_urls import for_caller
from ring_mcp.domain import EarlierRequest, Job, JobState, MediaKind, Plan, VideoPlan, VideoRequest, add_up, usd
from ring_mcp.domain.consent import NOBODY, Asking, Item, Terms
from ring_mcp.domain.fields import is_part_of_id, job_named, say_no_job
from ring_mcp.errors import InvalidRequest, LedgerError, NotFound, RingError
from ring_mcp.jobs.accounts import Accounts, describe_needed_account
from ring_mcp.jobs.addresses import R, addresses, normalize_address, with_addresses
from ring_mcp.jobs.inputs import MediaInputs
from ring_mcp.jobs.opening import TOOL, Opening, request_hash
from ring_mcp.jobs.outcomes import failure_of, name_open_job
from ring_mcp.jobs.queue.base import JobQueue
from ring_mcp.jobs.watch import JobWatch, OnProgress
from ring_mcp.ledger.base import Ledger
from ring_mcp.plans.clip_inputs import sum_given_usd
from ring_mcp.storage.base import Storage

_LATE_S = 60.0
"""How much longer a caller waits than its job may take, so that it gets the end."""


class PaidCalls:
    """``timeouts_s``: how long a job of each kind may take; a call without ``wait_s`` waits that long."""

    def __init__(
        self,
        *,
        opening: Opening,
        accounts: Accounts,
        queue: JobQueue,
        watch: JobWatch,
        inputs: MediaInputs,
        ledger: Ledger,
        storage: Storage,
        allowance: Allowance,
        clock: Clock,
        timeouts_s: Mapping[MediaKind, float],
        confirming: Confirming,
    ) -> None:
        self._opening = opening
        self._accounts = accounts
        self._queue = queue
        self._watch = watch
        self._inputs = inputs
        self._ledger = ledger
        self._storage = storage
        self._allowance = allowance
        self._clock = clock
        self._timeouts_s = timeouts_s
        self.confirming = confirming
        self._sandbox = accounts.holder.sandbox

    def check_provider(self, plan: Plan) -> None:
        """Raises InvalidRequest if a provider does not make this, ProviderAuthError if it has no key."""
        self._opening.check_provider(plan.kind, plan.provider)
        if isinstance(plan, VideoPlan) and plan.first_frame is not None:
            self._opening.check_provider("image", plan.first_frame.provider, "imageProvider")

    async def check_may_spend(self, actor_id: str) -> None:
        """Raises LookOnly, Unauthorized or LedgerError. Called before anything is fetched for the caller, or anybody is
        asked; the job's opening looks again, under its locks."""
        await self._allowance.check_may_spend(actor_id)

    async def with_results(self, request: R, actor_id: str | None) -> R:
        """The request with each job that it names (``ring://jobs/ID``) replaced by the address of its first result,
        and with the earlier request that made its source clip, if that was this actor's.

        Raises InvalidRequest for jobs or paths that are not this actor's, and for jobs without a result.
        """
        named = {url: field for field, url in addresses(request) if job_named(url)}
        # Without names of jobs: a bare id looks like a path.
        self._inputs.refuse_foreign_paths(with_addresses(request, lambda _, url: "ring:" if url in named else url))
        jobs = {url: await self._find_named_job(url, field, actor_id) for url, field in named.items()}
        found = with_addresses(request, lambda _, url: jobs[url].assets[0].url if url in jobs else url)
        if not isinstance(found, VideoRequest) or not found.source_video_url or actor_id is None:
            return found
        assert isinstance(request, VideoRequest)
        job = jobs.get(request.source_video_url or "") or await self._job_behind(found.source_video_url, actor_id)
        return replace(found, source_made=self._earlier_request(job)) if job is not None else found

    async def _job_behind(self, url: str, actor_id: str) -> Job | None:
        """This actor's job that made the clip at ``url``, found by its audit row. Raises LedgerError."""
        url = self._storage.strip_signature(normalize_address("sourceVideoUrl", url))
        local = self._storage.local_path(url)
        if local is None and url.startswith("/"):
            local = Path(url)
        for spelled in dict.fromkeys([url, local.as_uri() if local else url]):
            row = await self._ledger.find_record("generated_videos", actor_id, "url", spelled)
            if row is not None and isinstance(job_id := row.get("jobId"), str):
                return await self._watch.read(job_id)
        return None

    def _earlier_request(self, job: Job) -> EarlierRequest | None:
        """The provider's handle of a job, if the provider can go on from its clip: only for the same account."""
        plan, request_id = job.plan, job.provider_request_id
        if job.state is not JobState.DONE or not job.assets or request_id is None or not isinstance(plan, VideoPlan):
            return None
        if not self._accounts.hold(job) or not job.account.is_recorded:
            return None
        made_on = (job.finished_at or job.created_at).date()
        return EarlierRequest(
            provider=plan.provider,
            request_id=request_id,
            made_on=made_on,
            given_usd=sum_given_usd(plan),
            sha256=job.assets[0].sha256,
        )

    async def _find_named_job(self, url: str, field: str, actor_id: str | None) -> Job:
        job_id = job_named(url) or ""
        try:
            # Without an actor, as in some quotes, no job is found: every job has an actor.
            job = await self.find_own(job_id, actor_id or "")
        except NotFound as exc:
            raise InvalidRequest(f"{field}: {exc.message[:200]}") from exc
        if not job.assets:
            raise InvalidRequest(f"{field}: job {job.id} is {job.state} and has no result; ring-job-get waits for it")
        return job

    async def quote(
        self, plan: Plan, max_usd: Decimal | None = None, actor_id: str | None = None, key: str | None = None
    ) -> JobResult:
        """The plan with each price, the total, what the caps leave, and whether they would refuse. Spends nothing.

        ``actor_id``: who would call, with the idempotency key ``key``; raises InvalidRequest if it has another request.
        A still that this actor has paid for and not used yet costs nothing.
        """
        stands = None if key is None or actor_id is None else await self._find_same(plan, actor_id, key)
        still = plan.first_frame if isinstance(plan, VideoPlan) else None  # the paid call takes one that waits for it
        paid = await self._opening.find_unused_still(plan, actor_id) if actor_id is not None else None
        lines = [*plan.prices, *(still.prices if still and paid is None else ())]
        total = add_up(lines)
        allowed = await self._allowance.read(actor_id)
        left = allowed.left
        notes = [
            f"this call needs {usd(total)} and {_cap_of(name, allowed)} leaves {usd(amount)}: it would be refused"
            for name, amount in left.items()
            if total > amount
        ]
        if allowed.standing is not None and not allowed.standing.may_spend:
            notes.append(f"{actor_id} may look and not spend: it would be refused")
        if max_usd is not None and total > max_usd:
            notes.append(f"this call needs {usd(total)} and maxUsd is {usd(max_usd)}: it would be refused")
        if stands is not None:
            notes.append(f"idempotencyKey stands for this request already: job {stands.id} is joined, nothing is paid")
        if paid is not None:
            notes.append(f"the first frame of job {paid.id} is taken, which was paid for and has no clip yet")
        return quote_result(
            plan,
            prices=tuple(QuoteLine.of(line) for line in lines),
            total_usd=total,
            cap_left_usd=left or None,
            actor=allowed.standing,
            warnings=(*plan.warnings, *notes) or None,
            sandbox=self._sandbox or None,
        )

    async def _find_same(self, plan: Plan, actor_id: str, key: str) -> Job | None:
        # The key alone first: most are new, and what is given along need not be kept for a quote.
        if (job := await self.find(actor_id, key)) is None:
            return None
        plan = await self._inputs.keep(plan)
        return job if (await self._opening.look(plan, actor_id=actor_id, idempotency_key=key)).stands else None

    async def make(
        self,
        plan: Plan,
        *,
        actor_id: str,
        idempotency_key: str | None,
        max_usd: Decimal | None = None,
        wait_s: float | None = None,
        on_progress: OnProgress | None = None,
        asking: Asking = NOBODY,
    ) -> JobResult:
        """Open the job of a checked plan, wait for it at most ``wait_s`` (None: as long as it may take), deliver it.

        Raises CapExceeded, ConfirmationNeeded, InvalidRequest, ProviderAuthError, LedgerError or StorageError; then
        nothing was started, unless a LedgerError names a job: that one goes on. Any other failure after the start is in
        the result.
        """
        # First: ``request_hash`` is computed from the kept plan, and has to be the same for question and job.
        plan = await self._inputs.keep(plan)
        terms = await self._agree(plan, actor_id, idempotency_key, max_usd, asking)
        opened = await self._opening.open(
            plan, actor_id=actor_id, idempotency_key=idempotency_key, max_usd=max_usd, terms=terms
        )
        # "is None", since 0 means to answer at once.
        limit_s = self._timeouts_s[plan.kind] + _LATE_S if wait_s is None else wait_s
        with name_open_job(opened.job.id):
            job = await self._wait(opened.job, limit_s, on_progress)
        return await self.deliver(job, joined=opened.joined)

    async def _agree(
        self, plan: Plan, actor_id: str, key: str | None, max_usd: Decimal | None, asking: Asking
    ) -> Terms | None:
        """Get a confirmation of what this would spend, if one is needed. What the caps would refuse is not asked."""
        if not self.confirming.applies_to(asking):
            return None
        await self.check_may_spend(actor_id)  # nobody is asked to confirm what is refused afterwards
        if asking.terms is not None:
            return asking.terms
        prospect = await self._opening.look(plan, actor_id=actor_id, idempotency_key=key)
        # Not None: if that job is gone when this one is opened, this one is new, and needs a confirmation of its own.
        if prospect.stands:
            return self.confirming.without_answer()
        left = (await self._allowance.read(actor_id)).left.values()
        if prospect.needed_usd > min([*left, prospect.needed_usd if max_usd is None else max_usd]):
            return self.confirming.without_answer()  # the ledger refuses, before it looks for a confirmation

        async def quote() -> JobResult:
            return await self.quote(plan, max_usd, actor_id)

        item = Item(subject=prospect.subject, usd=prospect.needed_usd, what=describe_plan(plan))
        return await self.confirming.settle([item], asking, actor_id, quote)

    async def name_subject(self, plan: Plan, idempotency_key: str | None) -> str:
        """The subject of a confirmation of this call: its request hash."""
        return request_hash(TOOL[plan.kind], await self._inputs.keep(plan), idempotency_key)

    async def resume(self, job: Job, wait_s: float, on_progress: OnProgress | None = None) -> JobResult:
        """Have a job carried on, wait for it at most ``wait_s`` seconds, and deliver it. Raises LedgerError, which
        names the job."""
        with name_open_job(job.id):
            # Before the wait: its owner may have died.
            await self._queue.adopt(job)
            waited = await self._wait(job, wait_s, on_progress)
        return await self.deliver(waited)

    async def _wait(self, job: Job, wait_s: float, on_progress: OnProgress | None) -> Job:
        """The job as it is after the wait; at once if no live process can carry it on."""
        if not self._accounts.hold(job):
            if await self._accounts.is_stranded(job):
                return _stuck(await self.read(job.id) or job, describe_needed_account(job))
            await self._queue.adopt(job)  # the provider may have told meanwhile that the account is ours
        return await self._watch.wait(job.id, wait_s, on_progress, asked=job) or job

    async def find(self, actor_id: str, idempotency_key: str) -> Job | None:
        """The job that this actor's idempotency key stands for. Raises LedgerError."""
        return await self._ledger.find(actor_id, idempotency_key, sandbox=self._sandbox)

    async def read(self, job_id: str) -> Job | None:
        """A job as it is now, of any actor. Raises LedgerError."""
        return await self._watch.read(job_id)

    async def find_own(self, job_id: str, actor_id: str | None) -> Job:
        """This actor's job with that id, or with an id that begins so; any actor's if ``actor_id`` is None.

        Raises NotFound if there is none, if it is another actor's, or if several begin so; and LedgerError.
        """
        with name_open_job(job_id, stands=False):
            job = await self._watch.read(job_id)
            if job is None and is_part_of_id(job_id):
                # Among this actor's own: it must not tell that another actor has a job that begins so.
                found = await self._ledger.find_ids(job_id, actor_id)
                if len(found) > 1:
                    raise NotFound(f"several jobs begin with {job_id!r}", next_action="Give more of the id.")
                job = await self._watch.read(found[0]) if found else None
        if job is None or actor_id not in (None, job.actor_id):
            raise NotFound(say_no_job(job_id))
        return job

    async def show(self, job: Job, *, joined: bool = False) -> JobResult:
        """The result of a job, without marking it as delivered."""
        return job_result(await for_caller(job, self._storage), self._clock.now(), joined=joined)

    async def deliver(self, job: Job, *, joined: bool = False) -> JobResult:
        """The result of a job for a caller; from now on an identical request is a new one."""
        result = await self.show(job, joined=joined)
        is_behind = self._watch.is_behind(job.id)
        late = "the ledger could not be written; the row follows as soon as it can" if is_behind else None
        # Marked only once the row is written: otherwise an identical call would pay again for what no row has.
        if job.is_settled and late is None:
            try:
                await self._opening.delivery.mark(job)
            except LedgerError as exc:
                late = f"the ledger could not be written ({exc.message}); the row follows as soon as it can"
        return result if late is None else result.model_copy(update={"warnings": (*(result.warnings or ()), late)})


def _cap_of(name: str, allowed: Allowed) -> str:
    is_own = allowed.standing is not None and allowed.own_left.get(name) == allowed.left[name]
    return f"the cap {name} of {allowed.standing.id}" if is_own and allowed.standing else f"the cap {name}"


def _stuck(job: Job, why: RingError) -> Job:
    """The job as it is shown to a caller if no live process can carry it on."""
    return job if job.is_settled else replace(job, owner=None, due_at=None, failure=failure_of(why, job.id))
