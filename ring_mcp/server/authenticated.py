"""The layer that identifies the caller: a bearer token names the actor, and its revocation ends open requests."""

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
    """Answers 401 without a valid token; otherwise the scope carries the actor's id. Answers 503 while the ledger,
    which has the team's tokens, does not respond.

    The scope's ``user`` is set for the SDK: an SSE session takes messages only from the actor who opened it.

    Without any tokens the server listens only on loopback (``server.process`` makes sure), and everybody there is the
    default actor, except for Ring's gateway, which is never open.
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
            # Not 401, after which clients drop the token or ask their person for a new one.
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
        # Calls over /sse keep the mark of their stream: a new token does not revive the stream of an old one.
        mark_token(caller.token_mark)
        # The SDK compares client and subject; the token itself is not put into the scope.
        scope["user"] = AuthenticatedUser(AccessToken(token="", client_id=actor, scopes=[], subject=actor))
        # Tokens of the environment cannot be revoked while the process runs.
        if caller.team_token is None:
            await self._app(scope, receive, send)
            return
        with self._team.attend(caller.team_token) as gone:
            await self._answer_until(gone, scope, receive, send)

    async def _answer_until(self, gone: asyncio.Event, scope: Scope, receive: Receive, send: Send) -> None:
        """Once ``gone`` is set, act as if the client had left: its streams end, and its jobs go on."""
        started = finished = False

        async def receive_until_gone() -> Message:
            receiving, leaving = asyncio.ensure_future(receive()), asyncio.ensure_future(gone.wait())
            try:
                await asyncio.wait((receiving, leaving), return_when=asyncio.FIRST_COMPLETED)
                # In this order, or a message that was already taken off the connection would be lost.
                return receiving.result() if receiving.done() else {"type": "http.disconnect"}
            finally:
                receiving.cancel()
                leaving.cancel()

        async def send_noted(message: Message) -> None:
            nonlocal started, finished
            if gone.is_set() and not started:
                return  # withheld: the 401 below goes out in its place
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
        # A stream that was begun needs an end, or the client takes it for a broken connection.
        elif gone.is_set() and not finished:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
