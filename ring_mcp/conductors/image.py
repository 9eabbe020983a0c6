"""ImageConductor: a request for pictures, from the plan to the stored result. Usable from Python without MCP."""

from __future__ import annotations

from dataclasses import replace

from ring_mcp.conductors.conductor import Conductor
from ring_mcp.conductors.results import GenerateImageResult
from ring_mcp.domain import ImagePlan, ImageRequest
from ring_mcp.plans.image import ImageSettings, plan_image


class ImageConductor(Conductor[ImageRequest, GenerateImageResult, ImageSettings]):
    """One facade for images: ``plan``, ``quote`` and ``generate``."""

    result = GenerateImageResult

    def plan(self, request: ImageRequest) -> ImagePlan:
        """The plan of a request. Raises InvalidRequest or ModelRetired; spends nothing."""
        return plan_image(self._inputs.unsign(request), self._settings, self._presets, self._clock.now().date())

    async def check(self, request: ImageRequest) -> ImagePlan:
        plan = self.plan(request)
        self._calls.check_provider(plan)
        seen = await self._inputs.check(plan, self._presets.image_models[plan.model])
        # Planned again: only now is it known whether an edit will have the shape that was asked for.
        return self.plan(replace(request, shape_px=seen.shape_px))
