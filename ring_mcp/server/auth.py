"""Ring's service tokens, with Ring's own texts, and those of the ledger. Comparison takes the same time whatever
differs, wrong ones wait."""

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
"""Wrong tokens of one address that are answered without a pause, and so many more with each ten seconds."""

_PAUSE_S = 1.0
_MAX_WAITING = 64
_MAX_ADDRESSES = 10_000

_PLACEHOLDERS = ("your-token", "your-metrics-token")
"""How the tokens of the example files and pages begin: everybody knows them, however long they are."""

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
        # Popped and put back, so that the oldest address stands first and goes first.
        left, at = self._left.pop(address, (float(WRONG_AT_ONCE), now))
        left = min(float(WRONG_AT_ONCE), left + now - at)
        self._left[address] = (max(0.0, left - 1), now)
        if len(self._left) > _MAX_ADDRESSES:
            self._left.popitem(last=False)
        if left >= 1:
            return True
        # Those who wait hold connections: many guessers together must not hold all of them.
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
        """The actors that these tokens make."""
        return {self.default_actor, *(actor for actor, _ in self._table)}

    def actor_of(self, token: str) -> str:
        """The actor of a bearer's token. Raises Unauthorized in Ring's words, WrongToken for a wrong one."""
        if not self._table:
            raise Unauthorized("RING_MCP_SERVICE_TOKENS is not configured")
        return self._actor(token.encode("latin-1"))  # which is how header bytes become text

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
        # A list, not the first hit: all are compared, so that time does not tell which was it.
        found = [actor for actor, known in self._table if hmac.compare_digest(given, known)]
        if not found:
            raise WrongToken("Invalid service token")
        return found[0]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. ``team_token``: the token of the ledger by which they do, which may be revoked meanwhile;
    ``token_mark``: when that one was made."""

    actor_id: str
    team_token: str | None = None
    token_mark: datetime | None = None


class Callers:
    """Everybody who may call over HTTP. ``is_closed``: whether nobody may without a token, who is the default actor
    otherwise; it is closed anyhow once there are tokens."""

    def __init__(self, tokens: ServiceTokens, team: Team, *, is_closed: bool) -> None:
        self._tokens = tokens
        self._team = team
        self._is_closed = is_closed

    async def identify(self, authorization: str, *, must: bool) -> Caller:
        """Who shows this Authorization header; ``must``: with a token, whatever the server is like.

        Raises Unauthorized in Ring's words, WrongToken for a wrong one, LedgerError if the ledger is to be asked and
        does not answer.
        """
        scheme, _, token = authorization.strip().partition(" ")
        token = token.strip() if scheme.lower() == "bearer" else ""
        # By its form alone: a token of the ledger is never taken for one of the environment, or the other way round.
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
        # Of a team alone: "not configured" would send its callers to a variable that nobody has to set.
        if not self._tokens.are_configured and (is_team or await self._team.exists()):
            raise WrongToken("Invalid service token")
        return Caller(self._tokens.actor_of(token))


async def identify_owner(tokens: ServiceTokens, presented: SecretStr | None, team: Team) -> str:
    """Who works with this configuration, over stdio or on the command line: whom RING_SERVICE_TOKEN names. What they
    spend from here on is by that token.

    Raises what ``ServiceTokens.check`` raises, and LedgerError for a token that the ledger knows or not.
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
    """What a network may try needs to be hard to guess. Raises ConfigError. ``has_team``: the ledger has tokens."""
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
    """Raises ConfigError for a token that was copied and not replaced."""
    if token.strip().lower().startswith(_PLACEHOLDERS):
        raise ConfigError(
            [
                f"{variable}: has the placeholder of an example still, which everybody knows; make a token: "
                '`python -c "import secrets; print(secrets.token_urlsafe(32))"`'
            ]
        )


def _entry(text: str, default_actor: str) -> tuple[str, bytes]:
    """(actor, token). A trailing ``=`` is padding of a token, not a name."""
    named = _NAMED.fullmatch(text)
    return (named[1], named[2].encode()) if named else (default_actor, text.encode())
