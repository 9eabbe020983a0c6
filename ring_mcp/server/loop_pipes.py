"""stdin and stdout on the event loop, if it can wait for them: no thread hop for each line.

Neither is made non-blocking, which would change the pipe for every process that has it, such as a client that shares
it with our stderr. A readable descriptor is read once, which does not block; a writable one takes ``PIPE_BUF`` bytes
without blocking.
"""

from __future__ import annotations

import asyncio
import io
import os
import select
import stat
from collections.abc import AsyncIterator, Callable

from ring_mcp.server.bounded_lines import MAX_LINE_BYTES, Line
from ring_mcp.server.middleware import MAX_VALUES

_READ_BYTES = 256 * 1024
_WRITTEN_BYTES = getattr(select, "PIPE_BUF", 1)  # Windows has neither this nor a loop that waits for pipes


def can_wait_for(descriptor: int) -> bool:
    """Whether the running loop can wait for this descriptor: a pipe or a socket, and not on Windows."""
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return False
    # Not for a file: epoll refuses to wait for one.
    is_one = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
    return is_one and isinstance(asyncio.get_running_loop(), asyncio.SelectorEventLoop)


class LoopLines:
    """Incoming lines as text, each within the bounds of ``Line``. Nothing else may read from ``descriptor``."""

    def __init__(self, descriptor: int, max_bytes: int = MAX_LINE_BYTES, max_values: int = MAX_VALUES) -> None:
        self._descriptor = descriptor
        self._max_bytes = max_bytes
        self._max_values = max_values

    async def __aiter__(self) -> AsyncIterator[str]:
        line = self._line()
        while piece := await self._read():
            # Not splitlines, which would also break at a lone carriage return.
            for part in io.BytesIO(piece):  # up to each line feed, and what is left
                line.add(part)
                if part.endswith(b"\n"):
                    yield line.text
                    line = self._line()
        if line.size_bytes:
            yield line.text

    def _line(self) -> Line:
        return Line(self._max_bytes, self._max_values)

    async def _read(self) -> bytes:
        loop = asyncio.get_running_loop()
        while True:
            await _ready(loop.add_reader, loop.remove_reader, self._descriptor)
            try:
                return os.read(self._descriptor, _READ_BYTES)
            except BlockingIOError:  # another process has made it non-blocking, and was quicker
                continue


class LoopWriter:
    """Writes text completely and in order before ``write`` returns. Raises OSError once nobody reads it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)

    async def write(self, text: str) -> None:
        loop = asyncio.get_running_loop()
        left = memoryview(text.encode())
        while left:
            # Polled each time: the descriptor blocks, and a write to a full pipe would block the loop.
            if not self._poll.poll(0):
                await _ready(loop.add_writer, loop.remove_writer, self._descriptor)
                continue
            try:
                left = left[os.write(self._descriptor, left[:_WRITTEN_BYTES]) :]
            except BlockingIOError:
                await _ready(loop.add_writer, loop.remove_writer, self._descriptor)

    async def flush(self) -> None:
        """Does nothing: there is no buffer."""


async def _ready(add: Callable[..., None], remove: Callable[[int], bool], descriptor: int) -> None:
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def tell() -> None:
        # The loop may call again before it is told to stop.
        if not ready.done():
            ready.set_result(None)

    add(descriptor, tell)
    try:
        await ready
    finally:
        remove(descriptor)
