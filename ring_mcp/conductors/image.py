"""ImageConductor: a request for pictures, from the plan to the stored result. Usable from Python without MCP."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ring_mcp.clock import Clock
from ring_mcp.conductors.jobs import JobRunner, OnProgress
from ring_mcp.conductors.results import GenerateImageResult, QuoteLine, image_result
from ring_mcp.conductors.spending import cap_left
from ring_mcp.domain import Asset, AuditRecord, Caps, Failure, ImagePlan, ImageRequest, Job, JobState
from ring_mcp.errors import GenerationTimeout, InvalidRequest, LedgerError, StorageError
from ring_mcp.ledger.base import Ledger
from ring_mcp.presets import ImageSettings, Presets, plan_image
from ring_mcp.providers.base import MediaProvider

_NEEDED_DISK_BYTES = 64 * 1024 * 1024


class ImageConductor:
    """One facade for images: ``quote`` says what a request would cost, ``generate`` makes it.

    Both plan with the same function, so a quote is what a run reserves.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        runner: JobRunner,
        providers: Mapping[str, MediaProvider],
        presets: Presets,
        settings: ImageSettings,
        caps: Caps,
        clock: Clock,
        spool: Path,
        timeout_s: float,
        sandbox: bool,
    ) -> None:
        self._ledger = ledger
        self._runner = runner
        self._providers = providers
        self._presets = presets
        self._settings = settings
        self._caps = caps
        self._clock = clock
        self._spool = spool
        self._timeout_s = timeout_s
        self._sandbox = sandbox

    def plan(self, request: ImageRequest) -> ImagePlan:
        """What would be done. Raises InvalidRequest or ModelRetired; spends nothing."""
        return plan_image(request, self._settings, self._presets, self._clock.now().date())

    async def quote(self, request: ImageRequest) -> GenerateImageResult:
        """The plan with each price, the total, and what the caps leave; nothing is spent or written."""
        plan = self.plan(request)
        self._provider(plan).check_ready()
        left = cap_left(self._caps, await self._ledger.spend(self._clock.now(), sandbox=self._sandbox))
        warnings = list(plan.warnings)
        warnings += [
            f"this call needs ${plan.estimated_usd} and the cap {name} leaves ${amount}: it would be refused"
            for name, amount in left.items()
            if plan.estimated_usd > amount
        ]
        return GenerateImageResult(
            success=True,
            dry_run=True,
            provider=plan.provider,
            model=plan.model,
            prompt=plan.prompt,
            aspect_ratio=plan.aspect_ratio,
            resolution=plan.resolution,
            estimated_cost_usd=plan.estimated_usd,
            prices=tuple(QuoteLine.of(line) for line in plan.prices),
            cap_left_usd=left or None,
            warnings=tuple(warnings) or None,
            sandbox=self._sandbox or None,
        )

    async def generate(
        self,
        request: ImageRequest,
        *,
        actor_id: str,
        wait_s: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> GenerateImageResult:
        """Make the pictures and wait for them, at most ``wait_s`` (None: as long as it takes).

        A failure of provider or storage is in the result (``success`` False); it is raised only before anything was
        started: InvalidRequest, ModelRetired, ProviderAuthError (no key), CapExceeded, LedgerError, StorageError.
        A caller that is cancelled leaves; the job goes on.
        """
        plan = self.plan(request)
        self._provider(plan).check_ready()
        await asyncio.to_thread(self._check_disk)
        opened = await self._ledger.open(self._new_job(plan, request, actor_id), self._caps)
        if opened.joined:
            await self._runner.adopt(opened.job)
        else:
            self._runner.enqueue(opened.job)
        limit_s = self._timeout_s + 60.0 if wait_s is None else wait_s
        job = await self._runner.wait(opened.job.id, limit_s, on_progress)
        return await self.deliver(job or opened.job, joined=opened.joined)

    async def deliver(self, job: Job, *, joined: bool = False) -> GenerateImageResult:
        """The result of a job for a caller; from now on an identical request is a new one."""
        result = image_result(self._explained(job), joined=joined)
        if job.is_settled:
            try:
                await self._ledger.mark_delivered(job.id, self._clock.now())
            except LedgerError as exc:
                late = f"the ledger could not be written ({exc.message}); the row follows as soon as it can"
                result = result.model_copy(update={"warnings": (*(result.warnings or ()), late)})
        return result

    def _explained(self, job: Job) -> Job:
        """A job that nobody is driving and that has no failure has outlasted its time."""
        if job.is_settled or job.failure is not None or not (job.owner is None and job.due_at is None):
            return job
        text = f"Image generation timed out after {self._timeout_s * 1000:.0f}ms; the job is kept"
        late = GenerationTimeout(text)
        return replace(
            job,
            failure=Failure(
                code=late.code, message=text, billed="unknown", retryable=True, next_action=late.next_action
            ),
        )

    def _provider(self, plan: ImagePlan) -> MediaProvider:
        provider = self._providers.get(plan.provider)
        if provider is None:
            raise InvalidRequest(f"provider must be one of {', '.join(self._providers)}, got {plan.provider!r}")
        return provider

    def _new_job(self, plan: ImagePlan, request: ImageRequest, actor_id: str) -> Job:
        now = self._clock.now()
        return Job(
            id=str(uuid.uuid4()),
            kind="image",
            state=JobState.PLANNED,
            actor_id=actor_id,
            request_hash=request_hash("ring-image-create", plan, request.idempotency_key),
            idempotency_key=request.idempotency_key,
            plan=plan,
            sandbox=self._sandbox,
            due_at=now,
            reserved_usd=plan.estimated_usd,
            created_at=now,
            updated_at=now,
        )

    def _check_disk(self) -> None:
        """A picture needs a place before it is paid for."""
        try:
            self._spool.mkdir(parents=True, exist_ok=True, mode=0o700)
            free_bytes = shutil.disk_usage(self._spool).free
            probe = self._spool / f".probe-{uuid.uuid4().hex}"
            probe.touch()
            probe.unlink()
        except OSError as exc:
            raise StorageError(
                f"the state folder {self._spool.parent} cannot be written ({exc.strerror}); nothing was spent",
                billed="no",
                next_action="Point RING_STATE_DIR to a writable folder.",
            ) from exc
        if free_bytes < _NEEDED_DISK_BYTES:
            raise StorageError(
                f"the disk of {self._spool.parent} has {free_bytes // 2**20} MB left; nothing was spent",
                billed="no",
                next_action="Free some space, or point RING_STATE_DIR to another disk.",
            )


def request_hash(tool: str, plan: ImagePlan, idempotency_key: str | None) -> str:
    """What makes two requests the same: tool, effective arguments and key. Tagged, so that the form can change."""
    facts = plan.model_dump(mode="json", exclude={"prices", "warnings", "storage_prefix"})
    text = json.dumps([tool, facts, idempotency_key], sort_keys=True, ensure_ascii=False)
    return "v1:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def image_audit(job: Job, asset: Asset) -> AuditRecord:
    """The row of generated_images for one picture: Ring's keys first, then ours."""
    plan = job.plan
    data = {
        "actorId": job.actor_id,
        "provider": plan.provider,
        "model": plan.model,
        "prompt": plan.prompt,
        "aspectRatio": plan.aspect_ratio,
        "resolution": plan.resolution,
        "purpose": plan.purpose,
        "refCode": plan.ref_code,
        "url": asset.url,
        "fileId": asset.file_id,
        "size": asset.size_bytes,
        "createdAt": job.created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "contentType": asset.content_type,
        "sha256": asset.sha256,
        "jobId": job.id,
        "index": asset.index,
        "requestId": job.provider_request_id,
        "requestedModel": plan.requested_model,
        "servedModel": job.served_model,
        "sandbox": job.sandbox or None,
    }
    return AuditRecord(
        table="generated_images", id=asset.record_id, data={k: v for k, v in data.items() if v is not None}
    )
