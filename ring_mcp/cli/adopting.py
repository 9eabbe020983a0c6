"""``ring-mcp jobs adopt``: open jobs go to the account of this configuration's key, in the ledger that it names."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from ring_mcp.backends import open_accounts, use_ledger, with_sandbox
from ring_mcp.cli.job_lookup import find_job
from ring_mcp.clock import SystemClock
from ring_mcp.config import Config
from ring_mcp.domain import DRIVEN, Account, Holder, Job
from ring_mcp.errors import InvalidRequest, RingError
from ring_mcp.jobs.accounts import ASK_TIMEOUT_S
from ring_mcp.ledger.base import JobQuery, Ledger

_PAGE = 200
_SHORTEST_MARK = 8


@dataclass(frozen=True, slots=True)
class Adoption:
    """Which jobs were handed over, and why others were not."""

    handed_over: list[Job] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


async def hand_over(config: Config, job_ids: Sequence[str], account: str | None) -> Adoption:
    """Give these jobs, or all open ones of an account, to the accounts of ``config``.

    One that cannot be handed over does not hold up the others. Raises LedgerError or InvalidRequest.
    """
    clock, done = SystemClock(), Adoption()
    async with contextlib.AsyncExitStack() as stack:
        config = with_sandbox(config, stack)
        ledger = await stack.enter_async_context(use_ledger(config, clock))
        accounts = open_accounts(config, ledger, clock, stack)
        with contextlib.suppress(TimeoutError):  # without the provider's own id the fingerprint has to do
            async with asyncio.timeout(ASK_TIMEOUT_S):
                await accounts.learn(at_once=True)
        for job_id in job_ids or [job.id async for job in _open_jobs_of(ledger, account or "")]:
            try:
                done.handed_over.append(await _hand_over(ledger, job_id, accounts.holder))
            except RingError as exc:
                done.refused.append(exc.message)
    return done


async def _hand_over(ledger: Ledger, job_id: str, holder: Holder) -> Job:
    job = await find_job(ledger, job_id)
    to = holder.account_at(job.plan.provider)
    if to is None:
        raise InvalidRequest(f"job {job_id} belongs to {job.account}, and no key for it is configured here")
    return await ledger.hand_over(job.id, to, sandbox=holder.sandbox)


async def _open_jobs_of(ledger: Ledger, mark: str) -> AsyncIterator[Job]:
    # The beginning of a fingerprint is enough, but a short one may fit another account, whose jobs would go as well.
    if len(mark) < _SHORTEST_MARK:
        raise InvalidRequest(f"--account {mark!r} is too short: give the id, or {_SHORTEST_MARK} characters")
    before: str | None = None
    while True:
        page = await ledger.list_jobs(JobQuery(states=DRIVEN, limit=_PAGE, before=before))
        for job in page.jobs:
            if _has_mark(job.account, mark):
                yield job
        before = page.cursor
        if before is None:
            return


def _has_mark(account: Account, mark: str) -> bool:
    return account.account_id == mark or (account.key_fingerprint or "").startswith(mark)
