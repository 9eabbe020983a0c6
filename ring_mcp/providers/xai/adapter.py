"""Shared by both adapters for xAI: connections, key, and how refusals are read."""

from __future__ import annotations

from ring_mcp.clock import Clock
from ring_mcp.errors import ProviderAuthError
from ring_mcp.providers.http import ProviderHttp
from ring_mcp.providers.replies import Reply
from ring_mcp.providers.xai.replies import PROVIDER, read_paid_error


class XaiAdapter:
    """``what`` names the paid request in error texts."""

    name = PROVIDER
    fetches_inputs = True
    answers_with_result = False
    what: str

    def __init__(self, http: ProviderHttp, *, has_key: bool, clock: Clock) -> None:
        self._http = http
        self._has_key = has_key
        self._clock = clock

    def check_ready(self) -> None:
        if not self._has_key:
            raise ProviderAuthError("XAI_API_KEY is not configured", provider=PROVIDER)

    def _judge(self, reply: Reply) -> None:
        if not 200 <= reply.status < 300:
            raise read_paid_error(reply, self._clock.now(), what=self.what)

    async def aclose(self) -> None:
        """Closes nothing: the connections are shared, and closed by the code that made them."""
