"""stdin line by line, within bounds: a line that is too long, or has too many values, is never held as a whole."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from typing import BinaryIO

import anyio.to_thread

from ring_mcp.server.lines import LOOKED_AT_CHARS, TOO_LARGE
from ring_mcp.server.middleware import MAX_VALUES

MAX_LINE_BYTES = 128 * 1024 * 1024
"""More than seven pictures of the largest size that is taken, as base64."""

# Small, so that a line out of bounds is noticed long before its end.
_PIECE_BYTES = 1024 * 1024


class Line:
    """A line while its pieces arrive. Of one that is out of bounds, only beginning and end are kept, with TOO_LARGE
    between."""

    def __init__(self, max_bytes: int = MAX_LINE_BYTES, max_values: int = MAX_VALUES) -> None:
        self._max_bytes = max_bytes
        self._max_values = max_values
        self._pieces: list[bytes] = []
        self._head = b""
        self._values = 0
        self._fits = True
        self.size_bytes = 0

    def add(self, piece: bytes) -> None:
        self.size_bytes += len(piece)
        # As for HTTP bodies (``middleware.BodyLimit``): commas are counted before a parser makes objects of them.
        self._values += piece.count(b",")
        self._pieces.append(piece)
        self._head += piece[: LOOKED_AT_CHARS - len(self._head)]
        self._fits = self._fits and self.size_bytes <= self._max_bytes and self._values <= self._max_values
        if not self._fits:
            self._pieces = [b"".join(self._pieces)[-LOOKED_AT_CHARS:]]

    @property
    def text(self) -> str:
        line = b"".join(self._pieces)
        # "replace", as the SDK's own reader does: a byte that is not UTF-8 must not end the session.
        return (line if self._fits else self._head + TOO_LARGE.encode() + line).decode("utf-8", "replace")


class BoundedLines:
    """Lines of ``file`` as text, read in a thread."""

    def __init__(self, file: BinaryIO, max_bytes: int = MAX_LINE_BYTES, max_values: int = MAX_VALUES) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._max_values = max_values

    async def __aiter__(self) -> AsyncIterator[str]:
        while line := await anyio.to_thread.run_sync(self.read_line):
            yield line

    def read_line(self) -> str:
        """The next line; empty at the end. Blocking."""
        line = Line(self._max_bytes, self._max_values)
        while piece := self._file.readline(_PIECE_BYTES):
            line.add(piece)
            if piece.endswith(b"\n"):
                break
        return line.text


def take_stdin() -> BinaryIO | None:
    """stdin as a file that only this process has: its children find nothing to read there.

    None on Windows, or if there is no stdin: then the SDK reads it.
    """
    if sys.platform == "win32":
        return None
    try:
        own, nothing = os.dup(0), os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
    except OSError:
        return None
    return os.fdopen(own, "rb", closefd=False)  # a thread may still read when all else has ended
