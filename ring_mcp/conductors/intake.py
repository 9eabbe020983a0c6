"""What every paid call does first and last: room on the disk, one row in the ledger, a driver; then its delivery."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from ring_mcp.clock import Clock
from ring_mcp.conductors.addresses import for_caller
from ring_mcp.conductors.jobs import JobRunner, OnProgress
from ring_mcp.conductors.results import JobResult, QuoteLine, job_result
from ring_mcp.conductors.spending import cap_left
from ring_mcp.domain import MAKERS, Caps, Failure, Job, JobState, MediaKind, Plan, usd
from ring_mcp.errors import GenerationTimeout, InvalidRequest, LedgerError, StorageError
from ring_mcp.ledger.base import Ledger, Opened
from ring_mcp.providers.base import Providers
from ring_mcp.storage.base import Storage

NEEDED_DISK_BYTES = 64 * 1024 * 1024

TOOL: Mapping[MediaKind, str] = {"image": "ring-image-create", "video": "ring-video-create"}


class Intake:
    """``timeouts_s``: how long a job of each kind may take, for the text that says it took longer."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        storage: Storage,
        runner: JobRunner,
        providers: Providers,
        caps: Caps,
        clock: Clock,
        spool: Path,
        timeouts_s: Mapping[MediaKind, float],
        sandbox: bool,
    ) -> None:
        self.sandbox = sandbox
        self.caps = caps
        self._ledger = ledger
        self._storage = storage
        self._runner = runner
        self._providers = providers
        self._clock = clock
        self._spool = spool
        self._timeouts_s = timeouts_s

    def check_provider(self, kind: MediaKind, name: str) -> None:
        """Raises InvalidRequest if nobody makes this here, ProviderAuthError if there is no key."""
        provider = self._providers.get((kind, name))
        if provider is None:
            known = ", ".join(known for k, known in self._providers if k == kind)
            raise InvalidRequest(f"provider must be one of {known} for {kind}s, got {name!r}")
        provider.check_ready()

    async def begin(
        self, plan: Plan, *, actor_id: str, idempotency_key: str | None, parent_job_id: str | None = None
    ) -> Opened:
        """The job that stands for this plan, being driven by somebody.

        Raises CapExceeded, InvalidRequest, ProviderAuthError, LedgerError or StorageError; then nothing was started.
        """
        self.check_provider(plan.kind, plan.provider)
        await asyncio.to_thread(check_disk, self._spool)
        now = self._clock.now()
        job = Job(
            id=str(uuid.uuid4()),
            kind=plan.kind,
            state=JobState.PLANNED,
            actor_id=actor_id,
            request_hash=request_hash(TOOL[plan.kind], plan, idempotency_key),
            idempotency_key=idempotency_key,
            parent_job_id=parent_job_id,
            ref_code=plan.ref_code,
            clip_id=getattr(plan, "clip_id", None),
            pipeline_request_id=getattr(plan, "pipeline_request_id", None),
            plan=plan,
            sandbox=self.sandbox,
            due_at=now,
            reserved_usd=plan.list_usd,
            created_at=now,
            updated_at=now,
        )
        # Both or neither, also for a caller that is cancelled now: a row that nobody drives would hold its reservation.
        opening = asyncio.ensure_future(self._open(job))
        opening.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            await asyncio.wait({opening})
            raise

    async def _open(self, job: Job) -> Opened:
        opened = await self._ledger.open(job, self.caps)
        if opened.joined:
            await self._runner.adopt(opened.job)
        else:
            self._runner.enqueue(opened.job)
        return opened

    async def result(self, opened: Opened, wait_s: float | None, on_progress: OnProgress | None) -> JobResult:
        """Wait for the job, at most ``wait_s`` (None: as long as it may take), and deliver it."""
        limit_s = self._timeouts_s[opened.job.kind] + 60.0 if wait_s is None else wait_s
        job = await self._runner.wait(opened.job.id, limit_s, on_progress)
        return await self.deliver(job or opened.job, joined=opened.joined)

    async def deliver(self, job: Job, *, joined: bool = False) -> JobResult:
        """The result of a job for a caller; from now on an identical request is a new one."""
        result = job_result(await for_caller(self._explained(job), self._storage), joined=joined)
        if job.is_settled:
            try:
                await self._ledger.mark_delivered(job.id, self._clock.now())
            except LedgerError as exc:
                late = f"the ledger could not be written ({exc.message}); the row follows as soon as it can"
                result = result.model_copy(update={"warnings": (*(result.warnings or ()), late)})
        return result

    def _explained(self, job: Job) -> Job:
        """A job that nobody drives and that has no failure has outlasted its time."""
        if job.is_settled or job.failure is not None or not job.is_parked:
            return job
        text = f"{job.kind.capitalize()} generation timed out after {self._timeouts_s[job.kind] * 1000:.0f}ms"
        if job.provider_request_id:
            text += f"; the job is kept ({MAKERS[job.plan.provider]} request {job.provider_request_id})"
        late = GenerationTimeout(text)
        failure = Failure(code=late.code, message=text, billed="unknown", retryable=True, next_action=late.next_action)
        return replace(job, failure=failure)

    async def quoted(self, *plans: Plan) -> dict[str, object]:
        """What a dry run says of money: each price, the total, what the caps leave, and whether they would refuse."""
        lines = [line for plan in plans for line in plan.prices]
        total = sum((line.total_usd for line in lines), Decimal(0))
        left = cap_left(self.caps, await self._ledger.spend(self._clock.now(), sandbox=self.sandbox))
        refused = [
            f"this call needs {usd(total)} and the cap {name} leaves {usd(amount)}: it would be refused"
            for name, amount in left.items()
            if total > amount
        ]
        return {
            "prices": tuple(QuoteLine.of(line) for line in lines),
            "total_usd": total,
            "cap_left_usd": left or None,
            "warnings": (*(warning for plan in plans[:1] for warning in plan.warnings), *refused) or None,
        }


_MADE = ("made_frame", "made_frame_billed_usd", "made_thumbnail")


def request_hash(tool: str, plan: Plan, idempotency_key: str | None) -> str:
    """What makes two requests the same: tool, effective arguments and key. Tagged, so that the form can change."""
    facts = plan.model_dump(mode="json", exclude={"prices", "warnings", "storage_prefix", "estimated_usd", *_MADE})
    text = json.dumps([tool, facts, idempotency_key], sort_keys=True, ensure_ascii=False)
    return "v1:" + hashlib.sha256(text.encode()).hexdigest()


def check_disk(spool: Path) -> None:
    """A result needs a place before it is paid for. Raises StorageError."""
    try:
        spool.mkdir(parents=True, exist_ok=True, mode=0o700)
        free_bytes = shutil.disk_usage(spool).free
        with tempfile.TemporaryFile(dir=spool):  # without a name: a kill here leaves nothing behind
            pass
    except OSError as exc:
        raise StorageError(
            f"the state folder {spool.parent} cannot be written ({exc.strerror}); nothing was spent",
            billed="no",
            next_action="Point RING_STATE_DIR to a writable folder.",
        ) from exc
    if free_bytes < NEEDED_DISK_BYTES:
        raise StorageError(
            f"the disk of {spool.parent} has {free_bytes // 2**20} MB left; nothing was spent",
            billed="no",
            next_action="Free some space, or point RING_STATE_DIR to another disk.",
        )
