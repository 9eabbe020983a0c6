"""What the last bills say of the list prices."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from ring_mcp.domain import ImagePlan, Job, JobState
from ring_mcp.presets import Presets

DRIFT_JOBS = 20
MAX_DRIFT = Decimal("0.02")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bills:
    """What the last jobs of a model were billed, and what they would have cost by the list."""

    model: str
    jobs: int
    billed_usd: Decimal
    list_usd: Decimal

    @property
    def drift(self) -> Decimal:
        """By which part of the list price the bills differ from it; positive: they are higher."""
        return (self.billed_usd - self.list_usd) / self.list_usd

    @property
    def is_off(self) -> bool:
        return abs(self.drift) > MAX_DRIFT


def last_bills(jobs: Iterable[Job], presets: Presets) -> list[Bills]:
    """The last DRIFT_JOBS of every model, out of ``jobs`` from newest to oldest.

    Left out are bills that say nothing of today's list: of jobs that made less than was reserved (a clip from a clip
    of unknown length, fewer pictures than asked for), and of jobs planned with prices of another day.
    """
    last: dict[str, list[Job]] = {}
    for job in jobs:
        of_model = last.setdefault(job.plan.model, [])
        if len(of_model) < DRIFT_JOBS and _tells_of_the_list(job, presets):
            of_model.append(job)
    return [
        Bills(
            model=model,
            jobs=len(some),
            billed_usd=sum((job.billed_usd or Decimal(0) for job in some), Decimal(0)),
            list_usd=sum((job.plan.list_usd for job in some), Decimal(0)),
        )
        for model, some in last.items()
        if some
    ]


def _tells_of_the_list(job: Job, presets: Presets) -> bool:
    if job.state is not JobState.DONE or job.billed_usd is None or job.plan.list_usd <= 0:
        return False
    if isinstance(job.plan, ImagePlan):
        made_all = len(job.outputs) == job.plan.n
    else:
        made_all = job.plan.generation_kind == "generate"
    model = presets.image_models.get(job.plan.model) or presets.video_models.get(job.plan.model)
    as_of = model.prices.as_of.isoformat() if model is not None and model.prices is not None else None
    return made_all and all(line.as_of == as_of for line in job.plan.prices)
