"""Upkeep by every process of a fleet: register the entrypoints of its accounts, queue open rows that have no task."""

from __future__ import annotations

import asyncio
import logging

from ring_mcp.clock import Clock
from ring_mcp.domain import Holder
from ring_mcp.errors import LedgerError
from ring_mcp.jobs.accounts import Accounts
from ring_mcp.jobs.dispatching import Dispatcher
from ring_mcp.jobs.runner import JobRunner
from ring_mcp.ledger import tasks
from ring_mcp.ledger.postgres_channel import PostgresChannel

logger = logging.getLogger(__name__)

INTERVAL_S = 5.0
PAGE = 1000
"""How many open rows one transaction checks for a task."""

_LOCK_ID = 0x72696E68
_ROUNDS_BETWEEN_LOOKS_FOR_STRANGERS = 3
_ROUNDS_BETWEEN_PRUNINGS = 120


class Reconciler:
    """``run`` it beside a dispatcher. It decides nothing: it makes sure that every open job has a task."""

    def __init__(
        self, channel: PostgresChannel, dispatcher: Dispatcher, runner: JobRunner, accounts: Accounts, clock: Clock
    ) -> None:
        self._channel = channel
        self._dispatcher = dispatcher
        self._runner = runner
        self._accounts = accounts
        self._clock = clock
        self._new_account = asyncio.Event()
        self._after = ""
        self._awakened: Holder | None = None
        channel.on(tasks.ACCOUNTS_CHANNEL, lambda _: self._new_account.set())

    def register_own(self) -> None:
        """Take tasks of the accounts that this process has keys of. Needs no database."""
        holder = self._accounts.holder
        self._dispatcher.register(
            [tasks.name_entrypoint(account, sandbox=holder.sandbox) for account in holder.accounts]
        )

    async def run(self) -> None:
        """Do the upkeep every few seconds, for ever. A ledger that is away is retried, and logged once."""
        told, rounds = "", 0
        while True:
            try:
                await self._go_round(rounds)
                rounds, told = rounds + 1, ""
            except LedgerError as exc:
                if exc.message != told:
                    logger.warning("open jobs cannot be looked for: %s", exc.message)
                told = exc.message
            await self._rest()

    async def _go_round(self, rounds: int) -> None:
        """One round; the first one, and one after the holder has changed, wakes resting tasks as well."""
        holder = self._accounts.holder
        # First: the write-ahead files of a dead process may be ahead of the rows that are given out here.
        await self._runner.catch_up()
        self.register_own()
        entrypoints = await self._channel.run(tasks.select_entrypoints(holder)) or set()
        self._dispatcher.register(entrypoints)
        if holder != self._awakened:
            await self._channel.run(tasks.wake_resting(entrypoints))
            self._awakened = holder
        await self._enqueue_forgotten()
        await self._runner.mark_waiting()
        if rounds % _ROUNDS_BETWEEN_LOOKS_FOR_STRANGERS == 0:
            await self._accounts.look_for_strangers()
        if rounds % _ROUNDS_BETWEEN_PRUNINGS == 0:
            await self._channel.run(tasks.prune_log())

    async def _enqueue_forgotten(self) -> None:
        """Queue open rows without a task, a page a round; the next page at once if this one had some.

        One process of the fleet at a time does this.
        """
        count = 1
        while count:
            found = await self._channel.run(tasks.enqueue_forgotten(self._after, PAGE), alone_as=_LOCK_ID)
            count, self._after = found or (0, self._after)
            if count:
                logger.warning("%d open jobs had no task, and have one now", count)

    async def _rest(self) -> None:
        """Wait until a new account is announced, at most INTERVAL_S seconds."""
        sleeping = asyncio.ensure_future(self._clock.sleep(INTERVAL_S))
        told = asyncio.ensure_future(self._new_account.wait())
        try:
            await asyncio.wait({sleeping, told}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in (sleeping, told):
                each.cancel()
            await asyncio.gather(sleeping, told, return_exceptions=True)
        # After the wait, so that an announcement during the round ends this rest at once.
        self._new_account.clear()
