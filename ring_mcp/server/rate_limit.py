"""Limits of each actor: a rate, a number of open calls, a number of open streams."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator

from starlette.types import ASGIApp, Receive, Scope, Send

from ring_mcp.server.middleware import ACTOR_KEY, refuse

MAX_STREAMS = 1000
"""How many streams of the older transport an actor may hold open. An idle one costs a socket and a few kilobytes."""

_RETRY_S = 5


class TooMany(Exception):
    """The text says, for the caller, of what there is too much."""


class Slots:
    """Counts what each actor has open, at most ``limit``. ``what``: its name in the plural."""

    def __init__(self, limit: int, what: str) -> None:
        self._limit = limit
        self._what = what
        self._open: Counter[str] = Counter()

    @contextlib.contextmanager
    def take(self, actor: str) -> Iterator[None]:
        """Hold a slot inside the ``with``. Raises TooMany."""
        # No await between this and the count: two calls cannot take the last slot.
        if self._open[actor] >= self._limit:
            raise TooMany(f"{self._limit} {self._what} are open already")
        self._open[actor] += 1
        try:
            yield
        finally:
            self._open[actor] -= 1


class Paced:
    """Answers 429 with Retry-After if an actor is above its rate, or has too much open already.

    ``slots_of``: the slots of which a request to a path takes one while it is open; None: none.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        per_minute: int,
        slots_of: Callable[[str], Slots | None],
        is_open: Callable[[str], bool],
    ) -> None:
        self._app = app
        self._rate_per_s = per_minute / 60
        self._burst = float(per_minute)
        self._slots_of = slots_of
        self._is_open = is_open
        self._tokens: dict[str, tuple[float, float]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        actor = scope[ACTOR_KEY]
        wait_s = self._take(actor)
        if wait_s > 0:
            # Whole seconds, rounded up: an actor that comes back too early would be refused again.
            await refuse(send, 429, "too many requests", {"retry-after": str(int(wait_s) + 1)})
            return
        slots = self._slots_of(scope["path"])
        with contextlib.ExitStack() as stack:
            try:
                if slots is not None:
                    stack.enter_context(slots.take(actor))
            except TooMany as exc:
                await refuse(send, 429, str(exc), {"retry-after": str(_RETRY_S)})
                return
            await self._app(scope, receive, send)

    def _take(self, actor: str) -> float:
        """Seconds until this actor may call; 0: now."""
        now = time.monotonic()
        tokens, at = self._tokens.get(actor, (self._burst, now))
        tokens = min(self._burst, tokens + (now - at) * self._rate_per_s)
        # A refused call costs nothing: an actor that keeps trying is let in as soon as one that waits.
        self._tokens[actor] = (tokens - 1 if tokens >= 1 else tokens, now)
        return 0.0 if tokens >= 1 else (1 - tokens) / self._rate_per_s
