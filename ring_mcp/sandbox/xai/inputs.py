"""Pictures and clips that a request brings along: data URIs, our own URLs, stored files, foreign URLs."""

from __future__ import annotations

import base64
import binascii
import hashlib
import ssl
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ring_mcp.sandbox.media_files import picture_type
from ring_mcp.sandbox.state.state import SandboxState
from ring_mcp.sandbox.xai.fields import Fields
from ring_mcp.sandbox.xai.replies import XaiRefusal, invalid

if TYPE_CHECKING:
    import httpx2

# Provider reference 1.3, as is the name of the agent.
FETCH_TIMEOUT_S = 5.0
LIMIT_BYTES = {"image": 10 * 1024**2, "video": 50 * 1024**2}
"""Provider reference 1.3 (a comment of the protocol says 10 MiB, the pages 20) and 2.3 (a third party's client)."""

USER_AGENT = "XaiImageApiFetch/1.0"

InputKind = Literal["image", "video"]


@dataclass(frozen=True)
class SourceRef:
    """Where an input is: a URL or the id of a stored file, one of them."""

    url: str = ""
    file_id: str = ""


def read_source(fields: Fields) -> SourceRef:
    """One input object. ``image_url`` is an older name of ``url`` inside it."""
    url = fields.text("url") or fields.text("image_url")
    file_id = fields.text("file_id")
    if bool(url) == bool(file_id):
        raise invalid("Exactly one of url and file_id must be provided.")
    return SourceRef(url, file_id)


class Inputs:
    """Turns references into files on disk."""

    def __init__(self, state: SandboxState) -> None:
        self._state = state

    async def fetch(self, ref: SourceRef, kind: InputKind) -> Path | None:
        """The file, or None for a foreign URL while ``fetch_inputs`` is off.

        Raises:
            XaiRefusal: 400, it cannot be had.
        """
        path = await self._find(ref, kind)
        if path is not None and path.stat().st_size > LIMIT_BYTES[kind]:
            raise invalid(f"The {kind} is larger than {LIMIT_BYTES[kind]} bytes.")
        if path is not None and kind == "image":
            with path.open("rb") as file:
                if picture_type(file.read(16)) is None:
                    raise invalid("Unsupported image type. It must be JPEG, PNG or WebP.")
        return path

    async def _find(self, ref: SourceRef, kind: InputKind) -> Path | None:
        if ref.file_id:
            return self._find_stored(ref.file_id)
        if ref.url.startswith("data:"):
            return self._keep(_decode(ref.url, kind))
        # Else the fetch would stand in the request log and meet the faults that wait for the client.
        if own := self._own(ref.url):
            return own
        if not ref.url.startswith(("http://", "https://")):
            raise invalid(f"The {kind} URL must be a public URL or a data URI.")
        if not self._state.settings.fetch_inputs:
            return None
        return self._keep(await _download(ref.url, kind))

    def _find_stored(self, file_id: str) -> Path:
        item = self._state.media.find_file(file_id)
        if item is None or not item.path.exists():
            raise XaiRefusal(404, "not-found", f"File {file_id} was not found.")
        return item.path

    def _own(self, url: str) -> Path | None:
        """A file of this sandbox, read without a detour over the network."""
        state = self._state
        if url.startswith(f"{state.base_url}/media/"):
            item = state.media.find(url.rsplit("/", 1)[-1])
            if item is None or not state.media.is_live(item, state.settings.url_ttl_s):
                raise _unreachable(url)
            return item.path
        if url.startswith(f"{state.base_url}/ringbase/files/"):
            upload = state.uploads.find(url.rsplit("/", 1)[-1])
            if upload is None:
                raise _unreachable(url)
            return upload.path
        return None

    def _keep(self, content: bytes) -> Path:
        folder = self._state.folder / "inputs"
        folder.mkdir(exist_ok=True)
        # By content: the studio knows a source by its path, and draws each edit of the same one once.
        path = folder / hashlib.sha256(content).hexdigest()
        if not path.exists():
            path.write_bytes(content)
        return path


def _decode(uri: str, kind: InputKind) -> bytes:
    head, comma, payload = uri.partition(",")
    if not comma or not head.endswith(";base64") or not head.startswith(f"data:{kind}/"):
        raise invalid(f"The data URI must be data:{kind}/<type>;base64,<data>.")
    try:
        content = base64.b64decode(payload, validate=True)
    except binascii.Error as exc:
        raise invalid("The data URI is not valid base64.") from exc
    return content


@cache
def _load_authorities() -> ssl.SSLContext:
    """The authorities that are trusted. To read them takes longer than to fetch a picture, so it is done once."""
    import httpx2

    return httpx2.create_ssl_context(trust_env=False)


def _open_client(timeout_s: float) -> httpx2.AsyncClient:
    import httpx2

    return httpx2.AsyncClient(timeout=timeout_s, verify=_load_authorities(), trust_env=False)


async def _download(url: str, kind: InputKind) -> bytes:
    import httpx2

    content = bytearray()
    try:
        async with (
            _open_client(FETCH_TIMEOUT_S) as client,
            client.stream("GET", url, headers={"user-agent": USER_AGENT}, follow_redirects=True) as response,
        ):
            if response.status_code != 200:
                raise _unreachable(url)
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > LIMIT_BYTES[kind]:
                    raise invalid(f"The {kind} is larger than {LIMIT_BYTES[kind]} bytes.")
    except (httpx2.HTTPError, httpx2.InvalidURL) as exc:
        raise _unreachable(url) from exc
    return bytes(content)


async def deliver(url: str, path: Path, content_type: str) -> None:
    """PUTs a result to the caller's own signed URL.

    Raises:
        XaiRefusal: 400, the URL does not take it.
    """
    import asyncio

    import httpx2

    content = await asyncio.to_thread(path.read_bytes)
    try:
        async with _open_client(30.0) as client:
            response = await client.put(url, content=content, headers={"content-type": content_type})
    except (httpx2.HTTPError, httpx2.InvalidURL) as exc:
        raise invalid("The result could not be uploaded to the given upload URL.") from exc
    if response.status_code >= 300:
        raise invalid(f"The upload URL answered {response.status_code}.")


def _unreachable(url: str) -> XaiRefusal:
    # Without the query, which may be a signature.
    return invalid(f"Failed to fetch the input from URL {url.partition('?')[0][:200]}.")
