"""One job of this ledger as a person reads it: what was asked, where it stands, what it cost, where it is."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ring_mcp.cli.show import SANDBOX_MONEY, field, whole
from ring_mcp.domain import VideoPlan, usd

if TYPE_CHECKING:
    from ring_mcp.domain import Account, Asset, Job


def job_lines(job: Job) -> list[str]:
    plan = job.plan
    lines = [SANDBOX_MONEY] if job.sandbox else []
    lines.append(whole("job", job.id))
    lines += field("state", f"{job.state.value}{_progress(job)}")
    lines += field("asked", _at(job.created_at))
    if job.finished_at is not None:
        lines += field("ended", _at(job.finished_at))
    lines += field("prompt", plan.prompt)
    lines += field("model", _join([plan.provider, job.served_model or plan.model, *_shape(job)]))
    if job.served_model and job.served_model != plan.requested_model:
        lines += field("asked for", plan.requested_model)
    lines += field("cost", _join(_costs(job)))
    lines += field("actor", job.actor_id)
    names = {
        "purpose": plan.purpose,
        "ref code": plan.ref_code,
        "clip": job.clip_id,
        "campaign": job.pipeline_request_id,
        "key": job.idempotency_key,
        "request": job.provider_request_id,
        "for clip": job.parent_job_id,
    }
    for label, value in names.items():
        if value:
            lines.append(whole(label, value))
    lines += field("account", _account(job.account))
    for asset in job.assets:
        lines += ["", *_asset_lines(asset, len(job.assets))]
    if isinstance(plan, VideoPlan):
        for label, made in (("first frame", plan.made_frame), ("thumbnail", plan.made_thumbnail)):
            lines += ["", label, *_file_lines(made)] if made else []
    if job.failure is not None:
        lines += ["", *field("trouble", f"{job.failure.message} [{job.failure.code}, billed: {job.failure.billed}]")]
        lines += field("next step", job.failure.next_action) if job.failure.next_action else []
    for warning in (*plan.warnings, *job.warnings):
        lines += field("warning", warning)
    return lines


def _account(account: Account) -> str:
    """As ``ring-mcp jobs adopt --account`` takes it: by the provider's own id, or by the mark of its key."""
    mark = account.account_id or (account.key_fingerprint and f"of the key {account.key_fingerprint[:8]}")
    return _join([account.provider, account.endpoint and f"at {account.endpoint}", mark or "not recorded"])


def _progress(job: Job) -> str:
    return f", {job.progress} %" if not job.is_settled and job.progress else ""


def _at(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _shape(job: Job) -> Iterable[Any]:
    plan = job.plan
    yield plan.aspect_ratio
    yield plan.resolution
    if isinstance(plan, VideoPlan):
        yield from (plan.quality_mode, plan.generation_kind, f"{plan.duration_s} s")
    else:
        yield f"n {plan.n}" if plan.n > 1 else None


def _costs(job: Job) -> Iterable[str]:
    yield f"estimated {usd(job.plan.estimated_usd)}"
    if job.billed_usd is not None:
        yield f"billed {usd(job.billed_usd)}"
    if job.settled_usd is not None:
        yield f"settled {usd(job.settled_usd)}"
    else:
        yield f"reserved {usd(job.reserved_usd)} until it has ended"


def _asset_lines(asset: Asset, count: int) -> list[str]:
    return [f"output {asset.index + 1}" if count > 1 else "output", *_file_lines(asset)]


def _file_lines(asset: Asset) -> list[str]:
    lines = [whole("url", asset.url)]
    if asset.local_path and not asset.url.startswith("file:"):
        lines.append(whole("file", asset.local_path))
    size = f"{asset.width_px} x {asset.height_px} px" if asset.width_px else None
    length = f"{asset.duration_s:g} s" if asset.duration_s else None
    lines += field("is", _join([size, length, f"{asset.size_bytes:,} bytes", asset.content_type]))
    lines += field("C2PA", asset.content_credentials)
    return [*lines, whole("record", asset.record_id)]


def _join(facts: Iterable[Any]) -> str:
    return ", ".join(str(fact) for fact in facts if fact)
