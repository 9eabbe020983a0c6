"""Ring's service tokens, with Ring's own texts. Comparison takes the same time whatever differs."""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence

from pydantic import SecretStr

from ring_mcp.errors import ConfigError, Unauthorized

_LEAST_CHARS = 16

_NAMED = re.compile(r"([A-Za-z0-9_.-]{1,64})=(.*[^=].*)")


class ServiceTokens:
    """The tokens of RING_MCP_SERVICE_TOKENS. ``name=token`` gives its caller that name as actor id."""

    def __init__(self, tokens: Sequence[SecretStr], default_actor: str) -> None:
        self.default_actor = default_actor
        self._table = [_entry(token.get_secret_value(), default_actor) for token in tokens]

    @property
    def are_configured(self) -> bool:
        return bool(self._table)

    def actor_of(self, authorization: str) -> str:
        """The actor behind an Authorization header. Raises Unauthorized with Ring's text."""
        scheme, _, token = authorization.partition(" ")
        if scheme != "Bearer" or not token.strip():
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
            raise Unauthorized("Invalid service token")
        return found[0]


def check_tokens(tokens: Sequence[SecretStr], host: str) -> None:
    """What a network may try needs to be hard to guess. Raises ConfigError."""
    if not tokens:
        raise ConfigError(
            [f"RING_MCP_SERVICE_TOKENS: is needed to listen on {host}; without it the server listens on 127.0.0.1 only"]
        )
    if any(len(_entry(token.get_secret_value(), "")[1]) < _LEAST_CHARS for token in tokens):
        raise ConfigError(
            [f"RING_MCP_SERVICE_TOKENS: to listen on {host} each token needs {_LEAST_CHARS} characters or more"]
        )


def _entry(text: str, default_actor: str) -> tuple[str, bytes]:
    """(actor, token). A trailing ``=`` is padding of a token, not a name."""
    named = _NAMED.fullmatch(text)
    return (named[1], named[2].encode()) if named else (default_actor, text.encode())
