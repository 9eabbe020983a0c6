"""The whole fleet for its operator: processes, jobs by state, the queue, rates and money."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from ring_mcp import metrics
from ring_mcp.clock import Clock
from ring_mcp.domain import Caps, JobState, Spend
from ring_mcp.domain.rates import RateReading
from ring_mcp.errors import LedgerError
from ring_mcp.jobs.rate_reading import ReadsRates
from ring_mcp.ledger.base import Ledger, Process, Queued
from ring_mcp.metrics import Sample

logger = logging.getLogger(__name__)

MAX_AGE_S = 2.0
"""How long a reading is reused, so that frequent scrapes do not load the ledger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The fleet at one moment, ``at``."""

    at: datetime
    queued: Queued
    processes: tuple[Process, ...]
    spend: Spend
    caps: Caps
    sandbox: bool
    rates: tuple[RateReading, ...] = ()

    @property
    def queue_age_s(self) -> float:
        since = self.queued.waiting_since
        return 0.0 if since is None else max(0.0, (self.at - since).total_seconds())


class FleetConductor:
    """``caps`` are shown beside what counts against them; ``rates`` reads how full the accounts' rate buckets are."""

    def __init__(
        self, ledger: Ledger, caps: Caps, clock: Clock, *, sandbox: bool, rates: ReadsRates | None = None
    ) -> None:
        self._rates = rates
        self._ledger = ledger
        self._caps = caps
        self._clock = clock
        self._sandbox = sandbox
        self._seen: tuple[float, Fleet] | None = None

    async def look(self) -> Fleet:
        """The fleet now, or as it was a moment ago. Raises LedgerError."""
        moment = self._clock.monotonic()
        if self._seen is not None and moment - self._seen[0] < MAX_AGE_S:
            return self._seen[1]
        now = self._clock.now()
        fleet = Fleet(
            at=now,
            queued=await self._ledger.count_jobs(sandbox=self._sandbox),
            # A process that only looks at the fleet must not be counted.
            processes=tuple(each for each in await self._ledger.list_processes() if each.role != LOOKING),
            spend=await self._ledger.spend(now, sandbox=self._sandbox),
            caps=self._caps,
            sandbox=self._sandbox,
            rates=tuple(await self._rates.read()) if self._rates is not None else (),
        )
        self._seen = moment, fleet
        return fleet

    async def gauges(self) -> list[Sample]:
        """The fleet as gauges; if the ledger does not answer, only the gauge that says so."""
        try:
            return list_gauges(await self.look())
        except LedgerError as exc:
            logger.warning("the fleet cannot be counted: %s", exc.message)
            # Zero instead of nothing, for alerts; old figures of the fleet would mislead.
            return [(metrics.FLEET_READ, (), 0.0)]


def list_gauges(fleet: Fleet) -> list[Sample]:
    world, spend = metrics.world(sandbox=fleet.sandbox), fleet.spend
    roles: dict[str, int] = {}
    for process in fleet.processes:
        # A process of a newer version may have another role, which must not make a new series.
        role = process.role if process.role in ROLES else metrics.OTHER
        roles[role] = roles.get(role, 0) + 1
    money: list[tuple[str, Decimal, Decimal, Decimal | None]] = [
        ("day", spend.day_usd, spend.day_reserved_usd, fleet.caps.per_day_usd),
        ("month", spend.month_usd, spend.month_reserved_usd, fleet.caps.per_month_usd),
    ]
    return [
        (metrics.FLEET_READ, (), 1.0),
        *((metrics.FLEET_JOBS, (state.value, world), float(count)) for state, count in fleet.queued.jobs.items()),
        (metrics.FLEET_QUEUE_DEPTH, (world,), float(fleet.queued.jobs[JobState.PLANNED])),
        (metrics.FLEET_QUEUE_AGE, (world,), fleet.queue_age_s),
        *((metrics.FLEET_PROCESSES, (role,), float(count)) for role, count in sorted(roles.items())),
        *((metrics.RATE_FULL, (each.provider, each.model, each.asking, world), each.full) for each in fleet.rates),
        *((metrics.RATE_SLOWED, (each.provider, each.model, each.asking, world), each.slowed) for each in fleet.rates),
        *((metrics.FLEET_USD, (span, world), float(spent)) for span, spent, _, _ in money),
        *((metrics.FLEET_USD_RESERVED, (span, world), float(reserved)) for span, _, reserved, _ in money),
        *((metrics.FLEET_USD_CAP, (span, world), float(cap)) for span, _, _, cap in money if cap is not None),
    ]


LOOKING = "top"
"""The role of a process that only looks at the others."""

ROLES = ("stdio", "serve", "worker", "command")
"""The roles of processes that are counted."""
