"""HTTP as every provider needs it: a paid request that is never sent twice, free requests, capped downloads.

No status is judged here, that is the vendor's dialect; only what happened to the request is.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx2

from ring_mcp.clock import Clock
from ring_mcp.errors import (
    JobExpired,
    OutcomeUnknown,
    ProviderBadReply,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
)
from ring_mcp.providers.base import Downloaded
from ring_mcp.providers.connections import Clients, open_clients
from ring_mcp.providers.guard import public_addresses

MAX_REPLY_BYTES = 96 * 1024 * 1024  # ten 2k pictures as base64 are about 60 MB
MAX_RETRY_AFTER_S = 60.0
_MAX_BELIEVED_S = 86400.0
_PAID_ATTEMPTS = 4
_CHUNK_BYTES = 256 * 1024
_SECRET_LENGTH = 8  # anything shorter is no key


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A whole answer. ``body`` is what was received, ``json`` its value or None if it is not JSON."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    @property
    def is_html(self) -> bool:
        return "html" in self.headers.get("content-type", "") or self.body[:64].lstrip().lower().startswith(
            (b"<!doctype html", b"<html")
        )

    def excerpt(self, limit: int = 280) -> str:
        """The body as one short line."""
        return one_line(self.body[: 4 * limit].decode("utf-8", "replace"), limit)


def one_line(text: str, limit: int = 280) -> str:
    """Foreign text as it can be shown, logged and stored: printable, on one line, short."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[: 8 * limit]).split())[:limit]


class ProviderHttp:
    """The connections to one provider. ``headers`` carry its key and go to the host of ``base_url`` alone."""

    def __init__(
        self,
        *,
        provider: str,
        base_url: str,
        headers: Mapping[str, str],
        clock: Clock,
        max_media_bytes: int,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._provider = provider
        self._clock = clock
        self._max_media_bytes = max_media_bytes
        keys = (value.rsplit(" ", 1)[-1] for value in headers.values())
        self._secrets = [key.encode() for key in keys if len(key) >= _SECRET_LENGTH]
        self._base_url = base_url
        self._headers = dict(headers)
        self._transport = transport
        self._trusted_hosts = {httpx2.URL(base_url).host.lower()}
        self._opened: Clients | None = None

    @property
    def _clients(self) -> Clients:
        """Made at the first request and not at the start: loading the certificates takes a tenth of a second."""
        if self._opened is None:
            self._opened = open_clients(self._base_url, self._headers, self._trusted_hosts, self._transport)
        return self._opened

    async def aclose(self) -> None:
        if self._opened is not None:
            await self._opened.aclose()

    async def post_paid(
        self, path: str, body: Mapping[str, Any], *, deadline_s: float, judge: Callable[[Reply], None], timed_out: str
    ) -> Reply:
        """Send a request that costs money, and send it again only when it is certain that nothing was accepted.

        ``judge`` raises for a reply that is an error; a RateLimited from it is waited out within ``deadline_s``.
        Raises OutcomeUnknown if the request left and no whole answer came back; ``timed_out`` is the text for that
        when the reason is the deadline.
        """
        refused: ProviderError | None = None  # why nothing is under way right now; None while a request is
        try:
            async with asyncio.timeout(deadline_s):
                for attempt in range(_PAID_ATTEMPTS):
                    refused = None
                    try:
                        reply = await self._send_paid(path, body)
                        judge(reply)
                    except RateLimited as exc:
                        if exc.billed != "no":
                            raise
                        refused, pause_s = exc, exc.retry_after_s or 2.0**attempt
                    except _NotSent as exc:
                        refused = ProviderUnavailable(str(exc), provider=self._provider, billed="no")
                        pause_s = 0.5 * 2.0**attempt
                    else:
                        return reply
                    if attempt < _PAID_ATTEMPTS - 1:
                        await self._clock.sleep(min(pause_s, MAX_RETRY_AFTER_S))
        except TimeoutError as exc:
            if refused is None:
                raise OutcomeUnknown(
                    f"{timed_out}; the request was aborted, and whether it was billed is not known",
                    provider=self._provider,
                ) from exc
        assert refused is not None, "an attempt returns or is refused"
        raise refused

    async def _send_paid(self, path: str, body: Mapping[str, Any]) -> Reply:
        try:
            async with self._clients.paid.stream("POST", path, json=body) as response:
                return await self._read(response)
        except _NEVER_LEFT as exc:
            raise _NotSent(f"no connection to {self._provider} ({type(exc).__name__})") from exc
        except httpx2.HTTPError as exc:
            raise OutcomeUnknown(
                f"the connection to {self._provider} broke after the request was sent ({type(exc).__name__}); "
                "whether it was accepted and billed is not known",
                provider=self._provider,
            ) from exc

    async def get(self, path: str) -> Reply:
        """A free request. Raises ProviderUnavailable if no whole answer came back."""
        return await self._free_request(lambda: self._clients.free.build_request("GET", path))

    async def _free_request(self, build: Callable[[], httpx2.Request]) -> Reply:
        try:
            response = await self._clients.free.send(build(), stream=True)
            try:
                return await self._read(response)
            finally:
                await response.aclose()
        except httpx2.HTTPError as exc:
            raise ProviderUnavailable(
                f"{self._provider} could not be asked ({type(exc).__name__})", provider=self._provider
            ) from exc

    async def check_address(self, url: str) -> None:
        """Raises ProviderBadReply if ``url`` lies on a private network, ProviderUnavailable if it has no address."""
        try:
            parsed = httpx2.URL(url)
        except httpx2.InvalidURL as exc:
            raise ProviderBadReply("it is not an http(s) address", provider=self._provider, billed="no") from exc
        if parsed.scheme not in ("http", "https"):
            raise ProviderBadReply("it is not an http(s) address", provider=self._provider, billed="no")
        if parsed.host.lower() not in self._trusted_hosts:
            try:
                await public_addresses(parsed.host, parsed.port or 443)
            except httpx2.HTTPError as exc:
                raise ProviderUnavailable(str(exc), provider=self._provider, billed="no") from exc

    async def download(
        self, url: str, path: Path, max_bytes: int | None = None, *, with_key: bool = False
    ) -> Downloaded:
        """Stream ``url`` to ``path`` in constant memory; ``max_bytes`` in place of the limit for results.

        ``with_key``: the provider's own host is shown the key, no other is.

        Raises JobExpired (403, 404, 410), ProviderBadReply (too large, a forbidden address) or ProviderUnavailable.
        """
        try:
            client = self._clients.keyed if with_key else self._clients.media
            async with client.stream("GET", url) as response:
                limit_bytes = max_bytes or self._max_media_bytes
                self._judge_download(response, limit_bytes)
                return await self._write(response, path, limit_bytes)
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as exc:
            raise ProviderBadReply("it is not an http(s) address", provider=self._provider, billed="yes") from exc
        except httpx2.TooManyRedirects as exc:
            raise ProviderBadReply("the address redirects too often", provider=self._provider, billed="yes") from exc
        except httpx2.HTTPError as exc:
            raise ProviderUnavailable(
                f"the result could not be fetched from {self._provider} ({type(exc).__name__})",
                provider=self._provider,
                billed="yes",
            ) from exc

    def _judge_download(self, response: httpx2.Response, limit_bytes: int) -> None:
        status = response.status_code
        if status in (403, 404, 410):
            raise JobExpired(
                f"{self._provider} no longer serves the result (HTTP {status}): its temporary address has expired",
                provider=self._provider,
                http_status=status,
                billed="yes",
            )
        if status != 200:
            raise ProviderUnavailable(
                f"fetching the result from {self._provider} failed (HTTP {status})",
                provider=self._provider,
                http_status=status,
                billed="yes",
            )
        declared = response.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > limit_bytes:
            raise self._too_large(int(declared), limit_bytes)

    async def _write(self, response: httpx2.Response, path: Path, limit_bytes: int) -> Downloaded:
        digest, size_bytes = hashlib.sha256(), 0
        with path.open("wb") as file:
            async for chunk in response.aiter_bytes(_CHUNK_BYTES):
                size_bytes += len(chunk)
                if size_bytes > limit_bytes:
                    raise self._too_large(size_bytes, limit_bytes)
                digest.update(chunk)
                file.write(chunk)
        return Downloaded(size_bytes=size_bytes, sha256=digest.hexdigest())

    def _too_large(self, size_bytes: int, limit_bytes: int) -> ProviderError:
        return ProviderBadReply(
            f"the file is too large: {size_bytes:,} bytes or more, {limit_bytes:,} are allowed",
            provider=self._provider,
            billed="yes",
            next_action="Raise RING_MAX_MEDIA_BYTES and resume the job with `ring-mcp jobs resume`.",
        )

    async def _read(self, response: httpx2.Response) -> Reply:
        """The whole answer, with stars where it echoes the key."""
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > MAX_REPLY_BYTES:
                raise ProviderBadReply(
                    f"{self._provider} answered with more than {MAX_REPLY_BYTES:,} bytes",
                    provider=self._provider,
                    http_status=response.status_code,
                )
        content = bytes(body)
        for secret in self._secrets:
            content = content.replace(secret, b"***")
        return Reply(status=response.status_code, headers=response.headers, body=content)


_NEVER_LEFT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.UnsupportedProtocol,
    httpx2.LocalProtocolError,  # a key that no header can carry
)


class _NotSent(Exception):
    """The request never left: no connection was made."""


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """The Retry-After header in seconds from ``now``, given as seconds or as a date; None if there is none."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            at = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        seconds = ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds()
    return min(max(0.0, seconds), _MAX_BELIEVED_S) if math.isfinite(seconds) else None
