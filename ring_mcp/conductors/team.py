"""The team, as a running server knows it: whose a token is, the ledger says, and is believed for a moment.

That a token was revoked is known here within FRESH_S, at once where PostgreSQL tells it; what is being answered to it
then ends. What somebody may spend does not hang on this: it is read in the transaction that spends.
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
"""How long an answer of the ledger is believed without asking again."""

KNOWN_S = 60.0
"""How long a token stays known that the ledger was last seen to know, while the ledger is away."""

LOOK_S = 3.0
"""How long the ledger may take; then it is away."""

_LOOKS_AT_ONCE = 4
_MOST_WAITING = 256
_MOST_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class _Known:
    """``read_s``: when the look began that told it."""

    member: Member
    token_hash: str
    read_s: float


class Team:
    """``recognise`` who calls, and ``attend`` to what is being answered to them."""

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
        """Somebody was added or revoked, or that may have been missed: nothing read until now is believed any more."""
        # A moment, and not an empty table: looks that are under way now are not believed either.
        self._stale_until_s = self._clock.monotonic()
        self._stirred.set()

    async def exists(self) -> bool:
        """Whether anybody ever had a token here: from then on nobody is served without one, whoever was revoked.

        A ledger that cannot say so for now changes nothing for a minute. Then, and where it never said, it raises
        LedgerError: one that is only slow to say it would still open the job of a caller without a token.
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
        """Whose token this is; None: nobody's, or nobody's any more.

        What is compared are hashes: how long that takes tells of them, and nothing of a token. Raises LedgerError if
        the ledger does not say, and has not said it lately.
        """
        if not is_token(token):
            return None
        token_hash = hash_token(token)
        known = self._known.get(token_hash)
        if known is None or not self._is_fresh(known.read_s):
            try:
                await self._read(token_hash)
            except LedgerError:
                # A ledger that is away for a minute does not put everybody out; who was never seen stays out.
                if known is None or not self._is_known(known):
                    raise
            known = self._known.get(token_hash)
        if known is None or not hmac.compare_digest(known.token_hash, token_hash):
            return None
        return known.member

    @contextlib.contextmanager
    def attend(self, token: str) -> Iterator[asyncio.Event]:
        """While something is answered to a token that was recognised. The event is set when it is one no more."""
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
            # Nobody is there, nobody is looked after: a server at rest asks the ledger for nothing.
            if not self._visits and self._watching is not None:
                self._watching.cancel()
                self._watching = None

    async def look_again(self) -> None:
        """End what is answered to tokens that are none any more, or of which nobody has heard for KNOWN_S."""
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
                # They may have left while the ledger was asked.
                for gone in self._visits.get(token_hash, ()):
                    gone.set()

    async def _watch(self) -> None:
        while True:
            # Whichever is first: word of a change, or the time to look without one.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stirred.wait(), FRESH_S)
            self._stirred.clear()
            try:
                await self.look_again()
            except Exception:  # whoever was revoked must not stay because of a fault of ours
                logger.exception("internal error, looking whose tokens are still good")

    async def _read(self, token_hash: str) -> None:
        """A few at a time: whoever tries tokens must not have all connections of the ledger."""
        if self._waiting >= _MOST_WAITING:
            raise LedgerError("too many tokens are being looked up", next_action="Call again in a moment.")
        self._waiting += 1
        try:
            async with self._looks:
                known, began_s = self._known.get(token_hash), self._clock.monotonic()
                if known is not None and self._is_fresh(known.read_s):
                    return  # another call of theirs has asked meanwhile
                async with self._look():
                    found = await self._ledger.find_members([token_hash])
                self._note([token_hash], found, began_s)
        finally:
            self._waiting -= 1

    @contextlib.asynccontextmanager
    async def _look(self) -> AsyncIterator[None]:
        """What the ledger did not answer is not asked again for a moment: callers would wait for it one by one."""
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
                # Wrong tokens are not kept: whoever tries many would push the right ones out.
                self._known.pop(token_hash, None)
        while len(self._known) > _MOST_KEPT:
            self._known.popitem(last=False)

    def _is_fresh(self, read_s: float) -> bool:
        return read_s > self._stale_until_s and self._clock.monotonic() - read_s < FRESH_S

    def _is_known(self, known: _Known) -> bool:
        return self._clock.monotonic() - known.read_s < KNOWN_S
