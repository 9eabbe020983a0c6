"""Files in ring-filebase, over its upload API.

ring-filebase has no lookup by key and gives every upload a new id. "The same key twice is the same asset" is therefore
kept by this process, from memory. After a crash between an upload and its ledger row, or an answer that got lost, the
repeated upload leaves an orphan copy there. The ledger never points to it, and its file name is the storage key. After
a yes that cannot be read nothing is uploaded again unasked.
"""

from __future__ import annotations

import json
import random
import re
from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from weakref import WeakValueDictionary

import anyio
import httpx2

from ring_mcp.clock import Clock, SystemClock
from ring_mcp.domain import MediaFile
from ring_mcp.errors import Billed, ConfigError, StorageError, StorageRefused
from ring_mcp.proxies import DIRECT, Proxies, trouble_with
from ring_mcp.storage.base import OpenUrls, StoredFile, open_spool, spool_trouble
from ring_mcp.storage.keys import key_segments
from ring_mcp.storage.ringbase_answers import Answer, Excerpts, looks_like_html, read_stored_file, row_of

MAX_WAIT_S = 30.0
_FIRST_WAIT_S = 0.5
_MAX_ANSWER_BYTES = 64 * 1024
# Enough for uploads that are repeated soon; a process that runs for months must not remember every key.
_MAX_REMEMBERED = 1024
# Reading waits long: the server may copy the file on before it answers.
_UPLOAD_TIMEOUT = httpx2.Timeout(connect=10.0, write=60.0, read=180.0, pool=60.0)
_PING_TIMEOUT = httpx2.Timeout(10.0)


class RingbaseStorage(OpenUrls):
    """Uploads to ``base_url`` (with or without a trailing slash or ``/api/v1``), bearer ``token``.

    ``client`` is used and left open when given; otherwise one is made at the first call and closed by ``aclose``.
    Up to ``max_attempts`` POSTs per put: after a lost connection, 408, 425, 429 or 5xx, with growing pauses. A yes in
    words that cannot be read ends the put at once, with StorageUnclear.
    Raises ConfigError when the URL, the token or the proxy cannot be used at all.
    """

    name = "ringbase"

    def __init__(
        self,
        base_url: str,
        token: str,
        client: httpx2.AsyncClient | None = None,
        clock: Clock | None = None,
        *,
        max_attempts: int = 4,
        proxies: Proxies = DIRECT,
    ) -> None:
        token = token.strip()
        self._proxy = proxies.of(base_url.strip())
        _check_settings(base_url, token, self._proxy)
        self._upload_url = api_url(base_url, "upload")
        self._health_url = api_url(base_url, "health")
        # Uncompressed, so that a small answer cannot unfold into a large one.
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        }
        self._excerpts = Excerpts(token)
        self._client = client
        self._owns_client = client is None
        self._clock = clock or SystemClock()
        self._max_attempts = max_attempts
        self._remembered: OrderedDict[str, tuple[str, StoredFile]] = OrderedDict()
        # Weak: a lock is there for as long as a put of its key is, and nobody has to clear away the rest.
        self._locks: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()

    async def put(self, key: str, media: MediaFile, metadata: Mapping[str, str]) -> StoredFile:
        key_segments(key)
        async with self._locks.setdefault(key, anyio.Lock()):
            sha256, stored = self._remembered.get(key, ("", None))
            if stored is None or sha256 != media.sha256:
                stored = await self._upload(key, media, metadata)
                self._remembered[key] = (media.sha256, stored)
                if len(self._remembered) > _MAX_REMEMBERED:
                    self._remembered.popitem(last=False)
            return stored

    def local_path(self, url: str) -> Path | None:
        return None

    async def ping(self) -> None:
        request = self._http().build_request("GET", self._health_url, headers=self._headers, timeout=_PING_TIMEOUT)
        try:
            answer = await self._answer(request)
        except httpx2.RequestError as exc:
            raise self._no_answer(exc, "health check", billed="no") from exc
        if 200 <= answer.status < 300 and not looks_like_html(answer.text):
            return
        text = f"RingBase health check failed ({answer.status}): {self._excerpts.of(answer.text)}. "
        if answer.status in (401, 403):
            raise StorageRefused(text + "Set RINGBASE_API_TOKEN to a valid token.", billed="no")
        raise StorageError(text + "Is RINGBASE_API_URL right, and is ring-filebase up?", billed="no")

    async def aclose(self) -> None:
        if self._owns_client and self._client is not None:
            client, self._client = self._client, None
            await client.aclose()

    async def _upload(self, key: str, media: MediaFile, metadata: Mapping[str, str]) -> StoredFile:
        attempt = 0
        while True:
            attempt += 1
            retry_after: str | None = None
            try:
                answer = await self._post(key, media, metadata)
            except httpx2.RequestError as exc:
                # Tried again although it may have arrived: a second copy costs a little room, a lost result what was
                # paid for it.
                trouble = self._no_answer(exc, "upload")
                trouble.__cause__ = exc
            except OSError as exc:
                raise spool_trouble(exc) from exc
            else:
                if not row_of(answer.status).passes:
                    return read_stored_file(answer, key, media, self._excerpts, self._upload_url)
                retry_after = answer.retry_after
                trouble = StorageError(f"RingBase upload failed ({answer.status}): {self._excerpts.of(answer.text)}")
            if attempt >= self._max_attempts:
                raise trouble
            await self._clock.sleep(pause_s(attempt, retry_after, self._clock.now()))

    async def _post(self, key: str, media: MediaFile, metadata: Mapping[str, str]) -> Answer:
        # Opened anew for every attempt. httpx2 reads it in 64 kB pieces as the socket takes them.
        with open_spool(media) as file:
            request = self._http().build_request(
                "POST",
                self._upload_url,
                headers=self._headers,
                data={"type": upload_type(media.content_type), "metadata": json.dumps(dict(metadata))},
                files={"file": (key, file, media.content_type)},
                timeout=_UPLOAD_TIMEOUT,
            )
            return await self._answer(request)

    async def _answer(self, request: httpx2.Request) -> Answer:
        # A redirected POST would arrive as a GET, without the file, and perhaps show the token to a stranger.
        response = await self._http().send(request, stream=True, follow_redirects=False)
        try:
            body = b""
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) >= _MAX_ANSWER_BYTES:
                    break
        finally:
            await response.aclose()
        text = body[:_MAX_ANSWER_BYTES].decode("utf-8", "replace")
        return Answer(status=response.status_code, text=text, retry_after=response.headers.get("retry-after"))

    def _http(self) -> httpx2.AsyncClient:
        if self._client is None:
            self._client = httpx2.AsyncClient(proxy=self._proxy, trust_env=False)
        return self._client

    def _no_answer(self, exc: httpx2.RequestError, what: str, *, billed: Billed = "yes") -> StorageError:
        reason = self._excerpts.of(f"{type(exc).__name__} {exc}")
        return StorageError(f"RingBase {what} failed: no answer from RINGBASE_API_URL ({reason})", billed=billed)


def api_url(base_url: str, path: str) -> str:
    """``{base}/api/v1/{path}``, the prefix exactly once however the base was written."""
    return re.sub(r"(/+api/v1(/+upload)?)?/*$", "", base_url.strip()) + f"/api/v1/{path}"


def upload_type(content_type: str) -> str:
    """ring-filebase checks the MIME type against this class and refuses a PNG sent as ``media``."""
    major = content_type.partition("/")[0].lower()
    return {"image": "image", "video": "media", "audio": "media"}.get(major, "other")


def _check_settings(base_url: str, token: str, proxy: str | None) -> None:
    problems = []
    if proxy is not None and (trouble := trouble_with(proxy)) is not None:
        problems.append(f"HTTPS_PROXY: {trouble}")
    try:
        url = httpx2.URL(base_url.strip())
        reachable = url.scheme in ("http", "https") and url.host and (url.port or 0) < 2**16
        if not reachable or url.userinfo or url.query:
            problems.append("RINGBASE_API_URL: must be an http(s) URL without user, password or query")
    except httpx2.InvalidURL:
        problems.append("RINGBASE_API_URL: is not a URL")
    # Anything else cannot stand in a header, and the library's error text would quote it.
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        problems.append("RINGBASE_API_TOKEN: must be one line of visible ASCII characters")
    if problems:
        raise ConfigError(problems)


def pause_s(attempt: int, retry_after: str | None, now: datetime) -> float:
    """Seconds to wait after the failed attempt number ``attempt`` (from 1): doubling from half a second, a quarter of
    it by chance, at least what the server asked for, at most 30."""
    # By chance, so that uploads that failed together do not come back together.
    own_s = _FIRST_WAIT_S * 2.0 ** (attempt - 1) * random.uniform(1.0, 1.25)
    return min(MAX_WAIT_S, max(own_s, _read_wait_s(retry_after, now)))


def _read_wait_s(retry_after: str | None, now: datetime) -> float:
    """Seconds from a Retry-After header, which holds seconds or a date; 0 when it holds neither."""
    try:
        return max(0.0, float(retry_after or 0))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(str(retry_after)) - now).total_seconds())
    except (ValueError, TypeError):  # not a date, or one without a time zone
        return 0.0
