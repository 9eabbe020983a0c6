"""A connection that is closed in the middle of what its client sends: the answer has to arrive first.

A socket that is closed with bytes unread resets its connection, and whatever the client has not read by then is lost on
some systems; others fail in their next write and never look. So our side ends, and what still comes is thrown away,
within limits, until the client has seen that and leaves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

LINGER_BYTES = 64 * 1024 * 1024
"""More than a client has on its way before it looks: a guess above the largest body that anybody sends by mistake."""


class LingeringTransport:
    """A transport whose ``close`` waits for the client while ``is_amid_body``; a second one does not wait.

    Everything else goes to the transport itself.
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
            # After what is still to be written. A client that reads sees the answer, and then the end.
            self._transport.write_eof()
        except (NotImplementedError, OSError, RuntimeError):
            self.close_now()
            return
        self._deadline = asyncio.get_running_loop().call_later(self._limit_s, self.close_now)
        self._transport.resume_reading()  # it may have been paused for the sake of an app that reads no more

    def close_now(self) -> None:
        self.forget_client()
        self._transport.close()

    def forget_client(self) -> None:
        """Nothing is waited for any more: the connection is gone."""
        if self._deadline is not None:
            self._deadline.cancel()

    def discards(self, data: bytes) -> bool:
        """Whether nobody is to see this, for the answer has been given."""
        if self._deadline is None:
            return False
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            self.close_now()
        return True
