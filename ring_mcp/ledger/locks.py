"""Advisory locks: names as numbers, which PostgreSQL locks until the end of a transaction.

Opening is serialised per request and, if a cap is set, per money that the cap counts; nothing locks the whole database.
Several locks are taken in the order of ``of_opening``, the money's last, so that there is no deadlock.
"""

from __future__ import annotations

import hashlib

from ring_mcp.domain import Caps, Job

CLAIMS = 0x72696E67
"""The lock of taking over and of migrating: "ring" in ASCII."""


def of_key(actor_id: str, key: str, *, sandbox: bool) -> int:
    """Held while an idempotency key is looked up and then given or freed."""
    return _number("key", actor_id, key, str(sandbox))


def of_request(job: Job) -> int:
    """Held while it is looked up whether this request has a job already, and one is then written."""
    if job.idempotency_key is not None:
        return of_key(job.actor_id, job.idempotency_key, sandbox=job.sandbox)
    return _of_hash(job)


def of_opening(job: Job, still: Job | None) -> list[int]:
    """Held while these are opened. A still is also locked by its hash, since it may be reused whatever its key."""
    locks = {of_request(job)}
    if still is not None:
        locks |= {of_request(still), _of_hash(still)}
    # Sorted: two calls that share two locks could otherwise each hold one and wait for the other.
    return sorted(locks)


def of_spending(sandbox: bool) -> int:
    """Held while it is computed what the caps over all actors leave, and that is then spent."""
    return _number("spending", str(sandbox))


def of_money(caps: Caps, own: Caps, actor_id: str, *, sandbox: bool) -> list[int]:
    """Held while it is computed what the caps leave: the actor's ``own`` caps first, then those over all actors."""
    actors = [_number("spending", str(sandbox), actor_id)] if is_capped(own) else []
    return [*actors, *([of_spending(sandbox)] if is_capped(caps) else [])]


def is_capped(caps: Caps) -> bool:
    """Whether it matters what others spend at the same time."""
    # Not for a cap per call, which looks at nothing but the call.
    return caps.per_day_usd is not None or caps.per_month_usd is not None


def _of_hash(job: Job) -> int:
    return _number("request", job.actor_id, job.request_hash, str(job.sandbox))


def _number(*name: str) -> int:
    """A signed 64-bit number. Two names that share one wait for each other, which does no harm."""
    # "surrogatepass": a lone surrogate in a caller's key is refused elsewhere; here it only needs a stable number.
    digest = hashlib.blake2b("\0".join(name).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)
