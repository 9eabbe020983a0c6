"""Ring's service tokens, with Ring's own texts. Comparison takes the same time whatever differs, wrong ones wait."""

from __future__ import annotations

import asyncio
import hmac
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

from pydantic import SecretStr

from ring_mcp.errors import ConfigError, Unauthorized

LEAST_CHARS = 16

WRONG_AT_ONCE = 10
"""Wrong tokens of one address that are answered without a pause, and so many more with each ten seconds."""

_PAUSE_S = 1.0
_MAX_WAITING = 64
_MAX_ADDRESSES = 10_000

_NAMED = re.compile(r"([A-Za-z0-9_.-]{1,64})=(.*[^=].*)")


class WrongToken(Unauthorized):
    """There was a token, and it is none of ours: a guess, or a client with an old one."""


class WrongTokens:
    """Slows guessing down. A right token never waits, whatever others send from the same address."""

    def __init__(
        self,
        now: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._now = now
        self._pause = pause
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._waiting = 0

    async def slow_down(self, address: str) -> bool:
        """Returns when a wrong token from ``address`` may be answered; False: so many wait that it had better leave."""
        now = self._now()
        left, at = self._left.pop(address, (float(WRONG_AT_ONCE), now))
        left = min(float(WRONG_AT_ONCE), left + now - at)
        self._left[address] = (max(0.0, left - 1), now)
        if len(self._left) > _MAX_ADDRESSES:
            self._left.popitem(last=False)
        if left >= 1:
            return True
        if self._waiting >= _MAX_WAITING:
            return False
        self._waiting += 1
        try:
            await self._pause(_PAUSE_S)
        finally:
            self._waiting -= 1
        return True


class ServiceTokens:
    """The tokens of RING_MCP_SERVICE_TOKENS. ``name=token`` gives its caller that name as actor id."""

    def __init__(self, tokens: Sequence[SecretStr], default_actor: str) -> None:
        self.default_actor = default_actor
        self._table = [_entry(token.get_secret_value(), default_actor) for token in tokens]

    @property
    def are_configured(self) -> bool:
        return bool(self._table)

    def actor_of(self, authorization: str) -> str:
        """The actor behind an Authorization header. Raises Unauthorized in Ring's words, WrongToken for a wrong one."""
        scheme, _, token = authorization.strip().partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthorized("Missing Bearer token")
        if not self._table:
            raise Unauthorized("RING_MCP_SERVICE_TOKENS is not configured")
        return self._actor(token.strip().encode("latin-1"))  # which is how header bytes become text

    def check(self, presented: SecretStr | None) -> str:
        """Over stdio: when tokens are configured, the client's RING_SERVICE_TOKEN has to be one of them.

        Raises Unauthorized. Without configured tokens everybody who can start the process may use it.
        """
        if not self._table:
            return self.default_actor
        if presented is None:
            raise Unauthorized("RING_SERVICE_TOKEN is not set")
        return self._actor(presented.get_secret_value().strip().encode())

    def _actor(self, given: bytes) -> str:
        found = [actor for actor, known in self._table if hmac.compare_digest(given, known)]
        if not found:
            raise WrongToken("Invalid service token")
        return found[0]


def check_tokens(tokens: Sequence[SecretStr], host: str) -> None:
    """What a network may try needs to be hard to guess. Raises ConfigError."""
    if not tokens:
        raise ConfigError(
            [f"RING_MCP_SERVICE_TOKENS: is needed to listen on {host}; without it the server listens on 127.0.0.1 only"]
        )
    if any(len(_entry(token.get_secret_value(), "")[1]) < LEAST_CHARS for token in tokens):
        raise ConfigError(
            [f"RING_MCP_SERVICE_TOKENS: to listen on {host} each token needs {LEAST_CHARS} characters or more"]
        )


def _entry(text: str, default_actor: str) -> tuple[str, bytes]:
    """(actor, token). A trailing ``=`` is padding of a token, not a name."""
    named = _NAMED.fullmatch(text)
    return (named[1], named[2].encode()) if named else (default_actor, text.encode())
