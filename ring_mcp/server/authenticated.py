"""The layer that knows who calls: a bearer token names the actor, and whoever is revoked is answered no further."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ring_mcp.conductors.team import Team
from ring_mcp.errors import LedgerError, Unauthorized
from ring_mcp.server.auth import Callers, WrongToken, WrongTokens
from ring_mcp.server.middleware import ACTOR_KEY, address_of, header, refuse
from ring_mcp.token_mark import mark_token

_CHALLENGE = {"www-authenticate": 'Bearer error="invalid_token"'}
_ASK_AGAIN_S = "5"


class Authenticated:
    """401 without a token that is good; otherwise the scope carries the actor's id. 503 while the ledger, which knows
    the team's tokens, does not say whether one is.

    As ``user`` it stands there, too, for the SDK: an SSE session takes messages from the actor alone who opened it.

    Without any tokens the server listens on loopback alone (``server.process`` sees to that) and everybody there is the
    default actor, but for Ring's own gateway, which never is open.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        callers: Callers,
        team: Team,
        is_open: Callable[[str], bool],
        ring: str,
        wrong_tokens: WrongTokens | None = None,
    ) -> None:
        self._app = app
        self._callers = callers
        self._team = team
        self._wrong_tokens = wrong_tokens or WrongTokens()
        self._is_open = is_open
        self._ring = ring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            must = scope["path"].startswith(self._ring)
            caller = await self._callers.identify(header(scope, "authorization"), must=must)
        except LedgerError as exc:
            # Not 401: clients drop a token, or ask their person for a new one, when they are told that it is wrong.
            await refuse(send, 503, exc.message, {"retry-after": _ASK_AGAIN_S})
            return
        except Unauthorized as exc:
            if isinstance(exc, WrongToken) and not await self._wrong_tokens.slow_down(address_of(scope)):
                await refuse(send, 429, "too many wrong tokens", {"retry-after": "1", "connection": "close"})
                return
            await refuse(send, 401, exc.message, _CHALLENGE)
            return
        actor = caller.actor_id
        scope[ACTOR_KEY] = actor
        # What is answered over /sse has that of its stream: a new token does not revive the stream of an old one.
        mark_token(caller.token_mark)
        # The SDK compares client and subject; the token itself is kept from whatever else looks at the scope.
        scope["user"] = AuthenticatedUser(AccessToken(token="", client_id=actor, scopes=[], subject=actor))
        # Tokens of the environment cannot be revoked while the process runs: there is nothing to attend to.
        if caller.team_token is None:
            await self._app(scope, receive, send)
            return
        with self._team.attend(caller.team_token) as gone:
            await self._answer_until(gone, scope, receive, send)

    async def _answer_until(self, gone: asyncio.Event, scope: Scope, receive: Receive, send: Send) -> None:
        """As if the client had left once ``gone`` is set: its streams end, and its jobs go on."""
        started = finished = False

        async def receive_until_gone() -> Message:
            receiving, leaving = asyncio.ensure_future(receive()), asyncio.ensure_future(gone.wait())
            try:
                await asyncio.wait((receiving, leaving), return_when=asyncio.FIRST_COMPLETED)
                # In this order: what is taken off the connection already would be lost otherwise.
                return receiving.result() if receiving.done() else {"type": "http.disconnect"}
            finally:
                receiving.cancel()
                leaving.cancel()

        async def send_noted(message: Message) -> None:
            nonlocal started, finished
            if gone.is_set() and not started:
                # Withheld, so that the 401 below can still go out in its place.
                return  # what it says is no longer theirs to hear
            started = True
            finished = finished or (message["type"] == "http.response.body" and not message.get("more_body", False))
            await send(message)

        try:
            await self._app(scope, receive_until_gone, send_noted)
        except ClientDisconnect:
            if not gone.is_set():
                raise
        if gone.is_set() and not started:
            await refuse(send, 401, "Invalid service token", {**_CHALLENGE, "connection": "close"})
        # A stream that was begun needs its end, or the client takes it for a broken connection.
        elif gone.is_set() and not finished:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
