"""How the server takes over from a front, as if it had been there from the start.

It reads every line from the first one on. It gets no further lines until it has answered all those that the front has
answered; these answers are compared with what went out, and left out. So its state is what it would be without a front,
and everything after that is read in order, once.

A list of the tools may wait. To make it takes as long as all else between the modules and the first result, and changes
nothing. So if the client has sent more by then, such as a call, that is answered first; the list is asked for again
under an id of our own, since the client's may be in use by then, and compared like the rest. A client that leaves with
its answer never has it compared: a recording that was not compared for a day has its list made in order, as the rest.
"""

from __future__ import annotations

import json
import logging
import select
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

import anyio
import anyio.to_thread

from ring_mcp.server.front import Front
from ring_mcp.server.loop_pipes import LoopLines
from ring_mcp.server.recording import ANSWER, Tape, note_comparison, take_apart, was_compared_lately

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
        self._expected, self._expected_later = list(front.answers), list[tuple[bytes, bytes]]()
        self._given_again = anyio.Event()
        self._has_answered = self._is_doubtful = False
        self._tape = Tape(front) if records else None
        answered = bytes(front.heard[: front.done]).splitlines(keepends=True)
        if self._tape is not None:
            # Not as the server gives it again, which may be in another order.
            for line in answered:
                self._tape.hear(line.decode())
            for _, answer in front.answers:
                self._tape.say(answer)
        later = self._put_off(answered) if was_compared_lately(front.file) else []
        self._again = [line.decode() for line in (*answered, *later)]
        self._ahead = _Ahead(front, b"".join(answered), b"".join(later), self._wait)
        if not self._expected:
            self._given_again.set()

    async def lines(self) -> AsyncIterator[str]:
        """The lines for the server to read."""
        async for line in self._ahead:
            if line in self._again:
                self._again.remove(line)
            elif self._tape is not None:
                # Before the server gets it, since its answer is matched with the request on the tape.
                self._tape.hear(line)
            yield line

    def wrap(self, out: Out) -> Out:
        return _Replies(out, self)

    def passes(self, text: str) -> bool:
        """Whether this line of the server goes out: the client does not have it yet."""
        if self._tape is None and not self._expected and not self._expected_later:
            return True
        line = text.encode()
        if self._tape is not None:
            self._tape.say(line)
        # Before the rest is read, nothing else can have these ids; those of what is put off are never a client's.
        if self._is_known(line, self._expected, by_id=not self._given_again.is_set()):
            if not self._expected:
                self._given_again.set()
            return False
        if self._is_known(line, self._expected_later, by_id=True):
            return False
        self._has_answered = self._has_answered or line.startswith(ANSWER)
        return True

    async def went_out(self) -> None:
        """To be called when the client has all that passed."""
        if self._has_answered:
            self._ahead.read_what_was_put_off()
        if self._tape is not None and self._tape.is_due:
            await anyio.to_thread.run_sync(self._tape.keep)

    def _put_off(self, answered: list[bytes]) -> list[bytes]:
        """Take out of ``answered`` what may wait, and of the answers that are expected. Returns it with ids of ours."""
        later, has_era = list[bytes](), False
        for line in list(answered):
            method, parts = json.loads(line).get("method"), take_apart(line.decode())
            if parts is None or not parts[0] or method == "server/discover":
                continue
            if has_era and method == "tools/list":
                identity, before, after = parts
                given = next(each for each in self._expected if each[0] == identity)
                own = b'"ring-mcp-again-%d"' % len(later)
                self._expected.remove(given)
                self._expected_later.append((own, ANSWER + own + given[1].removeprefix(ANSWER + identity)))
                answered.remove(line)
                later.append(before + own + after)
            has_era = True  # the first of these requests decides it, so that one is never put off
        return later

    def _is_known(self, line: bytes, expected: list[tuple[bytes, bytes]], *, by_id: bool) -> bool:
        """Whether it is one of the answers that are expected, which is then no longer one."""
        for place, (identity, given) in enumerate(expected):
            if line == given or (by_id and line.startswith(ANSWER + identity + b",")):
                del expected[place]
                if line != given:
                    self._doubt("an answer differs from what was recorded")
                elif not (self._expected or self._expected_later or self._is_doubtful):
                    note_comparison(self._front.file)
                return True
        return False

    async def _wait(self) -> None:
        with anyio.move_on_after(AGAIN_S):
            await self._given_again.wait()
            return
        self._doubt("an answer that was recorded is not given")
        self._given_again.set()

    def _doubt(self, what: str) -> None:
        self._tape, self._is_doubtful = None, True
        self._front.forget()
        logger.warning("the fast start was wrong: %s; the next start is an ordinary one", what)


class _Ahead(LoopLines):
    """Reads ``first``, then calls ``wait``, then reads what the front has read and not answered, and the rest.

    ``later`` is read before the rest if the client has sent nothing else, otherwise when that is allowed.
    """

    def __init__(self, front: Front, first: bytes, later: bytes, wait: Callable[[], Awaitable[None]]) -> None:
        super().__init__(front.stdin)
        self._first, self._rest, self._later = first, bytes(front.heard[front.done :]), later
        self._wait: Callable[[], Awaitable[None]] | None = wait
        self._is_between_lines, self._is_busy, self._may_read_later = True, False, False
        self._reading: anyio.CancelScope | None = None

    def read_what_was_put_off(self) -> None:
        self._may_read_later = True
        if self._reading is not None:
            self._reading.cancel()

    async def _read(self) -> bytes:
        piece = await self._read_next()
        self._reading = None
        self._is_between_lines = piece.endswith(b"\n")
        return piece

    async def _read_next(self) -> bytes:
        first, self._first = self._first, b""
        if first:
            return first
        if self._wait is not None:
            await self._wait()
            self._wait = None
        rest, self._rest = self._rest, b""
        if rest:
            self._is_busy = True
            return rest
        if not self._later or not self._is_between_lines:
            return await super()._read()
        if not self._may_read_later and (self._is_busy or select.select([self._descriptor], [], [], 0)[0]):
            self._is_busy = True
            with anyio.CancelScope() as self._reading:
                return await super()._read()
        later, self._later = self._later, b""
        return later


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
        await self._session.went_out()
