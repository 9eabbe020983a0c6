"""ImageConductor: a request for pictures, from the plan to the stored result. Usable from Python without MCP."""

from __future__ import annotations

from ring_mcp.clock import Clock
from ring_mcp.conductors.inputs import MediaInputs
from ring_mcp.conductors.intake import Intake
from ring_mcp.conductors.jobs import OnProgress
from ring_mcp.conductors.results import GenerateImageResult
from ring_mcp.domain import Asset, AuditRecord, ImagePlan, ImageRequest, Job
from ring_mcp.plans.image import ImageSettings, plan_image
from ring_mcp.presets import Presets


class ImageConductor:
    """One facade for images: ``quote`` says what a request would cost, ``generate`` makes it.

    Both plan with the same function, so a quote is what a run reserves.
    """

    def __init__(
        self, intake: Intake, inputs: MediaInputs, presets: Presets, settings: ImageSettings, clock: Clock
    ) -> None:
        self._intake = intake
        self._inputs = inputs
        self._presets = presets
        self._settings = settings
        self._clock = clock

    def plan(self, request: ImageRequest) -> ImagePlan:
        """What would be done. Raises InvalidRequest or ModelRetired; spends nothing."""
        return plan_image(self._inputs.unsigned(request), self._settings, self._presets, self._clock.now().date())

    async def quote(self, request: ImageRequest) -> GenerateImageResult:
        """The plan with each price, the total, and what the caps leave; nothing is spent or written."""
        plan = self.plan(request)
        self._intake.check_provider("image", plan.provider)
        await self._inputs.check(plan)
        facts = await self._intake.quoted(plan)
        return GenerateImageResult.model_validate(
            {
                "success": True,
                "dry_run": True,
                "provider": plan.provider,
                "model": plan.model,
                "prompt": plan.prompt,
                "aspect_ratio": plan.aspect_ratio,
                "resolution": plan.resolution,
                "estimated_cost_usd": plan.estimated_usd,
                "sandbox": self._intake.sandbox or None,
                **facts,
            }
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
        self._intake.check_provider("image", plan.provider)
        await self._inputs.check(plan)
        plan = await self._inputs.kept(plan)
        opened = await self._intake.begin(plan, actor_id=actor_id, idempotency_key=request.idempotency_key)
        result = await self._intake.result(opened, wait_s, on_progress)
        assert isinstance(result, GenerateImageResult)
        return result


def image_audit(job: Job, asset: Asset) -> AuditRecord:
    """The row of generated_images for one picture: Ring's keys first, then ours."""
    plan = job.plan
    assert isinstance(plan, ImagePlan)
    data = {
        "actorId": job.actor_id,
        "provider": plan.provider,
        "model": plan.model,
        "prompt": plan.prompt,
        "aspectRatio": plan.aspect_ratio,
        "resolution": plan.resolution,
        "quality": plan.quality,
        "referenceImages": plan.reference_images or None,
        "purpose": plan.purpose,
        "refCode": plan.ref_code,
        "url": asset.url,
        "fileId": asset.file_id,
        "size": asset.size_bytes,
        "createdAt": job.created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "contentType": asset.content_type,
        "sha256": asset.sha256,
        "sidecarUrl": asset.sidecar_url,
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
