"""The addresses of a job's files for its caller: derived from their keys, and signed if the storage is private.

Signed addresses go to the caller and nowhere else. Rows, logs and sidecars have plain ones, so every read of a job
signs anew.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime

from ring_mcp.domain import Asset, Job, VideoPlan
from ring_mcp.errors import StorageError
from ring_mcp.storage.base import Address, Storage

_SIGN_TIMEOUT_S = 5.0
"""Signing is arithmetic, but the machine's own credentials may have to be fetched first."""

_BESIDE = ("made_frame", "made_thumbnail")
"""Other assets in a clip's answer."""


async def for_caller(job: Job, storage: Storage) -> Job:
    """The job with addresses that its caller can open, and a warning that says until when. Not to be stored.

    If an address cannot be signed now, it is left as it is, with a warning.
    """
    plan = job.plan
    beside = {name: getattr(plan, name) for name in _BESIDE} if isinstance(plan, VideoPlan) else {}
    beside = {name: asset for name, asset in beside.items() if asset is not None}
    kept = [*job.assets, *beside.values()]
    if not kept:
        return job
    try:
        async with asyncio.timeout(_SIGN_TIMEOUT_S):
            # One after the other: credentials are fetched once, and the rest is arithmetic.
            addresses = [await storage.address(asset.url, asset.key) for asset in kept]
    except (StorageError, TimeoutError) as exc:
        reason = exc.message if isinstance(exc, StorageError) else "it took too long"
        return _add_warning(job, f"the addresses could not be signed, ring-job-get tries again: {reason}")
    shared = [_at(asset, address) for asset, address in zip(kept, addresses, strict=True)]
    own = len(job.assets)
    shown = plan.model_copy(update=dict(zip(beside, shared[own:], strict=True)))
    ends = [address.expires_at for address in addresses if address.expires_at is not None]
    job = replace(job, plan=shown, assets=tuple(shared[:own]))
    # The earliest: from then on at least one is dead.
    return _add_warning(job, _expiry(min(ends))) if ends else job


def _at(asset: Asset, address: Address) -> Asset:
    return asset.model_copy(update={"url": address.url, "local_path": address.local_path})


def _add_warning(job: Job, warning: str) -> Job:
    return replace(job, warnings=(*job.warnings, warning))


def _expiry(at: datetime) -> str:
    return f"the addresses expire at {at:%Y-%m-%dT%H:%M:%SZ} at the latest; ring-job-get with jobId gives new ones"
