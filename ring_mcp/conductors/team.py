"""The team as a running server knows it: members by their tokens, read from the ledger and cached for a moment.

A revocation is noticed within FRESH_S, and at once if PostgreSQL announces it; requests that are being answered to the
token then end. What a member may spend does not depend on this: it is read in the transaction that spends.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

from ring_mcp.clock import Clock
from ring_mcp.domain import Member, hash_token, is_token
from ring_mcp.errors import LedgerError
from ring_mcp.ledger.base import Ledger

logger = logging.getLogger(__name__)

FRESH_S = 2.0
"""How long an answer of the ledger is used without asking again."""

KNOWN_S = 60.0
"""How long a token stays valid while the ledger is away."""

LOOK_S = 3.0
"""How long the ledger may take to answer before it counts as away."""

_LOOKS_AT_ONCE = 4
_MOST_WAITING = 256
_MOST_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class _Known:
    """``read_s``: monotonic time at which the read of it began."""

    member: Member
    token_hash: str
    read_s: float


class Team:
    """``recognise`` who calls, and ``attend`` to the requests that are being answered to them."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._visits: dict[str, set[asyncio.Event]] = {}
        self._looks = asyncio.Semaphore(_LOOKS_AT_ONCE)
        self._waiting = 0
        self._stale_until_s = float("-inf")
        self._away: tuple[float, LedgerError] | None = None
        self._exists: tuple[float, bool] | None = None
        self._stirred = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    def hear(self) -> None:
        """A member was added or revoked, or that may have been missed: nothing that was read until now is used."""
        # A time, and not an emptied cache: reads that are in progress now are not used either.
        self._stale_until_s = self._clock.monotonic()
        self._stirred.set()

    async def exists(self) -> bool:
        """Whether anybody ever had a token here: from then on nobody is served without one, even if all are revoked.

        If the ledger does not answer, its last answer is used for a minute. After that, or without one, this raises
        LedgerError: otherwise a slow ledger would let callers without a token through.
        """
        if self._exists is not None and (self._exists[1] or self._is_fresh(self._exists[0])):
            return self._exists[1]
        began_s = self._clock.monotonic()
        try:
            async with self._look():
                self._exists = began_s, await self._ledger.has_members()
        except LedgerError:
            if self._exists is None or self._clock.monotonic() - self._exists[0] > KNOWN_S:
                raise
        return self._exists[1]

    async def recognise(self, token: str) -> Member | None:
        """The member who has this token; None for unknown and revoked tokens.

        Hashes are compared, so timing tells nothing about a token. Raises LedgerError if the ledger does not answer,
        and has not known the token within KNOWN_S.
        """
        if not is_token(token):
            return None
        token_hash = hash_token(token)
        known = self._known.get(token_hash)
        if known is None or not self._is_fresh(known.read_s):
            try:
                await self._read(token_hash)
            except LedgerError:
                # A ledger that is away for a minute does not lock members out; unknown tokens stay out.
                if known is None or not self._is_known(known):
                    raise
            known = self._known.get(token_hash)
        if known is None or not hmac.compare_digest(known.token_hash, token_hash):
            return None
        return known.member

    @contextlib.contextmanager
    def attend(self, token: str) -> Iterator[asyncio.Event]:
        """Around a request of a recognised token; yields an event that is set when the token is revoked."""
        token_hash, gone = hash_token(token), asyncio.Event()
        self._visits.setdefault(token_hash, set()).add(gone)
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch())
        try:
            yield gone
        finally:
            self._visits[token_hash].discard(gone)
            if not self._visits[token_hash]:
                del self._visits[token_hash]
            # Without visitors there is nothing to watch: an idle server sends the ledger no queries.
            if not self._visits and self._watching is not None:
                self._watching.cancel()
                self._watching = None

    async def look_again(self) -> None:
        """End the requests of tokens that are revoked, or that the ledger has not confirmed for KNOWN_S."""
        hashes, began_s = list(self._visits), self._clock.monotonic()
        try:
            async with self._look():
                found = await self._ledger.find_members(hashes)
        except LedgerError:
            kept = {each for each in hashes if (known := self._known.get(each)) is not None and self._is_known(known)}
        else:
            self._note(hashes, found, began_s)
            kept = set(found)
        for token_hash in hashes:
            if token_hash not in kept:
                # Their requests may have ended while the ledger was asked.
                for gone in self._visits.get(token_hash, ()):
                    gone.set()

    async def _watch(self) -> None:
        while True:
            # Until a change is announced, or the next poll is due.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FRESH_S):
                    await self._stirred.wait()
            self._stirred.clear()
            try:
                await self.look_again()
            except Exception:  # an internal error must not end the watch: revoked tokens would stay valid
                logger.exception("internal error, looking whose tokens are still good")

    async def _read(self, token_hash: str) -> None:
        """Look a token up, a few at a time: somebody who tries tokens must not take all connections of the ledger."""
        if self._waiting >= _MOST_WAITING:
            raise LedgerError("too many tokens are being looked up", next_action="Call again in a moment.")
        self._waiting += 1
        try:
            async with self._looks:
                known, began_s = self._known.get(token_hash), self._clock.monotonic()
                if known is not None and self._is_fresh(known.read_s):
                    return  # another call with this token has read it meanwhile
                async with self._look():
                    found = await self._ledger.find_members([token_hash])
                self._note([token_hash], found, began_s)
        finally:
            self._waiting -= 1

    @contextlib.asynccontextmanager
    async def _look(self) -> AsyncIterator[None]:
        """Around a read of the ledger: one that has failed is not tried again for a moment, or callers would wait for
        it one by one. Raises LedgerError."""
        if self._away is not None and self._is_fresh(self._away[0]):
            raise self._away[1]
        try:
            try:
                async with asyncio.timeout(LOOK_S):
                    yield
            except TimeoutError:
                raise LedgerError("the ledger does not answer; nothing was started") from None
        except LedgerError as exc:
            self._away = self._clock.monotonic(), exc
            raise
        self._away = None

    def _note(self, asked: Sequence[str], found: dict[str, Member], began_s: float) -> None:
        for token_hash in asked:
            if token_hash in found:
                self._known[token_hash] = _Known(found[token_hash], token_hash, began_s)
                self._known.move_to_end(token_hash)
            else:
                # Wrong tokens are not cached: somebody who tries many would push the valid ones out.
                self._known.pop(token_hash, None)
        while len(self._known) > _MOST_KEPT:
            self._known.popitem(last=False)

    def _is_fresh(self, read_s: float) -> bool:
        return read_s > self._stale_until_s and self._clock.monotonic() - read_s < FRESH_S

    def _is_known(self, known: _Known) -> bool:
        return self._clock.monotonic() - known.read_s < KNOWN_S
