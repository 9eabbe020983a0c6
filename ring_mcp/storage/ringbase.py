"""Files in ring-filebase, over its upload API.

ring-filebase has no lookup by key and gives every upload a new id. "The same key twice is the same asset" is therefore
kept by this process, from memory. After a crash between an upload and its ledger row, or an answer that got lost, the
repeated upload leaves an orphan copy there. The ledger never points to it, and its file name is the storage key.
"""

from __future__ import annotations

import html
import json
import random
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote
from weakref import WeakValueDictionary

import anyio
import httpx2

from ring_mcp.clock import Clock, SystemClock
from ring_mcp.domain import MediaFile
from ring_mcp.errors import Billed, ConfigError, StorageError, StorageRefused
from ring_mcp.storage.base import OpenUrls, StoredFile, open_spool
from ring_mcp.storage.keys import key_segments

MAX_EXCERPT_CHARS = 280
MAX_WAIT_S = 30.0
_FIRST_WAIT_S = 0.5
_MAX_ANSWER_BYTES = 64 * 1024
_MAX_REMEMBERED = 1024
_REFUSED = frozenset({400, 401, 403, 413, 415})
_PASSING = frozenset({408, 425, 429})
# Reading waits long: the server may copy the file on before it answers.
_UPLOAD_TIMEOUT = httpx2.Timeout(connect=10.0, write=60.0, read=180.0, pool=60.0)
_PING_TIMEOUT = httpx2.Timeout(10.0)


class RingbaseStorage(OpenUrls):
    """Uploads to ``base_url`` (with or without a trailing slash or ``/api/v1``), bearer ``token``.

    ``client`` is used and left open when given; otherwise one is made at the first call and closed by ``aclose``.
    Up to ``max_attempts`` POSTs per put: after a lost connection, 408, 425, 429 or 5xx, with growing pauses.
    Raises ConfigError when the URL or the token cannot be used at all.
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
    ) -> None:
        token = token.strip()
        _check_settings(base_url, token)
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
        if 200 <= answer.status < 300 and not _looks_like_html(answer.text):
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
                trouble = self._no_answer(exc, "upload")
                trouble.__cause__ = exc
            except OSError as exc:
                raise StorageError(f"the spool file cannot be read: {exc.strerror or type(exc).__name__}") from exc
            else:
                if not is_passing(answer.status):
                    return stored_file(answer, key, media, self._excerpts)
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
            self._client = httpx2.AsyncClient()
        return self._client

    def _no_answer(self, exc: httpx2.RequestError, what: str, *, billed: Billed = "yes") -> StorageError:
        reason = self._excerpts.of(f"{type(exc).__name__} {exc}")
        return StorageError(f"RingBase {what} failed: no answer from RINGBASE_API_URL ({reason})", billed=billed)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said; ``text`` is the body, cut after 64 kB."""

    status: int
    text: str
    retry_after: str | None = None


class Excerpts:
    """Makes short, one-line quotations of foreign text, without the token in any spelling that servers echo."""

    def __init__(self, token: str) -> None:
        parts = {token, *(part for part in token.split(".") if len(part) >= 8)}
        spellings = {
            s for part in parts for s in (part, quote(part, safe=""), html.escape(part), json.dumps(part)[1:-1])
        }
        spellings |= {part.replace("/", "\\/") for part in parts}
        self._secrets = sorted(spellings, key=len, reverse=True)

    def of(self, text: str) -> str:
        """At most 280 characters. Of a JSON object with a text under ``error`` that text, of HTML a note of it."""
        value = _json_object(text)
        if isinstance(value.get("error"), str):
            text = value["error"]
        note = "an HTML page: " if _looks_like_html(text) else ""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        text = re.sub(r"(?i)\bbearer\s+[^\s\"',;<]+", "***", text)
        line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
        return note + line[:MAX_EXCERPT_CHARS] if line else "no text"


def api_url(base_url: str, path: str) -> str:
    """``{base}/api/v1/{path}``, the prefix exactly once however the base was written."""
    return re.sub(r"(/+api/v1(/+upload)?)?/*$", "", base_url.strip(), count=1) + f"/api/v1/{path}"


def upload_type(content_type: str) -> str:
    """ring-filebase checks the MIME type against this class and refuses a PNG sent as ``media``."""
    major = content_type.partition("/")[0].lower()
    return {"image": "image", "video": "media", "audio": "media"}.get(major, "other")


def is_passing(status: int) -> bool:
    """Whether the same request may well succeed a little later."""
    return status in _PASSING or status >= 500


def pause_s(attempt: int, retry_after: str | None, now: datetime) -> float:
    """Seconds to wait after the failed attempt number ``attempt`` (from 1): doubling from half a second, a quarter of
    it by chance, at least what the server asked for, at most 30."""
    own_s = _FIRST_WAIT_S * 2.0 ** (attempt - 1) * random.uniform(1.0, 1.25)
    return min(MAX_WAIT_S, max(own_s, _asked_wait_s(retry_after, now)))


def stored_file(answer: Answer, key: str, media: MediaFile, excerpts: Excerpts) -> StoredFile:
    """Read the answer to an upload. Raises StorageRefused or StorageError when it is not a stored file."""
    failed = f"RingBase upload failed ({answer.status})"
    if answer.status in _REFUSED:
        raise StorageRefused(f"{failed}: {excerpts.of(answer.text)}{_HINTS.get(answer.status, '')}")
    if not 200 <= answer.status < 300:
        raise StorageError(f"{failed}: {excerpts.of(answer.text)}. Is RINGBASE_API_URL right?")
    value = _json_object(answer.text)
    if not value:
        raise StorageError(f"{failed}: the answer is not a JSON object: {excerpts.of(answer.text)}")
    if value.get("success") is not True:
        raise StorageError(f"{failed}: the answer does not say success: {excerpts.of(answer.text)}")
    url = value.get("url")
    if not isinstance(url, str) or not re.fullmatch(r"https?://[^\s/]\S*", url) or not url.isprintable():
        raise StorageError(f"{failed}: the answer has no url: {excerpts.of(answer.text)}")
    facts = value.get("metadata")
    size_bytes = facts.get("size") if isinstance(facts, dict) else None
    if isinstance(size_bytes, int) and size_bytes != media.size_bytes:
        raise StorageError(f"{failed}: it kept {size_bytes} bytes of {media.size_bytes}")
    file_id = value.get("fileId")
    return StoredFile(
        url=url,
        key=key,
        size_bytes=media.size_bytes,
        content_type=media.content_type,
        file_id=None if file_id is None else str(file_id),
    )


_HINTS = {
    401: ". Set RINGBASE_API_TOKEN to a valid token.",
    403: ". The RINGBASE_API_TOKEN has no right to upload.",
    413: ". The file is larger than ring-filebase accepts.",
}


def _check_settings(base_url: str, token: str) -> None:
    problems = []
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


def _asked_wait_s(retry_after: str | None, now: datetime) -> float:
    """Seconds from a Retry-After header, which holds seconds or a date; 0 when it holds neither."""
    try:
        return max(0.0, float(retry_after or 0))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(str(retry_after)) - now).total_seconds())
    except (ValueError, TypeError):  # not a date, or one without a time zone
        return 0.0


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _looks_like_html(text: str) -> bool:
    return text.lstrip("\ufeff \t\r\n")[:15].lower().startswith(("<!doctype html", "<html"))
