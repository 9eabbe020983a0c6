"""Whose an xAI key is: ``GET /api-key``. Free.

Facts: the answer has ``team_id``, which is the account that jobs, bills and rate limits belong to, the same for all
keys of a team; a bad key is HTTP 400. (xAI OpenAPI, autumn 2026.)
"""

from __future__ import annotations

from collections.abc import Mapping

from ring_mcp.clock import Clock
from ring_mcp.errors import ProviderBadReply
from ring_mcp.providers.http import ProviderHttp
from ring_mcp.providers.replies import Reply, text_of
from ring_mcp.providers.xai.replies import PROVIDER, read_error

_LONGEST_ID = 200


def read_team(reply: Reply) -> str:
    """The team of a 2xx answer. Raises ProviderBadReply if it names none."""
    body = reply.json
    team = text_of(body.get("team_id")) if isinstance(body, Mapping) else None
    if team is None or len(team) > _LONGEST_ID:
        raise ProviderBadReply("xAI answered whose the key is without a team", provider=PROVIDER)
    return team


class XaiTeam:
    """See ``providers.base.TellsAccount``."""

    def __init__(self, http: ProviderHttp, clock: Clock) -> None:
        self._http = http
        self._clock = clock

    async def account_id(self) -> str:
        reply = await self._http.get("api-key")
        if reply.status != 200:
            raise read_error(reply, self._clock.now(), what="account look-up")
        return read_team(reply)
