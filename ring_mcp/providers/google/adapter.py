"""What both adapters for Google share: one set of connections, one key, one way to say no, one price list."""

from __future__ import annotations

from ring_mcp.clock import Clock
from ring_mcp.errors import ProviderAuthError
from ring_mcp.providers.base import TokenPrices
from ring_mcp.providers.google.replies import PROVIDER, read_paid_error
from ring_mcp.providers.http import ProviderHttp
from ring_mcp.providers.replies import Reply


class GoogleAdapter:
    """``what`` names the paid request in error texts."""

    name = PROVIDER
    fetches_inputs = False
    answers_with_result = False
    what: str

    def __init__(self, http: ProviderHttp, *, has_key: bool, token_prices: TokenPrices, clock: Clock) -> None:
        self._http = http
        self._has_key = has_key
        self._token_prices = token_prices
        self._clock = clock

    def check_ready(self) -> None:
        if not self._has_key:
            raise ProviderAuthError("GOOGLE_GENAI_API_KEY is not configured", provider=PROVIDER)

    def _judge(self, reply: Reply) -> None:
        if not 200 <= reply.status < 300:
            raise read_paid_error(reply, self._clock.now(), what=self.what)

    async def aclose(self) -> None:
        """The connections belong to whoever made them; images and videos share them."""
