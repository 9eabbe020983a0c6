"""The provider accounts that this process holds: known by key fingerprint at once, by the provider's own id later.

A start waits for no provider, and an idle server sends no request. Until a provider has answered, only the fingerprint
says which jobs are ours, so jobs of another key of the same account are left alone for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from ring_mcp.clock import Clock
from ring_mcp.domain import Account, Holder, Job, JobState
from ring_mcp.errors import AccountNeeded, LedgerError, ProviderError
from ring_mcp.jobs.outcomes import back_off_s
from ring_mcp.ledger.base import Ledger
from ring_mcp.providers.base import TellsAccount

logger = logging.getLogger(__name__)

ASK_TIMEOUT_S = 10.0
_PATIENCE_S = 3.0
"""How long a caller that asks for a job of another key waits to hear whether both keys are of one account."""

_TRY_AGAIN_AT_MOST_S = 600.0
# The file may be damaged, and its content goes into rows: no more is read than an id can have.
_LONGEST_ID = 200


class Accounts:
    """``holder`` is what this process may carry on, as known by now.

    ``tellers`` can name the account of our key. ``folder`` caches their answers: at a provider's own service the
    account of a key never changes.
    """

    def __init__(
        self, holder: Holder, tellers: Mapping[str, TellsAccount], *, ledger: Ledger, clock: Clock, folder: Path
    ) -> None:
        self.holder = holder
        self._tellers = tellers
        self._ledger = ledger
        self._clock = clock
        self._folder = folder
        self._wanted = asyncio.Event()
        self._told = asyncio.Event()
        self._askable = [account for account in holder.accounts if account.provider in tellers]
        if not self._askable:
            self._told.set()

    def at(self, provider: str) -> Account:
        """The account of new jobs at this provider; without a key for it, one that nobody holds."""
        return self.holder.account_at(provider) or Account(provider=provider)

    async def complete(self, job: Job) -> None:
        """Note that a job was opened, which is a reason to ask whose the key is; and add the account's id to its row if
        the provider has told it meanwhile."""
        self._wanted.set()
        known = self.holder.account_at(job.plan.provider)
        if known is not None and job.account_id is None and known.account_id is not None:
            # Nothing is lost: by the fingerprint of this key the job is ours anyway.
            with contextlib.suppress(LedgerError):
                await self._ledger.complete_account(known)

    def hold(self, job: Job) -> bool:
        """Whether this process may carry the job on."""
        return self.holder.holds(job.account, sandbox=job.sandbox)

    async def is_stranded(self, job: Job) -> bool:
        """Whether no live process, this one included, may carry the job on. Raises LedgerError."""
        if job.is_settled or self.hold(job):
            return False
        if not await self._ledger.list_stranded(self.holder, job.id):
            return False
        self._wanted.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                await self._told.wait()
        return not self.hold(job)

    async def look_for_strangers(self) -> None:
        """Have the providers asked if open jobs of other keys may turn out to be ours. Raises LedgerError."""
        if not self._wanted.is_set() and await self._ledger.list_stranded(self.holder):
            self._wanted.set()

    async def learn(self, *, at_once: bool = False) -> None:
        """Once there is a reason, ask each teller for its account until it answers or refuses for good.

        Each answer is added to the rows of open jobs. ``at_once``: do not wait for a reason.
        """
        if not at_once:
            await self._wanted.wait()
        await asyncio.gather(*(self._learn(account) for account in self._askable))
        self._told.set()

    async def _learn(self, account: Account) -> None:
        tries = 0
        while True:
            try:
                account_id = await self._account_id(account)
                self.holder = self.holder.learn(account.provider, account_id)
                # After the holder: jobs of another key of the account are ours from now on, also if the ledger is away.
                await self._ledger.complete_account(self.at(account.provider))
            except ProviderError as exc:
                # It will not say so tomorrow either: then the fingerprint has to do.
                if not exc.retryable:
                    logger.info("%s does not say whose its key is: %s", account.provider, exc.message)
                    return
            except (TimeoutError, LedgerError):
                pass
            else:
                return
            await self._clock.sleep(back_off_s(tries, 1.0, _TRY_AGAIN_AT_MOST_S))
            tries += 1

    async def _account_id(self, account: Account) -> str:
        kept = self._folder / f"{account.provider}-{account.key_fingerprint}"
        is_lasting = account.endpoint is None  # an address of the operator's may lead to another service tomorrow
        if is_lasting and (known := await asyncio.to_thread(_read, kept)):
            return known
        async with asyncio.timeout(ASK_TIMEOUT_S):
            account_id = await self._tellers[account.provider].account_id()
        if is_lasting:
            await asyncio.to_thread(_write, kept, account_id)
        return account_id


def describe_needed_account(job: Job) -> AccountNeeded:
    """The error for a job whose account this process does not hold: what it waits for, and how it goes on."""
    is_unsent = job.state is JobState.PLANNED
    stands = "its request was not sent yet" if is_unsent else "nothing of it is lost"
    key, move = "RING_SANDBOX as before", ""
    if not job.sandbox:
        key = "a key of that account (and the same address, if it is one of your own)"
        move = f" If the key was replaced, hand the job over to the new one: `ring-mcp jobs adopt {job.id}`."
    whose = "a sandbox that is not running" if job.sandbox else f"{job.account}, of which no running server has a key"
    return AccountNeeded(
        f"job {job.id} belongs to {whose}; {stands}",
        billed="no" if is_unsent else "unknown",
        next_action=f"Start ring-mcp with {key} and call ring-job-get.{move}",
    )


def _read(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(_LONGEST_ID).decode().strip() or None
    except (OSError, ValueError):
        return None


def _write(path: Path, account_id: str) -> None:
    """Cache the id for the next start. If that fails, the next start asks again."""
    # Under a name of its own: two processes that start together write together.
    part = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        part.write_bytes(account_id.encode())
        part.replace(path)
    except OSError as exc:
        logger.debug("%s cannot be written: %s", path, exc.strerror)
