"""ImageConductor: a request for pictures, from the plan to the stored result. Usable from Python without MCP."""

from __future__ import annotations

from ring_mcp.clock import Clock
from ring_mcp.conductors.paid_calls import PaidCalls
from ring_mcp.conductors.results import GenerateImageResult
from ring_mcp.domain import ImagePlan, ImageRequest
from ring_mcp.jobs.inputs import MediaInputs
from ring_mcp.jobs.watch import OnProgress
from ring_mcp.plans.image import ImageSettings, plan_image
from ring_mcp.presets import Presets


class ImageConductor:
    """One facade for images: ``quote`` says what a request would cost, ``generate`` makes it.

    Both plan with the same function, so a quote is what a run reserves.
    """

    def __init__(
        self, calls: PaidCalls, inputs: MediaInputs, presets: Presets, settings: ImageSettings, clock: Clock
    ) -> None:
        self._calls = calls
        self._inputs = inputs
        self._presets = presets
        self._settings = settings
        self._clock = clock

    def plan(self, request: ImageRequest) -> ImagePlan:
        """What would be done. Raises InvalidRequest or ModelRetired; spends nothing."""
        return plan_image(self._inputs.unsign(request), self._settings, self._presets, self._clock.now().date())

    async def quote(self, request: ImageRequest) -> GenerateImageResult:
        """The plan with each price, the total, and what the caps leave; nothing is spent or written."""
        result = await self._calls.quote(await self._check(request))
        assert isinstance(result, GenerateImageResult)
        return result

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
        result = await self._calls.make(
            await self._check(request),
            actor_id=actor_id,
            idempotency_key=request.idempotency_key,
            wait_s=wait_s,
            on_progress=on_progress,
        )
        assert isinstance(result, GenerateImageResult)
        return result

    async def _check(self, request: ImageRequest) -> ImagePlan:
        """The plan, once its provider and everything that it takes in were looked at."""
        plan = self.plan(request)
        self._calls.check_provider(plan)
        await self._inputs.check(plan)
        return plan
