"""The account of an xAI key, and whether the key works: ``GET /api-key``. Free.

Facts: the answer has ``team_id``, which is the account that jobs, bills and rate limits belong to, the same for all
keys of a team, and ``team_blocked``, ``api_key_blocked``, ``api_key_disabled``; a bad key is HTTP 400. (xAI OpenAPI,
autumn 2026.)
"""

from __future__ import annotations

from collections.abc import Mapping

from ring_mcp.clock import Clock
from ring_mcp.errors import ProviderAuthError, ProviderBadReply
from ring_mcp.providers.http import ProviderHttp
from ring_mcp.providers.replies import Reply, text_of
from ring_mcp.providers.xai.replies import PROVIDER, read_error

_LONGEST_ID = 200
_NOT_WORKING = {
    "team_blocked": "the team of this key is blocked",
    "api_key_blocked": "this key is blocked",
    "api_key_disabled": "this key is disabled",
}


def read_team(reply: Reply) -> str:
    """The team of a 2xx answer. Raises ProviderBadReply if it names none."""
    body = reply.json
    team = text_of(body.get("team_id")) if isinstance(body, Mapping) else None
    if team is None or len(team) > _LONGEST_ID:
        raise ProviderBadReply("xAI answered whose the key is without a team", provider=PROVIDER)
    return team


def check_flags(reply: Reply) -> None:
    """Raises ProviderAuthError if a 2xx answer says that the key does not work."""
    body = reply.json
    # Only a plain true: no key is given up for a value that nobody has documented.
    found = [words for flag, words in _NOT_WORKING.items() if isinstance(body, Mapping) and body.get(flag) is True]
    if found:
        raise ProviderAuthError(f"xAI says: {', '.join(found)}", provider=PROVIDER)


class XaiTeam:
    """See ``providers.base.TellsAccount`` and ``providers.base.ChecksKey``."""

    def __init__(self, http: ProviderHttp, clock: Clock) -> None:
        self._http = http
        self._clock = clock

    async def account_id(self) -> str:
        return read_team(await self._ask())

    async def check_key(self) -> None:
        check_flags(await self._ask())

    async def _ask(self) -> Reply:
        reply = await self._http.get("api-key")
        if reply.status != 200:
            raise read_error(reply, self._clock.now(), what="account look-up")
        return reply
