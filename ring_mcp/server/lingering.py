"""Closing a connection while its client is still sending, so that the answer arrives first.

Closing a socket with unread bytes resets the connection, and on some systems the client loses what it has not read by
then; other clients fail in their next write and never read the answer. So only our side is shut down, and what still
comes is discarded, within limits, until the client closes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

LINGER_BYTES = 64 * 1024 * 1024
"""How much is discarded at most: a guess, above the largest body that anybody sends by mistake."""


class LingeringTransport:
    """A transport whose ``close`` waits for the client if ``is_amid_body()``; a second ``close`` does not wait.

    Everything else is passed to the transport itself.
    """

    def __init__(
        self, transport: asyncio.Transport, is_amid_body: Callable[[], bool], limit_s: float, limit_bytes: int
    ) -> None:
        self._transport = transport
        self._is_amid_body = is_amid_body
        self._limit_s = limit_s
        self._left_bytes = limit_bytes
        self._deadline: asyncio.TimerHandle | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if self._deadline is None:
            self._transport.write(data)

    def is_closing(self) -> bool:
        return self._deadline is not None or self._transport.is_closing()

    def close(self) -> None:
        if self._deadline is not None or self._transport.is_closing() or not self._is_amid_body():
            self.close_now()
            return
        try:
            # Sent after what is still to be written: a client that reads gets the answer, and then the end.
            self._transport.write_eof()
        except (NotImplementedError, OSError, RuntimeError):
            self.close_now()
            return
        self._deadline = asyncio.get_running_loop().call_later(self._limit_s, self.close_now)
        self._transport.resume_reading()  # it may be paused, since the app reads no more

    def close_now(self) -> None:
        self.forget_client()
        self._transport.close()

    def forget_client(self) -> None:
        """The connection is gone: stop waiting."""
        if self._deadline is not None:
            self._deadline.cancel()

    def discards(self, data: bytes) -> bool:
        """Whether these bytes are to be dropped, since the answer was given."""
        if self._deadline is None:
            return False
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            self.close_now()
        return True
