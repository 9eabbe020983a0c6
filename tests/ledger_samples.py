"""Jobs as the ledger's tests need them: planned, and carried on along the arrows of the state machine."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from ring_mcp.domain import (
    Account,
    Asset,
    AuditRecord,
    Caps,
    Failure,
    Holder,
    ImagePlan,
    Job,
    JobState,
    Output,
    PriceLine,
)
from ring_mcp.ledger.base import Ledger
from tests.fake_clock import START

PRICE_USD = Decimal("0.06")
NO_CAPS = Caps()
ACCOUNT = Account(provider="xai", key_fingerprint="0123456789abcdef" * 2)
HOLDER = Holder(sandbox=False, accounts=(ACCOUNT,))
"""Who holds every sample job, unless it is made another one's."""


def sample_plan(prompt: str = "a lighthouse at dusk", usd: Decimal = PRICE_USD) -> ImagePlan:
    return ImagePlan(
        provider="xai",
        requested_model="grok-imagine-image-2.0",
        model="grok-imagine-image-2.0",
        prompt=prompt,
        n=1,
        aspect_ratio="16:9",
        resolution="2k",
        storage_prefix="generated",
        prices=(PriceLine(what="image", unit_usd=usd, count=Decimal(1), as_of="2026-11-01"),),
    )


def planned(**changes: Any) -> Job:
    """A new job, unlike any other unless ``request_hash`` is given."""
    job_id = str(uuid.uuid4())
    facts: dict[str, Any] = {
        "id": job_id,
        "kind": "image",
        "state": JobState.PLANNED,
        "actor_id": "local",
        "request_hash": f"v1:{job_id}",
        "key_fingerprint": ACCOUNT.key_fingerprint,
        "plan": sample_plan(usd=changes.get("reserved_usd", PRICE_USD)),
        "due_at": changes.get("created_at", START),
        "reserved_usd": PRICE_USD,
        "created_at": START,
        "updated_at": changes.get("created_at", START),
    }
    return Job(**(facts | changes))


OUTPUT = Output(url="https://imgen.x.ai/one.jpeg", content_type="image/jpeg")


def sample_asset(record_id: str | None = None) -> Asset:
    return Asset(
        index=0,
        url="https://files.example/generated/og/1-0-abcdef01.jpg",
        key="generated/og/1-0-abcdef01.jpg",
        size_bytes=70_000,
        content_type="image/jpeg",
        sha256="00" * 32,
        record_id=record_id or str(uuid.uuid4()),
    )


def audit_row(record_id: str | None = None, **data: Any) -> AuditRecord:
    return AuditRecord(table="generated_images", id=record_id or str(uuid.uuid4()), data={"actorId": "local", **data})


TROUBLE = Failure(code="provider_unavailable", message="xAI: overloaded", billed="unknown", retryable=True)

_FACTS: Mapping[JobState, Callable[[Job], dict[str, Any]]] = {
    JobState.SUBMITTING: lambda job: {
        "attempt_token": uuid.uuid4().hex,
        "submit_deadline_at": job.updated_at + timedelta(minutes=2),
    },
    JobState.RENDERING: lambda job: {"provider_request_id": f"request-{job.id}"},
    JobState.STORING: lambda _: {"outputs": (OUTPUT,)},
    JobState.UNKNOWN: lambda _: {"failure": TROUBLE, "due_at": None},
    JobState.DONE: lambda job: {
        "assets": (sample_asset(),),
        "settled_usd": job.reserved_usd,
        "finished_at": job.updated_at,
    },
}


def carried(job: Job, state: JobState, **changes: Any) -> Job:
    """The job one arrow further, with what that state needs; it costs what was reserved, unless changed."""
    ended = {"failure": TROUBLE, "settled_usd": job.reserved_usd, "finished_at": job.updated_at, "due_at": None}
    return job.to(state, **((_FACTS[state](job) if state in _FACTS else ended) | changes))


_S = JobState
PATHS: Mapping[JobState, tuple[JobState, ...]] = {
    _S.PLANNED: (),
    _S.SUBMITTING: (_S.SUBMITTING,),
    _S.RENDERING: (_S.SUBMITTING, _S.RENDERING),
    _S.STORING: (_S.SUBMITTING, _S.RENDERING, _S.STORING),
    _S.UNKNOWN: (_S.SUBMITTING, _S.UNKNOWN),
    _S.DONE: (_S.SUBMITTING, _S.STORING, _S.DONE),
    _S.FAILED: (_S.SUBMITTING, _S.FAILED),
    _S.REFUSED: (_S.SUBMITTING, _S.REFUSED),
    _S.EXPIRED: (_S.SUBMITTING, _S.RENDERING, _S.EXPIRED),
}
"""One way to each state."""


def sample_job(state: JobState, **changes: Any) -> Job:
    """A job in this state, never written anywhere."""
    job = planned(**changes)
    for step in PATHS[state]:
        job = carried(job, step)
    return job


async def opened(ledger: Ledger, state: JobState = JobState.PLANNED, **changes: Any) -> Job:
    """A job that the ledger holds in this state, brought there write by write."""
    answer = await ledger.open(planned(**changes), NO_CAPS)
    assert not answer.joined
    job = answer.job
    for step in PATHS[state]:
        job = await ledger.save(job, carried(job, step))
    return job


async def be_driven(ledger: Ledger, job: Job) -> None:
    """As its driver has a sample job that this process owns: where a lease can run out, its task says so."""
    if ledger.lease_s:
        assert await ledger.claim_one(HOLDER, job.id) == job


async def left_behind(ledger: Ledger, state: JobState = JobState.PLANNED, **changes: Any) -> Job:
    """A job that nobody owns any more; parked, if ``due_at`` is None."""
    facts = {key: changes.pop(key) for key in ("due_at",) if key in changes}
    job = await opened(ledger, state, **changes)
    return await ledger.save(job, replace(job, owner=None, **facts))
