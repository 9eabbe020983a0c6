"""How the server takes over from a front, as if it had been there from the start.

It reads every line from the first one on. It gets no further lines until it has answered all those that the front has
answered; these answers are compared with what went out, and left out. So its state is what it would be without a front,
and everything after that is read in order, once.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

import anyio
import anyio.to_thread

from ring_mcp.server.front import Front
from ring_mcp.server.loop_pipes import LoopLines
from ring_mcp.server.recording import ANSWER, Tape

logger = logging.getLogger(__name__)

AGAIN_S = 30.0
"""How long the server may take to give those answers again; after that it gets the rest anyway."""


class Out(Protocol):
    """The file that the SDK writes to, as far as it uses one."""

    async def write(self, text: str) -> object: ...

    async def flush(self) -> object: ...


class TakeOver:
    """``front`` has been stopped. ``lines``: all that the client sends; ``wrap``: the file to write to.

    ``records``: whether the beginning of this session is recorded for a later start.
    """

    def __init__(self, front: Front, *, records: bool) -> None:
        self._front = front
        self._expected = list(front.answers)
        self._given_again = anyio.Event()
        self._tape = Tape(front) if records else None
        if not self._expected:
            self._given_again.set()

    async def lines(self) -> AsyncIterator[str]:
        """The lines for the server to read."""
        async for line in _Ahead(self._front, self._wait):
            if self._tape is not None:
                # Before the server gets it, since its answer is matched with the request on the tape.
                self._tape.hear(line)
            yield line

    def wrap(self, out: Out) -> Out:
        return _Replies(out, self)

    def passes(self, text: str) -> bool:
        """Whether this line of the server goes out: the client does not have it yet."""
        if self._tape is None and not self._expected:
            return True
        line = text.encode()
        if self._tape is not None:
            self._tape.say(line)
        return not self._expected or self._is_new(line)

    async def keep(self) -> None:
        if self._tape is not None and self._tape.is_due:
            await anyio.to_thread.run_sync(self._tape.keep)

    def _is_new(self, line: bytes) -> bool:
        for place, (identity, given) in enumerate(self._expected):
            # Before the rest is read, nothing else can have this id.
            if line == given or (line.startswith(ANSWER + identity + b",") and not self._given_again.is_set()):
                del self._expected[place]
                if line != given:
                    self._doubt("an answer differs from what was recorded")
                if not self._expected:
                    self._given_again.set()
                return False
        return True

    async def _wait(self) -> None:
        with anyio.move_on_after(AGAIN_S):
            await self._given_again.wait()
            return
        self._doubt("an answer that was recorded is not given")
        self._given_again.set()

    def _doubt(self, what: str) -> None:
        self._tape = None
        self._front.forget()
        logger.warning("the fast start was wrong: %s; the next start is an ordinary one", what)


class _Ahead(LoopLines):
    """Reads what the front has answered, then calls ``wait``, then reads what else the front has read, and the rest."""

    def __init__(self, front: Front, wait: Callable[[], Awaitable[None]]) -> None:
        super().__init__(front.stdin)
        self._first, self._rest = bytes(front.heard[: front.done]), bytes(front.heard[front.done :])
        self._wait: Callable[[], Awaitable[None]] | None = wait

    async def _read(self) -> bytes:
        first, self._first = self._first, b""
        if first:
            return first
        if self._wait is not None:
            await self._wait()
            self._wait = None
        rest, self._rest = self._rest, b""
        return rest or await super()._read()


class _Replies:
    """Leaves out what the client has already, and has the recording written after each flush."""

    def __init__(self, out: Out, session: TakeOver) -> None:
        self._out = out
        self._session = session

    async def write(self, text: str) -> None:
        if self._session.passes(text):
            await self._out.write(text)

    async def flush(self) -> None:
        await self._out.flush()
        # After the client has it: writing to a disk may take a while.
        await self._session.keep()
