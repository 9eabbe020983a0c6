"""``/metrics``, for Prometheus: who may read it, and the text."""

from __future__ import annotations

import hmac
import ipaddress

from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ring_mcp.errors import ConfigError
from ring_mcp.reporting import Reporting
from ring_mcp.server.auth import LEAST_CHARS, WrongTokens, check_not_an_example
from ring_mcp.server.middleware import Guarded, KnownNames

PATH = "/metrics"
# The version is that of Prometheus' text format.
_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_FORWARDED = ("x-forwarded-for", "forwarded", "x-real-ip")


class MetricsEndpoint:
    """With a token, for callers who have it; without one, only for this machine, and not through a proxy on it."""

    def __init__(self, reporting: Reporting, token: SecretStr | None) -> None:
        self._reporting = reporting
        self._wrong_tokens = WrongTokens()
        self._token = token.get_secret_value().strip().encode() if token is not None else None

    async def answer(self, request: Request) -> Response:
        if not self._may_read(request):
            address = request.client.host if request.client is not None else ""
            # Without a configured token there is nothing to guess, so the refusal comes at once.
            if self._token is not None and not await self._wrong_tokens.slow_down(address):
                return JSONResponse({"success": False, "error": "too many wrong tokens"}, 429, {"retry-after": "1"})
            needed = "this address needs the token of RING_METRICS_TOKEN"
            return JSONResponse({"success": False, "error": needed}, 401, {"www-authenticate": "Bearer"})
        return PlainTextResponse(await self._reporting.to_text(), media_type=_CONTENT_TYPE)

    def _may_read(self, request: Request) -> bool:
        if self._token is not None:
            scheme, _, given = request.headers.get("authorization", "").strip().partition(" ")
            # As bytes: compare_digest takes no text beyond ASCII, and a header may be any latin-1.
            return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode("latin-1"), self._token)
        return is_loopback(request) and not any(name in request.headers for name in _FORWARDED)


def is_loopback(request: Request) -> bool:
    try:
        return request.client is not None and ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def build_metrics_app(reporting: Reporting, token: SecretStr | None) -> Starlette:
    """The app of a process that serves nothing else."""
    # Without a token, the Host check keeps out web pages that resolve their own name to 127.0.0.1.
    known = [] if token is not None else [Middleware(KnownNames, hosts=(), origins=())]
    endpoint = MetricsEndpoint(reporting, token)
    return Starlette(routes=[Route(PATH, endpoint.answer, methods=["GET"])], middleware=[Middleware(Guarded), *known])


def check_metrics_token(token: SecretStr | None, host: str) -> None:
    """Raises ConfigError for a token that is missing, or too weak for a network."""
    if token is not None:
        check_not_an_example("RING_METRICS_TOKEN", token.get_secret_value())
    if token is None or len(token.get_secret_value().strip()) < LEAST_CHARS:
        raise ConfigError([f"RING_METRICS_TOKEN: of {LEAST_CHARS} characters or more is needed to listen on {host}"])
