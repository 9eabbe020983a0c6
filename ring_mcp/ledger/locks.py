"""What transactions wait for each other for: names as numbers, which PostgreSQL locks for the rest of a transaction.

Opening is one after another per request and, where a cap is set, per ledger's money; nothing locks the whole database.
Whoever takes several takes them in the order of ``of_opening``, the money last, so that nobody waits in a circle.
"""

from __future__ import annotations

import hashlib

from ring_mcp.domain import Caps, Job

CLAIMS = 0x72696E67
"""Taking over, and migrating: "ring"."""


def of_key(actor_id: str, key: str, *, sandbox: bool) -> int:
    """Who looks what an idempotency key stands for, and then gives or takes it."""
    return _number("key", actor_id, key, str(sandbox))


def of_request(job: Job) -> int:
    """Who looks whether this request stands already, and then writes it down."""
    if job.idempotency_key is not None:
        return of_key(job.actor_id, job.idempotency_key, sandbox=job.sandbox)
    return _of_hash(job)


def of_opening(job: Job, still: Job | None) -> list[int]:
    """Who opens these. A still may also be taken by what is asked for alone, whatever its key."""
    locks = {of_request(job)}
    if still is not None:
        locks |= {of_request(still), _of_hash(still)}
    # Sorted: two calls that share two locks would otherwise each hold one and wait for the other.
    return sorted(locks)


def of_spending(sandbox: bool) -> int:
    """Who looks what the caps leave, and then spends it: sums of several days and of all actors."""
    return _number("spending", str(sandbox))


def of_money(caps: Caps, own: Caps, actor_id: str, *, sandbox: bool) -> list[int]:
    """Who looks what the caps leave: ``own`` ones of this actor first, then those over everybody."""
    actors = [_number("spending", str(sandbox), actor_id)] if is_capped(own) else []
    return [*actors, *([of_spending(sandbox)] if is_capped(caps) else [])]


def is_capped(caps: Caps) -> bool:
    """Whether it matters what others spend in the same moment."""
    # A cap per call is not among them: it compares the call with nothing but itself.
    return caps.per_day_usd is not None or caps.per_month_usd is not None


def _of_hash(job: Job) -> int:
    return _number("request", job.actor_id, job.request_hash, str(job.sandbox))


def _number(*name: str) -> int:
    """64 bits with a sign. Two names that share a number wait for each other, and that is all."""
    # "surrogatepass": half a pair in a caller's key is somebody else's to refuse; a lock only has to be the same again.
    digest = hashlib.blake2b("\0".join(name).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)
