"""What ring-filebase answers, and what each answer means. Pure.

Its documented answer is ``{success: true, url, fileId, metadata: {size, mimeType}}``; other versions of it, and what
stands in front of it, say the same in other words. Whatever it says after a yes that cannot be read, the file may be
there, under a name that nobody learnt: another upload would be another copy.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

from ring_mcp.domain import MediaFile
from ring_mcp.errors import StorageError, StorageRefused, StorageUnclear
from ring_mcp.masking import Masking
from ring_mcp.storage.base import StoredFile

MAX_EXCERPT_CHARS = 280
_MAX_URL_CHARS = 8192
_MAX_ID_CHARS = 200
_SHELLS = ("data", "file", "result")
"""Where other versions put what belongs at the top."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said; ``text`` is the body, cut after 64 kB."""

    status: int
    text: str
    retry_after: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What a status other than 2xx means. ``passes``: the same upload is tried again a little later."""

    statuses: Collection[int]
    error: type[StorageError]
    fix: str
    source: str
    passes: bool = False


OUTCOMES = (
    Row(
        statuses=(401,),
        error=StorageRefused,
        fix="Set RINGBASE_API_TOKEN to a valid token.",
        source="ring-filebase: Invalid ServiceAccount token",
    ),
    Row(
        statuses=(403,),
        error=StorageRefused,
        fix="The RINGBASE_API_TOKEN has no right to upload.",
        source="ring-filebase: a token without the right",
    ),
    Row(
        statuses=(413,),
        error=StorageRefused,
        fix="The file is larger than ring-filebase accepts.",
        source="RFC 9110 and every reverse proxy: the body is too large",
    ),
    Row(
        statuses=(400, 415),
        error=StorageRefused,
        fix="",
        source="ring-filebase: no file, an unknown type, a MIME type of another class",
    ),
    Row(
        statuses=(408, 425, 429, *range(500, 600)),
        error=StorageError,
        fix="",
        passes=True,
        source="RFC 9110, 6585, 8470: the server asks for another try, or is not itself",
    ),
    Row(
        statuses=range(100, 1000),
        error=StorageError,
        fix="Is RINGBASE_API_URL right?",
        source="nothing of ring-filebase: another server, or a redirect, which is not followed",
    ),
)


def row_of(status: int) -> Row:
    """The first row for a status other than 2xx."""
    return next(row for row in OUTCOMES if status in row.statuses)


class Excerpts:
    """Makes short, one-line quotations of foreign text, without the token in any spelling that servers echo."""

    def __init__(self, token: str) -> None:
        self._masking = Masking([token])

    def of(self, text: str) -> str:
        """At most 280 characters. Of a JSON object with a text under ``error`` that text, of HTML a note of it."""
        value = _json_object(text)
        if isinstance(value.get("error"), str):
            text = value["error"]
        note = "an HTML page: " if looks_like_html(text) else ""
        line = self._masking.text(" ".join("".join(char if char.isprintable() else " " for char in text).split()))
        line = re.sub(r"(?i)\bbearer\s+[^\s\"',;<]+", "***", line)
        return note + line[:MAX_EXCERPT_CHARS] if line else "no text"


def read_stored_file(answer: Answer, key: str, media: MediaFile, excerpts: Excerpts, asked: str) -> StoredFile:
    """Read the answer to an upload to the address ``asked``, which a url in it may be relative to.

    Raises the error of its row; of a 2xx StorageError if it says that nothing was stored, and StorageUnclear if it
    does not say where the whole file is.
    """
    said = excerpts.of(answer.text)
    if not 200 <= answer.status < 300:
        row = row_of(answer.status)
        raise row.error(f"RingBase upload failed ({answer.status}): {said}" + (f". {row.fix}" if row.fix else ""))
    facts = list(_facts(_json_object(answer.text)))
    # Also as a text, which other versions and gateways may make of it: a no is never taken for a yes.
    if any(str(each.get("success")).lower() == "false" for each in facts):
        raise StorageError(f"RingBase upload failed ({answer.status}): {said}")
    url = next((url for each in facts if (url := _url(each.get("url"), asked)) is not None), None)
    if url is None:
        text = f"RingBase took the upload ({answer.status}), and its answer does not say where the file is: {said}"
        raise StorageUnclear(text)
    size_bytes = next((size for each in facts if (size := _size(each)) is not None), media.size_bytes)
    # Not simply tried again: a copy is there, if a bad one, and another upload would be a second.
    if size_bytes != media.size_bytes:
        raise StorageUnclear(f"RingBase took the upload and kept {size_bytes} bytes of {media.size_bytes}: {said}")
    return StoredFile(
        url=url,
        key=key,
        size_bytes=media.size_bytes,
        content_type=media.content_type,
        file_id=next((file_id for each in facts if (file_id := _file_id(each)) is not None), None),
    )


def looks_like_html(text: str) -> bool:
    return text.lstrip("\ufeff \t\r\n")[:15].lower().startswith(("<!doctype html", "<html"))


def _facts(value: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The answer, and what lies in it as in a shell."""
    yield value
    yield from (value[name] for name in _SHELLS if isinstance(value.get(name), dict))


def _url(value: Any, asked: str) -> str | None:
    """A web address without user and password in it; None for anything else."""
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_URL_CHARS or not value.isprintable() or " " in value:
        return None
    try:
        url = urljoin(asked, value)
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        return None
    return url if usable else None


def _file_id(facts: Mapping[str, Any]) -> str | None:
    value = facts.get("fileId")
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return text if 0 < len(text) <= _MAX_ID_CHARS and text.isprintable() else None


def _size(facts: Mapping[str, Any]) -> int | None:
    metadata = facts.get("metadata")
    size_bytes = metadata.get("size") if isinstance(metadata, dict) else None
    return size_bytes if isinstance(size_bytes, int) and not isinstance(size_bytes, bool) else None


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
