"""VideoConductor: a request for a clip, from the plan to the stored result. Usable from Python without MCP."""

from __future__ import annotations

from dataclasses import replace
from decimal import ROUND_UP, Decimal

from ring_mcp.clock import Clock
from ring_mcp.conductors.paid_calls import PaidCalls
from ring_mcp.conductors.results import GenerateVideoResult
from ring_mcp.domain import VideoPlan, VideoRequest
from ring_mcp.errors import InvalidRequest
from ring_mcp.jobs.inputs import MediaInputs
from ring_mcp.jobs.watch import OnProgress
from ring_mcp.plans.video import VideoSettings, plan_video
from ring_mcp.presets import Presets


class VideoConductor:
    """One facade for clips: ``quote``, ``generate``, and Ring's two ways to a better one.

    All plan with the same function, so a quote is what a run reserves.
    """

    def __init__(
        self, calls: PaidCalls, inputs: MediaInputs, presets: Presets, settings: VideoSettings, clock: Clock
    ) -> None:
        self._calls = calls
        self._inputs = inputs
        self._presets = presets
        self._settings = settings
        self._clock = clock

    def plan(self, request: VideoRequest) -> VideoPlan:
        """What would be done. Raises InvalidRequest or ModelRetired; spends nothing."""
        return plan_video(self._inputs.unsign(request), self._settings, self._presets, self._clock.now().date())

    async def quote(self, request: VideoRequest) -> GenerateVideoResult:
        """The plan with each price, the total, and what the caps leave; nothing is spent or written."""
        result = await self._calls.quote(await self._check(request))
        assert isinstance(result, GenerateVideoResult)
        return result

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
        result = await self._calls.make(
            await self._check(request),
            actor_id=actor_id,
            idempotency_key=request.idempotency_key,
            wait_s=wait_s,
            on_progress=on_progress,
        )
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

    async def _check(self, request: VideoRequest) -> VideoPlan:
        """The plan, once everything that it takes in was looked at; a source clip is priced as long as it is."""
        plan = self.plan(request)
        self._calls.check_provider(plan)
        measured_s = await self._inputs.check(plan, self._presets.video_models[plan.model])
        if measured_s is None:
            return plan
        return self.plan(replace(request, source_s=measured_s.quantize(Decimal("0.1"), ROUND_UP)))
