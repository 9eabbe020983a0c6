"""How the server comes in where a front has answered: as if it had been there from the start.

It reads every line from the first one on. Until it has given its own answer to each that is answered already, it gets
no other; those answers are compared with what went out, and taken out. So its state is what it would be, and what
comes after is read in order, once.
"""

from __future__ import annotations

import io
import logging
import os
import threading
from collections.abc import AsyncIterator
from typing import Any, BinaryIO, TextIO, cast

from ring_mcp.server.bounded_lines import BoundedLines
from ring_mcp.server.front import Front
from ring_mcp.server.recording import ANSWER, Tape

logger = logging.getLogger(__name__)

AGAIN_S = 30.0
"""How long the server may take to give those answers again; then it gets the rest all the same."""


class TakeOver:
    """``front`` has been stopped. ``lines`` are all that the client sends; ``wrap`` gives what to write to.

    ``records``: whether the answers are this server's own, so that a later start may begin with them.
    """

    def __init__(self, front: Front, *, records: bool) -> None:
        self._front = front
        self._expected = list(front.answers)
        self._lock = threading.Lock()
        self._given_again = threading.Event()
        self._tape = Tape(front) if records else None
        if not self._expected:
            self._given_again.set()
        first, rest = bytes(front.heard[: front.done]), bytes(front.heard[front.done :])
        self._stdin = cast(BinaryIO, io.BufferedReader(_Ahead(first, self._wait, rest, front.stdin)))

    def wrap(self, out: TextIO) -> TextIO:
        return cast(TextIO, _Replies(out, self))

    async def lines(self) -> AsyncIterator[str]:
        """What the server reads."""
        async for line in BoundedLines(self._stdin):
            if self._tape is not None:
                self._tape.hear(line)
            yield line

    def passes(self, text: str) -> bool:
        """Whether the client does not have this line of the server yet."""
        if self._tape is None and not self._expected:
            return True
        line = text.encode()
        if self._tape is not None:
            self._tape.say(line)
        with self._lock:
            return not self._expected or self._is_new(line)

    def keep(self) -> None:
        if self._tape is not None:
            self._tape.keep()

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

    def _wait(self) -> None:
        if not self._given_again.wait(AGAIN_S):
            self._doubt("an answer that was recorded is not given")
            with self._lock:
                self._given_again.set()

    def _doubt(self, what: str) -> None:
        self._tape = None
        self._front.forget()
        logger.warning("the fast start was wrong: %s; the next start is an ordinary one", what)


class _Ahead(io.RawIOBase):
    """What was read already in two parts, with ``wait`` between them, and then a descriptor."""

    def __init__(self, first: bytes, wait: Any, rest: bytes, descriptor: int) -> None:
        self._first = first
        self._wait = wait
        self._rest = rest
        self._descriptor = descriptor

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = len(buffer)
        if not self._first:
            if self._wait is not None:
                self._wait()
                self._wait = None
            if not self._rest:
                return os.readv(self._descriptor, [buffer])
            self._first, self._rest = self._rest, b""
        piece, self._first = self._first[:size], self._first[size:]
        buffer[: len(piece)] = piece
        return len(piece)


class _Replies:
    """A text file that leaves out what the client has, and lets the beginning be written down once it is out."""

    def __init__(self, out: TextIO, session: TakeOver) -> None:
        self._out = out
        self._session = session

    def write(self, text: str) -> int:
        return self._out.write(text) if self._session.passes(text) else len(text)

    def flush(self) -> None:
        self._out.flush()
        self._session.keep()
