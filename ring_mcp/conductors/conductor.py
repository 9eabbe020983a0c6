"""The base of both conductors: ``quote`` says what a request would cost, ``generate`` makes it, by the same plan."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Generic, TypeVar

from ring_mcp import telemetry
from ring_mcp.clock import Clock
from ring_mcp.conductors.paid_calls import PaidCalls
from ring_mcp.conductors.results import JobResult
from ring_mcp.domain import ImageRequest, Plan, VideoRequest
from ring_mcp.domain.consent import NOBODY, Asking
from ring_mcp.jobs.addresses import addresses
from ring_mcp.jobs.inputs import MediaInputs
from ring_mcp.jobs.watch import OnProgress
from ring_mcp.presets import Presets

RequestT = TypeVar("RequestT", ImageRequest, VideoRequest)
ResultT = TypeVar("ResultT", bound=JobResult)
SettingsT = TypeVar("SettingsT")


class Conductor(ABC, Generic[RequestT, ResultT, SettingsT]):
    """``settings``: the operator's defaults for what a request leaves out."""

    result: ClassVar[type[JobResult]]

    def __init__(
        self, calls: PaidCalls, inputs: MediaInputs, presets: Presets, settings: SettingsT, clock: Clock
    ) -> None:
        self._calls = calls
        self._inputs = inputs
        self._presets = presets
        self._settings = settings
        self._clock = clock

    async def quote(self, request: RequestT, *, actor_id: str | None = None) -> ResultT:
        """The plan with each price, the total, and what the caps leave; nothing is spent or written.

        ``actor_id``: who would call: what they have paid for already is not counted, and the request may name results
        by their jobs. Raises what ``generate`` raises, except CapExceeded: a cap that would refuse is a warning.
        """
        plan = await self.look(request, actor_id=actor_id)
        return self._narrow(await self._calls.quote(plan, request.max_usd, actor_id, request.idempotency_key))

    async def look(self, request: RequestT, *, actor_id: str | None) -> Plan:
        """The plan of this actor's request, checked. Spends nothing. Raises what ``quote`` raises."""
        return await self.check(await self._calls.with_results(request, actor_id))

    async def generate(
        self,
        request: RequestT,
        *,
        actor_id: str,
        wait_s: float | None = None,
        on_progress: OnProgress | None = None,
        asking: Asking = NOBODY,
    ) -> ResultT:
        """Make what was asked for and wait for it, at most ``wait_s`` seconds (None: as long as it takes).

        A failure of provider or storage after the start is in the result (``success`` False). Before anything is
        started, this raises LookOnly, InvalidRequest, ModelRetired, ProviderAuthError (no key), CapExceeded,
        ConfirmationNeeded, LedgerError or StorageError. A LedgerError that names a job means that the job exists and
        could not be read.
        ``asking``: how the caller is asked to confirm, if the operator wants that.
        The job goes on if the caller is cancelled.
        """
        # Before the plan, whose check fetches what is given along: no such work for an actor who may not spend. Whoever
        # gives nothing along is asked in the transaction that opens the job.
        if any(addresses(request)):
            await self._calls.check_may_spend(actor_id)
        with telemetry.span("plan"):
            plan = await self.check(await self._calls.with_results(request, actor_id))
        result = await self._calls.make(
            plan,
            actor_id=actor_id,
            idempotency_key=request.idempotency_key,
            max_usd=request.max_usd,
            wait_s=wait_s,
            on_progress=on_progress,
            asking=asking,
        )
        return self._narrow(result)

    @abstractmethod
    async def check(self, request: RequestT) -> Plan:
        """The plan, once its provider and all its inputs were checked. Spends nothing."""

    def _narrow(self, result: JobResult) -> ResultT:
        assert isinstance(result, self.result)
        return result  # type: ignore[return-value]  # the subclass names the type twice, for it and for us
