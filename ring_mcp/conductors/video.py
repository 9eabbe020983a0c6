"""VideoConductor: a request for a clip, from the plan to the stored result. Usable from Python without MCP."""

from __future__ import annotations

from dataclasses import replace
from decimal import ROUND_UP, Decimal

from ring_mcp.conductors.conductor import Conductor
from ring_mcp.conductors.results import GenerateVideoResult
from ring_mcp.domain import VideoPlan, VideoRequest
from ring_mcp.domain.consent import NOBODY, Asking
from ring_mcp.errors import InvalidRequest
from ring_mcp.extras import install_line
from ring_mcp.media.decoding import can_read_clips
from ring_mcp.plans.video import VideoSettings, plan_video


class VideoConductor(Conductor[VideoRequest, GenerateVideoResult, VideoSettings]):
    """One facade for clips: ``plan``, ``quote``, ``generate``, and Ring's two ways to a better one."""

    result = GenerateVideoResult

    def plan(self, request: VideoRequest) -> VideoPlan:
        """The plan of a request. Raises InvalidRequest or ModelRetired; spends nothing."""
        return plan_video(self._inputs.unsign(request), self._settings, self._presets, self._clock.now().date())

    async def remaster(self, request: VideoRequest, *, actor_id: str, asking: Asking = NOBODY) -> GenerateVideoResult:
        """The clip again at a real 720p; with ``source_video_url`` an edit of that clip. Raises as generate does."""
        return await self.generate(replace(request, remaster=True), actor_id=actor_id, asking=asking)

    async def edit_from_source(
        self, request: VideoRequest, *, actor_id: str, asking: Asking = NOBODY
    ) -> GenerateVideoResult:
        """Edit an existing clip, scene preserved. Raises InvalidRequest without ``source_video_url``."""
        if not request.source_video_url:
            raise InvalidRequest("sourceVideoUrl is required for edit/remaster")
        return await self.remaster(request, actor_id=actor_id, asking=asking)

    async def check(self, request: VideoRequest) -> VideoPlan:
        """The plan, once all its inputs were checked; a source clip is priced by its real length."""
        plan = self.plan(request)
        self._calls.check_provider(plan)
        has_frame = plan.first_frame is not None or plan.image_url is not None
        # Refused now: after the spend it could only be a warning.
        if plan.thumbnail is not None and not has_frame and not can_read_clips():
            raise InvalidRequest(
                "thumbnail: a clip's own first picture needs an extra that is not installed here; leave thumbnail out, "
                f"give imageUrl or firstFramePrompt, or have the operator run: {install_line('video')}"
            )
        seen = await self._inputs.check(plan, self._presets.video_models[plan.model])
        made = request.source_made
        # The file was changed since: the provider still has the old clip, which is not the one that is meant.
        if plan.follows is not None and made is not None and made.sha256 != seen.source_sha256:
            return await self.check(replace(request, source_made=None))
        # Rounded up, so that a bill is not above its quote.
        source_s = None if seen.source_s is None else seen.source_s.quantize(Decimal("0.1"), ROUND_UP)
        # Planned again: the price depends on the source's length, and the shape on that of the first picture.
        return self.plan(replace(request, source_s=source_s, shape_px=seen.shape_px))
