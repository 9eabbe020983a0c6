"""HTTP for all providers: paid requests that are never sent twice, free requests, capped downloads.

Statuses are judged by the vendor's dialect; here only whether the request left and a whole answer came.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import httpx2

from ring_mcp import metrics, telemetry
from ring_mcp.clock import Clock
from ring_mcp.errors import (
    OutcomeUnknown,
    PrivateAddress,
    ProviderBadReply,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
)
from ring_mcp.masking import Masking
from ring_mcp.providers.base import MOST_PAUSES_S, Downloaded, HearRefusal
from ring_mcp.providers.connections import Clients, open_clients
from ring_mcp.providers.deadlines import LATE_S, limit
from ring_mcp.providers.downloads import fetch
from ring_mcp.providers.guard import Trusted, public_addresses
from ring_mcp.providers.replies import Reply, bound_retry_s, one_line
from ring_mcp.proxies import DIRECT, Proxies, mask_proxy

MAX_REPLY_BYTES = 96 * 1024 * 1024  # ten 2k pictures as base64 are about 60 MB
_PAID_ATTEMPTS = 4


class ProviderHttp:
    """The connections to one provider. ``headers`` carry its key and go to the host of ``base_url`` alone.

    ``trusted_hosts`` may lie on a private network, as the origin of ``base_url`` may: see ``guard.Trusted``. ``hear``
    is told of refusals for the rate that are waited out here.
    """

    def __init__(
        self,
        *,
        provider: str,
        base_url: str,
        headers: Mapping[str, str],
        clock: Clock,
        max_media_bytes: int,
        proxies: Proxies = DIRECT,
        trusted_hosts: Collection[str] = (),
        transport: httpx2.AsyncBaseTransport | None = None,
        hear: HearRefusal | None = None,
    ) -> None:
        self._hear = hear
        self._provider = provider
        self._clock = clock
        self._max_media_bytes = max_media_bytes
        # The key without the word Bearer, since a service may echo it alone.
        self._masking = Masking(value.split(" ")[-1] for value in headers.values())
        self._base_url = base_url
        self._headers = dict(headers)
        self._proxies = proxies
        self._transport = transport
        self._trusted = Trusted(base_url, trusted_hosts)
        self._opened: Clients | None = None

    @property
    def _clients(self) -> Clients:
        """Made with the first request, not at the start: loading the certificates takes a tenth of a second."""
        if self._opened is None:
            self._opened = open_clients(self._base_url, self._headers, self._trusted, self._proxies, self._transport)
        return self._opened

    async def aclose(self) -> None:
        if self._opened is not None:
            await self._opened.aclose()

    async def post_paid(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        model: str,
        deadline_s: float,
        judge: Callable[[Reply], None],
        timed_out: str,
    ) -> Reply:
        """Send a request that costs money, and send it again only when it is certain that nothing was accepted.

        Each sending has the whole of ``deadline_s``. ``judge`` raises for a reply that is an error; a RateLimited of
        it that is not billed, and a connection that was not made, are waited out; what would then begin later than
        MOST_PAUSES_S after the first is not sent any more. Raises OutcomeUnknown if the request left and no whole
        answer came back; ``timed_out`` is the text for that when the reason is the deadline.
        """
        started_s = self._clock.monotonic()
        attempt = 0
        while True:
            refused: ProviderError
            try:
                reply = await self._send_paid(path, body, deadline_s, timed_out)
                judge(reply)
            except RateLimited as exc:
                # No idempotency key exists (provider reference 1.9): whatever may have been accepted is paid again by
                # being sent again.
                if exc.billed != "no":
                    raise
                refused, pause_s = exc, exc.retry_after_s or 2.0**attempt
                if self._hear is not None:
                    self._hear(self._provider, model, exc)
            except _NotSent as exc:
                refused = ProviderUnavailable(str(exc), provider=self._provider, billed="no")
                refused.__cause__ = exc
                pause_s = 0.5 * 2.0**attempt
            else:
                return reply
            attempt += 1
            pause_s = bound_retry_s(pause_s)
            if attempt >= _PAID_ATTEMPTS or self._clock.monotonic() - started_s + pause_s > MOST_PAUSES_S:
                raise refused
            await self._clock.sleep(pause_s)
            if self._clock.monotonic() - started_s > MOST_PAUSES_S + LATE_S:
                raise refused  # the process was stopped meanwhile, and others may have given the job up

    async def _send_paid(self, path: str, body: Mapping[str, Any], deadline_s: float, timed_out: str) -> Reply:
        status: int | None = None
        try:
            reply = await self._try_paid(path, body, deadline_s, timed_out)
            status = reply.status
        finally:
            self._count("paid", status)
        return reply

    async def _try_paid(self, path: str, body: Mapping[str, Any], deadline_s: float, timed_out: str) -> Reply:
        begin_by_s = self._clock.monotonic() + deadline_s
        departure = _Departure(lambda: self._clock.monotonic() > begin_by_s)
        try:
            async with (
                # httpx2 has limits for single steps, and an answer that trickles in would never meet one of those.
                limit(deadline_s),
                self._clients.paid.stream("POST", path, json=body, extensions={"trace": departure.note}) as response,
            ):
                # A proxy that asks for a password has not passed the request on, so that it may be sent again. Over
                # https it says so before there is a tunnel, by an error; what comes through the tunnel the server says.
                asks_for_password = response.status_code == _PROXY_WANTS_PASSWORD and response.url.scheme == "http"
                if asks_for_password and (proxy := self._proxy_of(response.url)):
                    raise _NotSent(
                        f"no connection to {self._provider}: {mask_proxy(proxy)} wants a user and a password"
                    )
                return await self._read(response)
        except TimeoutError as exc:
            if departure.is_certainly_not_made():
                raise _NotSent(f"no connection to {self._provider} in {deadline_s:g} s") from exc
            raise self._as_unknown(
                f"{timed_out}; the request was aborted, and whether it was billed is not known"
            ) from exc
        except httpx2.HTTPError as exc:
            if isinstance(exc, _NEVER_LEFT) or departure.is_certainly_not_made():
                raise _NotSent(f"no connection to {self._provider} ({_reason(exc)})") from exc
            text = f"the connection to {self._provider} broke after the request was sent ({type(exc).__name__}); "
            raise self._as_unknown(text + "whether it was accepted and billed is not known") from exc
        # Too long to be read: what it says of the bill is not known, and it may well have been a yes.
        except ProviderBadReply as exc:
            raise self._as_unknown(f"{exc.message}; whether it was accepted and billed is not known") from exc

    def _as_unknown(self, text: str) -> OutcomeUnknown:
        return OutcomeUnknown(text, provider=self._provider)

    def _proxy_of(self, url: httpx2.URL) -> str | None:
        return self._proxies.of(str(url))

    async def get(self, path: str) -> Reply:
        """A free request. Raises ProviderUnavailable if no whole answer came back."""
        return await self._send_free("GET", path)

    async def post_free(self, path: str) -> Reply:
        """A request that costs nothing and may be repeated. Raises ProviderUnavailable if no whole answer came back."""
        return await self._send_free("POST", path)

    async def _send_free(self, method: str, path: str) -> Reply:
        status: int | None = None
        try:
            async with self._clients.free.stream(method, path) as response:
                reply = await self._read(response)
                status = reply.status
                return reply
        except httpx2.HTTPError as exc:
            raise ProviderUnavailable(
                f"{self._provider} could not be asked ({_reason(exc)})", provider=self._provider
            ) from exc
        finally:
            self._count("free", status)

    async def check_address(self, url: str) -> None:
        """Raises PrivateAddress if ``url`` lies on a private network, ProviderBadReply if it is no http(s) address,
        ProviderUnavailable if it has no address."""
        try:
            parsed = httpx2.URL(url)
        except httpx2.InvalidURL as exc:
            raise ProviderBadReply("it is no http(s) address", provider=self._provider, billed="no") from exc
        if parsed.scheme not in ("http", "https"):
            raise ProviderBadReply("it is no http(s) address", provider=self._provider, billed="no")
        if self._trusted.holds(parsed):
            return
        try:
            await public_addresses(parsed.host)
        except PrivateAddress as exc:
            exc.billed = "no"
            raise
        except httpx2.HTTPError as exc:
            if self._proxy_of(parsed) is None:  # a proxy may know it
                raise ProviderUnavailable(str(exc), provider=self._provider, billed="no") from exc

    async def download(
        self, url: str, path: Path, max_bytes: int | None = None, *, with_key: bool = False
    ) -> Downloaded:
        """Stream ``url`` to ``path`` in constant memory, see ``downloads.fetch``; ``max_bytes`` in place of the limit
        for results.

        ``with_key``: the provider's own host is shown the key, no other is.
        """
        client, status = self._clients.keyed if with_key else self._clients.media, None
        try:
            done = await fetch(client, url, path, max_bytes or self._max_media_bytes, self._provider)
            status = 200
        except ProviderError as exc:
            status = exc.http_status
            raise
        finally:
            self._count("media", status)
        return done

    def _count(self, purpose: str, status: int | None) -> None:
        """``status``: None where no whole answer came."""
        telemetry.count(metrics.PROVIDER_REQUESTS, self._provider, purpose, str(status or "none"))

    async def _read(self, response: httpx2.Response) -> Reply:
        """The whole answer, with stars in place of an echoed key."""
        body = bytearray()
        # Counted as it is unpacked: a small compressed answer may unfold into one that fills the memory.
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > MAX_REPLY_BYTES:
                raise ProviderBadReply(
                    f"{self._provider} answered with more than {MAX_REPLY_BYTES:,} bytes",
                    provider=self._provider,
                    http_status=response.status_code,
                )
        return Reply(
            status=response.status_code,
            headers=response.headers,
            body=bytes(body),
            url=str(response.url),
            masking=self._masking,
        )


_NEVER_LEFT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
    httpx2.LocalProtocolError,  # a key that no header can carry
)
_PROXY_WANTS_PASSWORD = 407


class _NotSent(Exception):
    """The request never left: no connection was made."""


class _Departure:
    """Whether a request has begun to leave, as the connection tells its steps. What goes to a proxy before is none."""

    def __init__(self, is_too_late: Callable[[], bool]) -> None:
        self._is_too_late = is_too_late
        self._tells_steps = False
        self._left = False

    async def note(self, step: str, facts: Mapping[str, Any]) -> None:
        self._tells_steps = True
        method = getattr(facts.get("request"), "method", None)
        # From its first byte on, and not when all has left: what the kernel was handed may arrive.
        begins = step.endswith("send_request_headers.started") and method != b"CONNECT"
        if begins and self._is_too_late():  # the process was stopped, and others may have given the job up
            raise _NotSent("the process was stopped before its request was sent")
        self._left = self._left or begins

    def is_certainly_not_made(self) -> bool:
        # A connection that tells no steps at all proves nothing.
        return self._tells_steps and not self._left


def _reason(exc: httpx2.HTTPError) -> str:
    """What went wrong; a proxy's own words are repeated, since it is the user's."""
    name = type(exc).__name__
    return f"{name}: {one_line(str(exc), 120)}" if isinstance(exc, httpx2.ProxyError) and str(exc) else name
