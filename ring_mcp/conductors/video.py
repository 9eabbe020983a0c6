"""VideoConductor: a request for a clip, from the plan to the stored result. Usable from Python without MCP."""

from __future__ import annotations

from dataclasses import replace
from decimal import ROUND_UP, Decimal

from ring_mcp.clock import Clock
from ring_mcp.conductors.inputs import MediaInputs
from ring_mcp.conductors.intake import Intake
from ring_mcp.conductors.jobs import JobRunner, OnProgress
from ring_mcp.conductors.results import GenerateVideoResult
from ring_mcp.domain import Asset, AuditRecord, Job, Spend, VideoPlan, VideoRequest
from ring_mcp.errors import InvalidRequest
from ring_mcp.ledger.transactions import check_caps
from ring_mcp.plans.video import VideoSettings, plan_video
from ring_mcp.presets import Presets

_NOTHING_SPENT = Spend.nothing()


class VideoConductor:
    """One facade for clips: ``quote``, ``generate``, and Ring's two ways to a better one.

    All plan with the same function, so a quote is what a run reserves.
    """

    def __init__(
        self,
        intake: Intake,
        runner: JobRunner,
        inputs: MediaInputs,
        presets: Presets,
        settings: VideoSettings,
        clock: Clock,
        *,
        first_frame_wait_s: float,
    ) -> None:
        self._intake = intake
        self._runner = runner
        self._inputs = inputs
        self._presets = presets
        self._settings = settings
        self._clock = clock
        self._first_frame_wait_s = first_frame_wait_s

    def plan(self, request: VideoRequest) -> VideoPlan:
        """What would be done. Raises InvalidRequest or ModelRetired; spends nothing."""
        return plan_video(self._inputs.unsigned(request), self._settings, self._presets, self._clock.now().date())

    async def quote(self, request: VideoRequest) -> GenerateVideoResult:
        """The plan with each price, the total, and what the caps leave; nothing is spent or written."""
        plan = await self._checked(request)
        plans = (plan,) if plan.first_frame is None else (plan, plan.first_frame)
        facts = await self._intake.quoted(*plans)
        return GenerateVideoResult.model_validate(
            {
                "success": True,
                "dry_run": True,
                "provider": plan.provider,
                "model": plan.model,
                "prompt": plan.prompt,
                "quality_mode": plan.quality_mode,
                "generation_kind": plan.generation_kind,
                "resolution": plan.resolution,
                "aspect_ratio": plan.aspect_ratio,
                "duration": plan.duration_s,
                "estimated_cost_usd": plan.estimated_usd,
                "clip_id": plan.clip_id,
                "pipeline_request_id": plan.pipeline_request_id,
                "sandbox": self._intake.sandbox or None,
                **facts,
            }
        )

    async def generate(
        self,
        request: VideoRequest,
        *,
        actor_id: str,
        wait_s: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> GenerateVideoResult:
        """Make the clip and wait for it, at most ``wait_s`` (None: as long as it takes).

        A failure of provider or storage is in the result (``success`` False); it is raised only before anything was
        started: InvalidRequest, ModelRetired, ProviderAuthError (no key), CapExceeded, LedgerError, StorageError.
        A caller that is cancelled leaves; the job goes on.
        """
        plan = await self._checked(request)
        if plan.first_frame is not None:
            whole_usd = plan.list_usd + plan.first_frame.list_usd
            check_caps(whole_usd, _NOTHING_SPENT, self._intake.caps, self._clock.now())
        plan = await self._inputs.kept(plan)
        opened = await self._intake.begin(plan, actor_id=actor_id, idempotency_key=request.idempotency_key)
        result = await self._intake.result(opened, wait_s, on_progress)
        assert isinstance(result, GenerateVideoResult)
        return result

    async def remaster(self, request: VideoRequest, *, actor_id: str) -> GenerateVideoResult:
        """The clip again at a real 720p; with ``source_video_url`` an edit of that clip."""
        return await self.generate(replace(request, remaster=True), actor_id=actor_id)

    async def edit_from_source(self, request: VideoRequest, *, actor_id: str) -> GenerateVideoResult:
        """Edit an existing clip, scene preserved. Raises InvalidRequest without ``source_video_url``."""
        if not request.source_video_url:
            raise InvalidRequest("sourceVideoUrl is required for edit/remaster")
        return await self.remaster(request, actor_id=actor_id)

    async def _checked(self, request: VideoRequest) -> VideoPlan:
        """The plan, once everything that it takes in was looked at; a source clip is priced as long as it is."""
        plan = self.plan(request)
        self._intake.check_provider("video", plan.provider)
        if plan.first_frame is not None:
            self._intake.check_provider("image", plan.first_frame.provider)
        measured_s = await self._inputs.check(plan, self._presets.video_models[plan.model])
        if measured_s is None:
            return plan
        return self.plan(replace(request, source_s=measured_s.quantize(Decimal("0.1"), ROUND_UP)))

    async def make_first_frame(self, job: Job) -> Job:
        """The still of this job: made by a job of its own, found again by its key after a crash.

        Where the caller gave a key, it stands for the still as well: whoever repeats the call after the clip failed at
        no cost does not pay for another still.
        """
        plan = job.plan
        assert isinstance(plan, VideoPlan)
        assert plan.first_frame is not None
        paid_for = job.id if job.idempotency_key is None else job.request_hash
        opened = await self._intake.begin(
            plan.first_frame, actor_id=job.actor_id, idempotency_key=f"first-frame:{paid_for}", parent_job_id=job.id
        )
        return await self._runner.wait(opened.job.id, self._first_frame_wait_s) or opened.job


def video_audit(job: Job, asset: Asset) -> AuditRecord:
    """The row of generated_videos for a clip: Ring's keys first, then ours."""
    plan = job.plan
    assert isinstance(plan, VideoPlan)
    data = {
        "actorId": job.actor_id,
        "provider": plan.provider,
        "model": job.served_model or plan.model,
        "qualityMode": plan.quality_mode,
        "resolution": plan.resolution or "source",
        "prompt": plan.prompt,
        "requestId": job.provider_request_id,
        "remasterFromRequestId": plan.remaster_from_request_id,
        "remasterFromVideoUrl": plan.source_video_url,
        "generationKind": plan.generation_kind,
        "extend": plan.duration_s if plan.generation_kind == "extend" else None,
        "referenceImages": plan.reference_images or None,
        "lastFrameUrl": plan.last_frame_url,
        "firstFrameUrl": plan.made_frame.url if plan.made_frame else None,
        "thumbnailUrl": plan.made_thumbnail.url if plan.made_thumbnail else None,
        "clipId": plan.clip_id,
        "pipelineRequestId": plan.pipeline_request_id,
        "purpose": plan.purpose,
        "refCode": plan.ref_code,
        "url": asset.url,
        "fileId": asset.file_id,
        "size": asset.size_bytes,
        "duration": float(asset.duration_s) if asset.duration_s is not None else plan.duration_s,
        "createdAt": job.created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "contentType": asset.content_type,
        "sha256": asset.sha256,
        "sidecarUrl": asset.sidecar_url,
        "jobId": job.id,
        "requestedModel": plan.requested_model,
        "servedModel": job.served_model,
        "sandbox": job.sandbox or None,
    }
    return AuditRecord(
        table="generated_videos", id=asset.record_id, data={k: v for k, v in data.items() if v is not None}
    )
