"""Addresses of given media, as people, models and this server itself write them -> the one spelling that is kept.

Pure: only the text is looked at. Text that is no address is refused, and the error says what to write instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ring_mcp.domain import ImageRequest, VideoRequest
from ring_mcp.domain.choices import EDGES
from ring_mcp.errors import InvalidRequest

NO_PATH = re.compile(r"(https?|data|kept|ring):", re.IGNORECASE)
_TWO_PATHS = re.compile(r"[,;\s]\s{0,9}(?:/|file:)", re.IGNORECASE)
_BARE = "must be the bare address: write it alone, without words, quotes, Markdown or HTML around it"
MAX_CHARS = 8_000
"""How long an address may be that is not a data URI."""

_FIELDS = {"image_url": "imageUrl", "last_frame_url": "lastFrameUrl", "source_video_url": "sourceVideoUrl"}
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]{0,40}):", re.IGNORECASE)
_BEGINS = re.compile(r"(?:^|[\s,;])(?:https?|file|data|ring):", re.IGNORECASE)
_WRAPPED = re.compile(r"!?\[[^\]]*\]\(|[<(]|[\"'`“”]")
_SAVED_AT = re.compile(r"saved at\s+", re.IGNORECASE)
_AMONG_WORDS = re.compile(r"[\s(\[<\"'=](?:(?:https?|file|data|ring):|~?/)", re.IGNORECASE)
_WITHOUT_DATA = re.compile(r"[^,]{0,100}?base64\s{0,9}[,:]", re.IGNORECASE)
_ESCAPED_AND = re.compile(r"&(?:amp;)+")
DATA_FORM = "a data URI has the form data:image/png;base64,<data>"
_BASE64_OF_MEDIA = ("/9j/", "iVBORw0KGgo", "R0lGOD", "UklGR", "AAAA")
"""How JPEG, PNG, GIF, WebP, and MP4 or HEIC begin in base64."""

_BASE64 = re.compile(r"[A-Za-z0-9+/_\s-]{200,}={0,2}")

R = TypeVar("R", ImageRequest, VideoRequest)


def addresses(request: ImageRequest | VideoRequest) -> Iterator[tuple[str, str]]:
    """Pairs of field and address: every address in the request, after the argument's name as its caller knows it."""
    yield from ((f"referenceImages[{number}]", each) for number, each in enumerate(request.reference_images))
    if isinstance(request, VideoRequest):
        yield from ((field, url) for name, field in _FIELDS.items() if (url := getattr(request, name)))


def with_addresses(request: R, change: Callable[[str, str], str]) -> R:
    """The request with ``change(field, address)`` in place of each address."""
    new = {field: change(field, address) for field, address in addresses(request)}
    references = tuple(new[f"referenceImages[{number}]"] for number in range(len(request.reference_images)))
    if isinstance(request, VideoRequest):
        given = {name: new.get(field, getattr(request, name)) for name, field in _FIELDS.items()}
        return replace(request, reference_images=references, **given)
    return replace(request, reference_images=references)


def is_inside(path: Path, folders: Collection[Path]) -> bool:
    """Whether a file lies in one of these folders once links are followed."""
    return any(path.resolve().is_relative_to(folder) for folder in folders)


def normalize_address(field: str, text: str) -> str:
    """The address in its one spelling. Raises InvalidRequest for text that is no address."""
    text = text.strip(EDGES)
    if (said := _SAVED_AT.match(text)) is not None:
        text = text[said.end() :]
    if _WRAPPED.match(text):
        raise InvalidRequest(f"{field} {_BARE}")
    found = _SCHEME.match(text)
    scheme = found[1].lower() if found else ""
    if scheme == "data":
        return f"data:{text[5:].lstrip()}"
    # Before the length is checked: bare base64 is long, and this error says how to give it.
    if not scheme and _looks_like_base64(text):
        raise InvalidRequest(
            f"{field} looks like base64 alone: write data:image/png;base64, before it, or image/jpeg or image/webp"
        )
    is_bare = scheme in ("http", "https", "file") or text.startswith(("/", "~"))
    if not is_bare and _WITHOUT_DATA.match(text):
        raise InvalidRequest(f"{field}: {DATA_FORM}")
    if len(text) > MAX_CHARS:
        inline = "" if is_bare else f", and {DATA_FORM}"
        raise InvalidRequest(f"{field} has {len(text):,} characters; an address may have {MAX_CHARS:,}{inline}")
    if scheme == "file":
        return _file_url(text[5:])
    if scheme in ("http", "https") or text.startswith("//"):
        return _web_address(field, scheme, text)
    if not is_bare and _AMONG_WORDS.search(text):
        raise InvalidRequest(f"{field} {_BARE}")
    return text


def say_outside(path: str) -> str:
    """Why a path is not read that leads out of the folders."""
    if _TWO_PATHS.search(path):
        return "is no file in a folder of RING_INPUT_DIRS; of several files give each by itself, as an item of a list"
    return "is a file outside the folders of RING_INPUT_DIRS, so it is not read"


def resolve_path(text: str) -> Path:
    """The file that a path or a ``file:`` address means. Raises RuntimeError for ``~name`` of an unknown user."""
    text = text.strip()
    if text[:5].lower() == "file:":
        return Path(url2pathname(_file_url(text[5:]).removeprefix("file://")))
    return Path(text).expanduser()


def _file_url(rest: str) -> str:
    """The ``file:`` address of a file on this machine, however many slashes it was written with."""
    return "file:///" + rest.lstrip("/").removeprefix("localhost/").lstrip("/")


def _web_address(field: str, scheme: str, text: str) -> str:
    if len(_BEGINS.findall(text)) > 1:
        raise InvalidRequest(f"{field} holds several addresses: give each by itself, as an item of a list")
    if any(char.isspace() or not char.isprintable() for char in text):
        raise InvalidRequest(f"{field} has a blank inside: write %20 in its place")
    # Copied out of HTML; no address has a name that begins so.
    address = _ESCAPED_AND.sub("&", f"{scheme}:{text[len(scheme) + 1 :]}")
    try:
        parts = urlsplit(address)
        is_whole = parts.hostname is not None and (parts.port is None or parts.port > 0)
    except ValueError:
        is_whole = False
    if not is_whole:
        raise InvalidRequest(f"{field} is not an http(s) address")
    return address


def _looks_like_base64(text: str) -> bool:
    # A file name may begin like this as well, but it is short and has a dot.
    if text.startswith(_BASE64_OF_MEDIA):
        return len(text) >= 64 or "." not in text
    return len(text) > 1_000 and _BASE64.fullmatch(text[:4_000]) is not None
