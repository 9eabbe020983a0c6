"""Ring's service tokens, with Ring's own error texts, and those of the ledger. Comparison takes constant time, and
wrong tokens are slowed down."""

from __future__ import annotations

import asyncio
import hmac
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import SecretStr

from ring_mcp.conductors.team import Team
from ring_mcp.domain import is_token
from ring_mcp.errors import ConfigError, Unauthorized
from ring_mcp.token_mark import mark_token

LEAST_CHARS = 16

WRONG_AT_ONCE = 10
"""How many wrong tokens of one address are answered without a pause; one more each second, up to this number."""

_PAUSE_S = 1.0
_MAX_WAITING = 64
_MAX_ADDRESSES = 10_000

_PLACEHOLDERS = ("your-token", "your-metrics-token")
"""How the tokens in example files and pages begin: they are public, however long they are."""

_NAMED = re.compile(r"([A-Za-z0-9_.-]{1,64})=(.*[^=].*)")


class WrongToken(Unauthorized):
    """A token was given that is not valid: a guess, or an old token."""


class WrongTokens:
    """Slows guessing down. A valid token never waits, whatever others send from the same address."""

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
        """Wait until a wrong token from ``address`` may be answered. Returns False at once if too many wait already."""
        now = self._now()
        # Popped and put back, so that the oldest address is first and is dropped first.
        left, at = self._left.pop(address, (float(WRONG_AT_ONCE), now))
        left = min(float(WRONG_AT_ONCE), left + now - at)
        self._left[address] = (max(0.0, left - 1), now)
        if len(self._left) > _MAX_ADDRESSES:
            self._left.popitem(last=False)
        if left >= 1:
            return True
        # Those that wait hold connections: many guessers together must not hold all of them.
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

    @property
    def names(self) -> set[str]:
        """The actors of these tokens."""
        return {self.default_actor, *(actor for actor, _ in self._table)}

    def actor_of(self, token: str) -> str:
        """The actor of a bearer token. Raises Unauthorized with Ring's text, WrongToken for a wrong one."""
        if not self._table:
            raise Unauthorized("RING_MCP_SERVICE_TOKENS is not configured")
        return self._actor(token.encode("latin-1"))  # which is how header bytes become text

    def check(self, presented: SecretStr | None) -> str:
        """The actor over stdio: if tokens are configured, the client's RING_SERVICE_TOKEN has to be one of them.

        Raises Unauthorized. Without configured tokens, everybody who can start the process is the default actor.
        """
        if not self._table:
            return self.default_actor
        if presented is None:
            raise Unauthorized("RING_SERVICE_TOKEN is not set")
        return self._actor(presented.get_secret_value().strip().encode())

    def _actor(self, given: bytes) -> str:
        # A list, not the first match: all are compared, so that timing does not tell which one matched.
        found = [actor for actor, known in self._table if hmac.compare_digest(given, known)]
        if not found:
            raise WrongToken("Invalid service token")
        return found[0]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. ``team_token``: their token of the ledger, which may be revoked meanwhile; ``token_mark``: when that
    token was made."""

    actor_id: str
    team_token: str | None = None
    token_mark: datetime | None = None


class Callers:
    """Identifies callers over HTTP. ``is_closed``: a token is always needed. Otherwise a caller without one is the
    default actor, for as long as no tokens exist."""

    def __init__(self, tokens: ServiceTokens, team: Team, *, is_closed: bool) -> None:
        self._tokens = tokens
        self._team = team
        self._is_closed = is_closed

    async def identify(self, authorization: str, *, must: bool) -> Caller:
        """The caller with this Authorization header. ``must``: a token is needed even on an open server.

        Raises Unauthorized with Ring's text, WrongToken for a wrong token, LedgerError if the ledger has to be asked
        and does not answer.
        """
        scheme, _, token = authorization.strip().partition(" ")
        token = token.strip() if scheme.lower() == "bearer" else ""
        # By its form alone: tokens of the ledger and of the environment are never confused.
        if is_token(token):
            member = await self._team.recognise(token)
            if member is None:
                raise WrongToken("Invalid service token")
            return Caller(member.name, token, member.created_at)
        is_team = False
        if not (must or self._is_closed or self._tokens.are_configured):
            is_team = await self._team.exists()
            if not is_team:
                return Caller(self._tokens.default_actor)
        if not token:
            raise Unauthorized("Missing Bearer token")
        # With a team only, "not configured" would send callers to a variable that nobody has to set.
        if not self._tokens.are_configured and (is_team or await self._team.exists()):
            raise WrongToken("Invalid service token")
        return Caller(self._tokens.actor_of(token))


async def identify_owner(tokens: ServiceTokens, presented: SecretStr | None, team: Team) -> str:
    """The actor over stdio and on the command line: that of RING_SERVICE_TOKEN. What this process spends from here on
    counts as spent with that token.

    Raises what ``ServiceTokens.check`` raises, and LedgerError if the ledger has to be asked and does not answer.
    """
    text = presented.get_secret_value().strip() if presented is not None else ""
    if not is_token(text):
        return tokens.check(presented)
    member = await team.recognise(text)
    if member is None:
        raise Unauthorized("Invalid service token")
    mark_token(member.created_at)
    return member.name


def check_tokens(tokens: Sequence[SecretStr], host: str, *, has_team: bool = False) -> None:
    """Raises ConfigError if tokens are missing or too weak for a network. ``has_team``: the ledger has tokens."""
    if not tokens and not has_team:
        raise ConfigError(
            [
                f"RING_MCP_SERVICE_TOKENS: is needed to listen on {host}, or a token of `ring-mcp tokens add`; without "
                "either the server listens on 127.0.0.1 only"
            ]
        )
    for token in tokens:
        check_not_an_example("RING_MCP_SERVICE_TOKENS", _entry(token.get_secret_value(), "")[1].decode())
    if any(len(_entry(token.get_secret_value(), "")[1]) < LEAST_CHARS for token in tokens):
        raise ConfigError(
            [f"RING_MCP_SERVICE_TOKENS: to listen on {host} each token needs {LEAST_CHARS} characters or more"]
        )


def check_not_an_example(variable: str, token: str) -> None:
    """Raises ConfigError for a placeholder that was copied from an example and not replaced."""
    if token.strip().lower().startswith(_PLACEHOLDERS):
        raise ConfigError(
            [
                f"{variable}: still has the placeholder of an example, which everybody knows; make a token: "
                '`python -c "import secrets; print(secrets.token_urlsafe(32))"`'
            ]
        )


def _entry(text: str, default_actor: str) -> tuple[str, bytes]:
    """(actor, token) of an entry. A trailing ``=`` is padding of a token and makes no name."""
    named = _NAMED.fullmatch(text)
    return (named[1], named[2].encode()) if named else (default_actor, text.encode())
