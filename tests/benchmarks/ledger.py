"""The ledger with more and more finished jobs in it: what an operation costs, on both databases.

    uv run python -m tests.benchmarks ledger --rounds 41

Goal (nothing is judged, only printed): with a million finished jobs no operation takes more than twice what it takes
with a thousand. Every round asks each size once, so that a machine under load slows all of them, and what is shown is
the lower quartile, which other work on the machine changes less than a median. PostgreSQL's data lie in memory where
there is room, and it does not wait for the disk: what is compared is what its statements cost.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from ring_mcp.clock import SystemClock
from ring_mcp.domain import DRIVEN, Caps, Job, JobState
from ring_mcp.ledger.base import JobQuery, Ledger
from tests.benchmarks.measuring import folder, title
from tests.ledger_databases import Kind, LedgerDatabase
from tests.ledger_rows import SAME, add_finished_jobs
from tests.ledger_samples import HOLDER, NO_CAPS, planned
from tests.postgres_server import fresh_database, server_url

SIZES = (1_000, 10_000, 100_000, 1_000_000)
AT_ONCE = 40
WRITERS = 20
CAPPED = Caps(per_day_usd=Decimal(10**6), per_month_usd=Decimal(10**6))


def run(rounds: int, sizes: Sequence[int] = SIZES) -> None:
    for kind in ("sqlite", "postgres"):
        title(f"ledger: {kind}, milliseconds, the lower quartile of {rounds} rounds, by finished jobs")
        asyncio.run(_measure(kind, rounds, sizes))


@dataclass
class Filled:
    """A ledger with that many finished jobs, and what is asked of it by name."""

    jobs: int
    ledger: Ledger
    newest: str
    standing: Job


def _new(**changes: Any) -> Job:
    now = datetime.now(UTC)
    return planned(**{"actor_id": "actor-0", "created_at": now, "updated_at": now, "due_at": now, **changes})


@contextlib.asynccontextmanager
async def _filled(kind: Kind, jobs: int) -> AsyncIterator[Filled]:
    async with contextlib.AsyncExitStack() as stack:
        address = (
            str(stack.enter_context(folder()) / "ledger.db")
            if kind == "sqlite"
            else stack.enter_context(fresh_database(server_url()))
        )
        database = LedgerDatabase(kind, address)
        ledger = await stack.enter_async_context(database.started(SystemClock()))
        began = time.perf_counter()
        add_finished_jobs(database, jobs)
        await ledger.recount()
        print(f"  ({jobs:,} jobs were written in {time.perf_counter() - began:.0f} s)", flush=True)
        newest = (await ledger.list_jobs(JobQuery(actor_id="actor-0", limit=1))).jobs[0].id
        standing = (await ledger.open(_new(actor_id="actor-0", request_hash="v1:standing"), NO_CAPS)).job
        yield Filled(jobs, ledger, newest, standing)


def _list(**query: Any) -> Callable[[Filled], Awaitable[Any]]:
    return lambda filled: filled.ledger.list_jobs(JobQuery(**{"actor_id": "actor-0", **query}))


async def _health(filled: Filled) -> None:
    now = datetime.now(UTC)
    await filled.ledger.spend(now, sandbox=False)
    await filled.ledger.bills(now - timedelta(days=31), sandbox=False)
    await filled.ledger.list_stranded(HOLDER)


async def _claim(filled: Filled) -> None:
    """A job that somebody has put back: looked for, found, taken."""
    job = (await filled.ledger.open(_new(), NO_CAPS)).job
    await filled.ledger.save(job, replace(job, owner=None))
    began = time.perf_counter()
    assert await filled.ledger.claim_one(HOLDER, job.id)
    raise _Took(time.perf_counter() - began)


async def _deliver(filled: Filled) -> None:
    began = time.perf_counter()
    await filled.ledger.mark_delivered(filled.newest, datetime.now(UTC))
    raise _Took(time.perf_counter() - began)


class _Took(Exception):
    """What the operation alone has taken, without what had to be there before it."""


OPERATIONS: dict[str, Callable[[Filled], Awaitable[Any]]] = {
    "open, no caps": lambda filled: filled.ledger.open(_new(), NO_CAPS),
    "open, caps": lambda filled: filled.ledger.open(_new(), CAPPED),
    "open, delivered often before": lambda filled: filled.ledger.open(_new(request_hash=SAME), NO_CAPS),
    "join": lambda filled: filled.ledger.open(_new(request_hash="v1:standing"), NO_CAPS),
    "get": lambda filled: filled.ledger.get(filled.newest),
    "list": _list(),
    "list, second page": lambda filled: filled.ledger.list_jobs(JobQuery(actor_id="actor-0", before=filled.newest)),
    "list, state": _list(states=[JobState.FAILED]),
    "list, open": _list(states=DRIVEN),
    "list, kind": _list(kind="video"),
    "list, clip": _list(clip_id="clip-0"),
    "list, campaign": _list(pipeline_request_id="campaign-0"),
    "list, ref": _list(ref_code="ref-0"),
    "list, since": _list(since=datetime.now(UTC) - timedelta(days=7)),
    "claim of what is not there": lambda filled: filled.ledger.claim_one(HOLDER, "no-such-job"),
    "claim": _claim,
    "spend": lambda filled: filled.ledger.spend(datetime.now(UTC), sandbox=False),
    "health": _health,
    "delivered": _deliver,
}


async def _measure(kind: Kind, rounds: int, sizes: Sequence[int]) -> None:
    took_ms: dict[str, dict[int, list[float]]] = {name: {size: [] for size in sizes} for name in OPERATIONS}
    async with contextlib.AsyncExitStack() as stack:
        each = [await stack.enter_async_context(_filled(kind, size)) for size in sizes]
        for number in range(rounds + 2):  # the first two warm up
            for name, work in OPERATIONS.items():
                for filled in each:
                    took_s = await _time(work, filled)
                    if number >= 2:
                        took_ms[name][filled.jobs].append(took_s * 1000)
        _show(took_ms, sizes)
        await _crowd(kind, each)


async def _time(work: Callable[[Filled], Awaitable[Any]], filled: Filled) -> float:
    began = time.perf_counter()
    try:
        await work(filled)
    except _Took as took:
        return float(took.args[0])
    return time.perf_counter() - began


def _show(took_ms: dict[str, dict[int, list[float]]], sizes: Sequence[int]) -> None:
    print(f"  {'':<30}" + "".join(f"{size:>12,}" for size in sizes) + "       ratio")
    for name, of_size in took_ms.items():
        quartiles = [statistics.quantiles(of_size[size], n=4)[0] for size in sizes]
        figures = "".join(f"{quartile:12.2f}" for quartile in quartiles)
        print(f"  {name:<30}{figures}{quartiles[-1] / quartiles[0]:12.2f}", flush=True)


async def _crowd(kind: Kind, each: Sequence[Filled]) -> None:
    """Many at once: how many capped calls are opened a second, and what a read takes beside many that write."""
    for filled in each:
        began = time.perf_counter()
        for _ in range(5):
            await asyncio.gather(*(filled.ledger.open(_new(), CAPPED) for _ in range(AT_ONCE)))
        opened_s = time.perf_counter() - began
        reads_ms = await _read_beside_writers(filled)
        print(
            f"  {kind}, {filled.jobs:,} jobs: {5 * AT_ONCE / opened_s:.0f} capped opens a second, {AT_ONCE} at once; "
            f"a read beside {WRITERS} writers takes {statistics.median(reads_ms):.2f} ms at the median",
            flush=True,
        )


async def _read_beside_writers(filled: Filled) -> list[float]:
    has_ended = False

    async def write() -> None:
        while not has_ended:
            await filled.ledger.open(_new(), NO_CAPS)

    writing = [asyncio.create_task(write()) for _ in range(WRITERS)]
    reads_ms = []
    for _ in range(100):
        began = time.perf_counter()
        await filled.ledger.get(filled.newest)
        reads_ms.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(0.001)
    has_ended = True
    await asyncio.gather(*writing)
    return reads_ms
