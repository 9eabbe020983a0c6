"""What a file really is, by its own bytes: a provider's Content-Type and a URL's ending are only claims.

What is read here is a few kilobytes at the beginning and the end. Decoders are asked through ``Natives``.
"""

from __future__ import annotations

import codecs
import hashlib
from pathlib import Path
from typing import BinaryIO

from ring_mcp.domain import MediaFile, MediaKind
from ring_mcp.errors import ProviderBadReply
from ring_mcp.files import open_file
from ring_mcp.media.bounds import MAX_PIXELS
from ring_mcp.media.clip import ClipFacts
from ring_mcp.media.natives import Natives, Undecodable
from ring_mcp.media.pictures import TooManyPixels

# All signatures are in the first bytes; the rest is for telling a page or a text.
_HEAD_BYTES = 4096
# Some writers put metadata or padding behind the end mark.
_TAIL_BYTES = 64 * 1024
_MAX_BOXES = 20_000
_TYPES = {
    "JPEG": ("image/jpeg", "jpg"),
    "PNG": ("image/png", "png"),
    "WebP": ("image/webp", "webp"),
    "GIF": ("image/gif", "gif"),
    "MP4": ("video/mp4", "mp4"),
    "QuickTime": ("video/quicktime", "mov"),
    "WebM": ("video/webm", "webm"),
}
_OTHER_TYPES = {
    "AVIF": ("image/avif", "avif"),
    "HEIC": ("image/heic", "heic"),
    "HEIF": ("image/heif", "heif"),
    "M4A": ("audio/mp4", "m4a"),
    "Matroska": ("video/x-matroska", "mkv"),
}
"""What nobody asked for and is kept if it was paid for. Whatever has no type here is bytes and nothing more."""
_BYTES = ("application/octet-stream", "bin")
_IMAGES = frozenset({"JPEG", "PNG", "WebP", "GIF"})
_VIDEOS = frozenset({"MP4", "QuickTime", "WebM"})
_BRANDS = {
    b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF", b"msf1": "HEIF",
    b"M4A ": "M4A", b"M4B ": "M4A", b"qt  ": "QuickTime",
}  # fmt: skip
"""Of ISO media files: brands that are no MP4 video. All others are."""
_SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"%PDF": "PDF",
    b"PK\x03\x04": "ZIP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\0\0\1\0": "ICO",
    b"8BPS\0\1": "PSD",
}
_RIFF_FORMS = {b"WEBP": "WebP", b"AVI ": "AVI", b"WAVE": "WAV"}
_TEXTS = {b"<svg": "an SVG drawing", b"<": "an XML document", b"{": "a JSON document", b"[": "a JSON document"}
_CUT = ", and ends early or does not play"
ELSEWHERE = "its temporary address may give the whole clip for some time yet"
_SPOKEN_WITH_AN = frozenset({"AVI", "AVIF", "ICO", "M4A", "MP4", "RIFF"})


class NotTheMedia(ProviderBadReply):
    """``found`` says in a few words what the file is instead, for whoever did not get it from a provider."""

    def __init__(self, expected: MediaKind, found: str) -> None:
        article = "an" if expected == "image" else "a"
        super().__init__(f"{article} {expected} was expected, but the provider sent {found}")
        self.found = found


class CutClip(NotTheMedia):
    """A clip whose own index says that its end is missing."""


def hash_file(path: Path) -> tuple[int, str]:
    """Size in bytes and sha256 in hex, in constant memory. Blocking. Raises OSError."""
    with open_file(path) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), digest


def identify(path: Path, natives: Natives, *, size_bytes: int, sha256: str, expected: MediaKind) -> MediaFile:
    """Type, extension, size in pixels and seconds, as far as they can be known. Blocking.

    A picture is JPEG, PNG, WebP or GIF; a video is MP4, QuickTime or WebM. Raises ProviderBadReply, whose text says
    what the file is instead and quotes none of it (NotTheMedia); Undecodable if looking at it was too much for its
    decoder; OSError when it cannot be read at all.
    """
    container, is_whole = _recognize(path, size_bytes, expected)
    facts = ClipFacts()
    if expected == "video":
        facts = natives.measure_clip(path)
    else:
        try:
            size = natives.measure_picture(path, container, is_whole=is_whole)
        except TooManyPixels as exc:
            raise NotTheMedia("image", f"a {container} file of more than {MAX_PIXELS // 10**6} megapixels") from exc
        if size is None:
            raise NotTheMedia("image", f"a damaged or incomplete {container} file of {size_bytes} bytes")
        facts = ClipFacts(width_px=size[0], height_px=size[1])
    content_type, extension = _TYPES[container]
    return MediaFile(
        path=path,
        size_bytes=size_bytes,
        sha256=sha256,
        content_type=content_type,
        extension=extension,
        width_px=facts.width_px,
        height_px=facts.height_px,
        duration_s=facts.duration_s,
    )


def identify_result(
    path: Path,
    natives: Natives,
    *,
    size_bytes: int,
    sha256: str,
    expected: MediaKind,
    anyway: bool = False,
    even_cut: bool = False,
    only_copy: bool = False,
    is_last: bool = False,
) -> MediaFile:
    """What was paid for, as it can be handed out; what is wrong with it stands in ``doubt``. Blocking.

    That its decoder gives up keeps nobody from it. What ``identify`` refuses is refused here, too, unless it is taken
    ``anyway``: then only a page, a text or nothing at all is no result, and a clip that was cut off is one only if
    ``even_cut``. With ``only_copy``, for bytes that cannot be fetched again, everything but nothing is kept.
    ``is_last``: its address serves nothing any more. Raises ProviderBadReply and OSError as ``identify`` does.
    """
    try:
        return identify(path, natives, size_bytes=size_bytes, sha256=sha256, expected=expected)
    except Undecodable as exc:
        head = _read_head(path)
        doubt = f"its size and length are not known: {exc}"
    except ProviderBadReply as exc:
        head = _read_head(path)
        is_cut = isinstance(exc, CutClip) and not only_copy
        if not head or not (only_copy or (anyway and _may_be_media(head))) or (is_cut and not even_cut):
            raise
        doubt = f"{exc.message}; it is kept as it came"
        if is_cut:
            doubt += _CUT if is_last else f"{_CUT}: {ELSEWHERE}"
    content_type, extension = {**_TYPES, **_OTHER_TYPES}.get(_container(head) or "", _BYTES)
    return MediaFile(
        path=path,
        size_bytes=size_bytes,
        sha256=sha256,
        content_type=content_type,
        extension=extension,
        doubt=doubt,
    )


def may_be_media(path: Path) -> bool:
    """Whether ``identify_result`` would take it in the end: no page, no text, and not nothing. Raises OSError."""
    return _may_be_media(_read_head(path))


def looks_like(path: Path, kind: MediaKind) -> bool:
    """Whether it begins as a picture, or a clip, does. Raises OSError."""
    return _container(_read_head(path)) in (_IMAGES if kind == "image" else _VIDEOS)


def _may_be_media(head: bytes) -> bool:
    return bool(head) and (_container(head) is not None or not _is_text(head))


def _read_head(path: Path) -> bytes:
    with open_file(path) as file:
        return file.read(_HEAD_BYTES)


def _recognize(path: Path, size_bytes: int, expected: MediaKind) -> tuple[str, bool]:
    """The container, and whether all of the file is surely there. Raises NotTheMedia for what is none, and for a cut
    clip, which nothing can play."""
    with open_file(path) as file:
        head = file.read(_HEAD_BYTES)
        container = _container(head)
        if container is None or container not in (_IMAGES if expected == "image" else _VIDEOS):
            raise NotTheMedia(expected, describe(head, size_bytes))
        if expected == "image":
            return container, _has_its_end(file, container, size_bytes)
        # WebM may leave its length open, so that nothing tells a cut one.
        if container != "WebM" and not _has_all_boxes(file, size_bytes):
            raise CutClip(expected, f"an incomplete {container} file of {size_bytes} bytes")
        return container, True


def describe(head: bytes, size_bytes: int) -> str:
    """A file in a few words ("an HTML page", "12 bytes of text"), from its first 4 kB. Never any of its content."""
    if not head:
        return "an empty file"
    if container := _container(head):
        return f"{'an' if container in _SPOKEN_WITH_AN else 'a'} {container} file"
    text = head.removeprefix(codecs.BOM_UTF8).lstrip().lower()
    if text.startswith(b"<!doctype html") or b"<html" in text:
        return "an HTML page"
    for beginning, name in _TEXTS.items():
        if text.startswith(beginning):
            return name
    return f"{size_bytes} bytes of {'text' if _is_text(head) else 'an unknown type'}"


def _container(head: bytes) -> str | None:
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "MP4")
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "WebM" if b"webm" in head[:256] else "Matroska"
    if head.startswith(b"RIFF"):
        return _RIFF_FORMS.get(head[8:12], "RIFF")
    # Two letters alone may begin a text.
    if head.startswith(b"BM") and head[6:10] == bytes(4):
        return "BMP"
    return next((name for signature, name in _SIGNATURES.items() if head.startswith(signature)), None)


def _is_text(head: bytes) -> bool:
    if b"\0" in head:
        return False
    try:
        # A head that was cut may end in the middle of a character.
        codecs.getincrementaldecoder("utf-8")().decode(head, final=len(head) < _HEAD_BYTES)
    except UnicodeDecodeError:
        return False
    return True


def _has_its_end(file: BinaryIO, container: str, size_bytes: int) -> bool:
    """Whether the picture has its end mark. False is only a suspicion: some writers add bytes, some leave it out."""
    file.seek(max(0, size_bytes - _TAIL_BYTES))
    tail = file.read(_TAIL_BYTES)
    if container == "JPEG":  # an end mark before the last scan is that of an embedded thumbnail
        return tail.rfind(b"\xff\xd9") > tail.rfind(b"\xff\xda")
    # Behind IEND whatever follows is no part of the picture.
    if container == "PNG":
        return b"IEND" in tail
    if container == "GIF":
        return tail.rstrip(b"\0").endswith(b";")
    file.seek(4)
    return int.from_bytes(file.read(4), "little") + 8 <= size_bytes


def _has_all_boxes(file: BinaryIO, size_bytes: int) -> bool:
    """Whether an MP4 has its index (``moov``), and neither it nor the frames run past the end of the file."""
    offset, has_index = 0, False
    for _ in range(_MAX_BOXES):
        if offset + 8 > size_bytes:
            break
        file.seek(offset)
        header = file.read(16)
        length, kind = int.from_bytes(header[:4], "big"), header[4:8]
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        elif length == 0:  # "to the end of the file"
            length = size_bytes - offset
        if length < 8:  # no box: something was appended
            break
        has_index = has_index or kind == b"moov"
        offset += length
        if offset > size_bytes and kind in (b"mdat", b"moov", b"moof"):
            return False
    return has_index
