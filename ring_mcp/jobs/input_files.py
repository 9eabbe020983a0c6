"""Files that a caller gives along: measured, judged, written and encoded. What is wrong is told before any spend."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from urllib.parse import unquote

from ring_mcp.domain import MediaFile, MediaKind, VideoPlan
from ring_mcp.errors import InvalidRequest, LocalPolicy, ProviderBadReply, ProviderError, StorageError
from ring_mcp.media.identify import NotTheMedia, hash_file, identify
from ring_mcp.media.mp4 import read_mp4
from ring_mcp.presets import VideoModel

MAX_INPUT_IMAGE_BYTES = 10 * 1024 * 1024
"""What the strictest of the providers takes of a source image."""

MAX_INPUT_VIDEO_BYTES = 50 * 1024 * 1024

_KEEP_INPUTS_S = 24 * 3600.0


def check_length(plan: VideoPlan, model: VideoModel, duration_s: Decimal) -> None:
    has = f"sourceVideoUrl: the clip has {duration_s:.1f} s and the provider"
    if plan.generation_kind == "edit" and model.max_edit_input_s is not None and duration_s > model.max_edit_input_s:
        raise InvalidRequest(
            f"{has} edits {model.max_edit_input_s} s at most; leave sourceVideoUrl out to re-generate at 720p"
        )
    least_s, most_s = model.min_extend_input_s or 0, model.max_extend_input_s
    # Frames have a length of their own: a clip of 15 s may measure a few hundredths more.
    if plan.generation_kind == "extend" and most_s is not None and not least_s <= round(duration_s, 1) <= most_s:
        raise InvalidRequest(f"{has} extends clips of {least_s} to {most_s} s; give it one of that length")


def write_inline(uri: str, path: Path, field: str) -> str:
    """Write what is inside a data URI to ``path``; the answer is its SHA-256."""
    head, _, payload = uri.partition(",")
    if not "".join(head.split()).lower().endswith(";base64"):
        raise InvalidRequest(f"{field}: a data URI has the form data:image/png;base64,<data>")
    payload = _plain_base64(payload)
    if len(payload) * 3 // 4 > MAX_INPUT_IMAGE_BYTES + 2:
        raise InvalidRequest(
            f"{field} has about {len(payload) * 3 // 4:,} bytes; {MAX_INPUT_IMAGE_BYTES:,} are allowed"
        )
    try:
        content = base64.b64decode(payload, validate=True)
    except ValueError as exc:
        raise InvalidRequest(f"{field}: the data URI is not base64") from exc
    try:
        path.write_bytes(content)
    except OSError as exc:
        raise not_writable(path.parent, exc) from exc
    return hashlib.sha256(content).hexdigest()


def _plain_base64(payload: str) -> str:
    """Base64 without what it goes through on its way: broken lines, escaped or lost plus signs, the alphabet of
    addresses, missing padding."""
    if "%" in payload:
        payload = unquote(payload)
    payload = payload.strip()
    whole = payload.replace(" ", "+") if _has_lost_plus_signs(payload) else "".join(payload.split())
    whole = whole.rstrip("=").replace("-", "+").replace("_", "/")
    return whole + "=" * (-len(whole) % 4)


def _has_lost_plus_signs(payload: str) -> bool:
    """Whether the blanks inside were plus signs (a form does that to them) and not the breaks of lines."""
    if " " not in payload or any(char in payload for char in "\r\n\t"):
        return False
    broken, lost = (_can_be_base64(payload.replace(" ", between)) for between in ("", "+"))
    widths = {len(word) for word in payload.split(" ")[:-1]}
    return lost and (not broken or len(widths) > 1)


def _can_be_base64(text: str) -> bool:
    whole = text.rstrip("=")
    return len(whole) % 4 != 1 and (whole == text or len(text) % 4 == 0)


def remove_old_inputs(spool: Path) -> None:
    """Forget given media that no request can need any more: a job that was planned so long ago is never started."""
    oldest = time.time() - _KEEP_INPUTS_S
    for path in spool.glob("input-*"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < oldest:
                path.unlink()


def not_writable(spool: Path, exc: OSError) -> StorageError:
    return StorageError(
        f"the spool folder {spool} cannot be written ({exc.strerror}); nothing was spent",
        billed="no",
        next_action="Point RING_STATE_DIR to a writable folder with some space.",
    )


def data_uri(path: Path, field: str, kind: MediaKind, max_bytes: int) -> str:
    """A file as a provider reads it in place of an address. Blocking. Raises InvalidRequest if it is not there."""
    media = _identify(path, field, kind, max_bytes)
    return f"data:{media.content_type};base64,{base64.b64encode(path.read_bytes()).decode()}"


def explain_fetch_error(exc: ProviderError) -> str:
    """What happened, without a word of a provider: the address is the caller's."""
    if exc.http_status is not None:
        return f"its address answers HTTP {exc.http_status}"
    return exc.message if isinstance(exc, ProviderBadReply | LocalPolicy) else "its address cannot be reached"


@dataclass(frozen=True, slots=True, kw_only=True)
class Takes:
    """What a model takes: the types of pictures, and the codecs of MP4 files."""

    model: str
    image_types: tuple[str, ...] = ()
    video_codecs: tuple[str, ...] = ()

    @property
    def pictures(self) -> str:
        return f"{self.model} takes {_either(_NAMES.get(each, each) for each in self.image_types)}"

    @property
    def clips(self) -> str:
        return f"{self.model} takes MP4 with {_either(_NAMES.get(each, each) for each in self.video_codecs)}"


_NAMES = {
    "image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WebP", "image/gif": "GIF", "image/heic": "HEIC",
    "h264": "H.264", "h265": "H.265", "av1": "AV1", "vp9": "VP9", "vp8": "VP8",
    "video/quicktime": "QuickTime", "video/webm": "WebM",
}  # fmt: skip


def picture(path: Path, field: str, takes: Takes) -> MediaFile:
    """The picture that a model will be given. Blocking. Raises InvalidRequest for what it does not take."""
    media = _identify(path, field, "image", MAX_INPUT_IMAGE_BYTES, takes.pictures)
    if media.content_type not in takes.image_types:
        raise InvalidRequest(
            f"{field} is a {_NAMES.get(media.content_type, media.content_type)} file; {takes.pictures}"
        )
    return media


def clip(path: Path, field: str, takes: Takes) -> MediaFile:
    """The clip that a model will be given, with its length where that is known. Blocking. Raises InvalidRequest."""
    media = _identify(path, field, "video", MAX_INPUT_VIDEO_BYTES, takes.clips)
    if media.content_type != "video/mp4":
        raise InvalidRequest(f"{field} is a {_NAMES.get(media.content_type, media.content_type)} file; {takes.clips}")
    facts = read_mp4(path)
    if facts.codec is None:
        raise InvalidRequest(f"{field} is an MP4 file without pictures; {takes.clips}")
    if facts.codec not in takes.video_codecs:
        raise InvalidRequest(f"{field} is an MP4 file with {_NAMES.get(facts.codec, facts.codec)}; {takes.clips}")
    return replace(media, duration_s=media.duration_s or facts.duration_s)


def _identify(path: Path, field: str, kind: MediaKind, max_bytes: int, takes: str = "") -> MediaFile:
    try:
        size_bytes = path.stat().st_size
        if size_bytes > max_bytes:
            raise InvalidRequest(f"{field} has {size_bytes:,} bytes; {max_bytes:,} are allowed")
        size_bytes, sha256 = hash_file(path)
        return identify(path, size_bytes=size_bytes, sha256=sha256, expected=kind)
    except OSError as exc:
        raise InvalidRequest(f"{field} cannot be read: {exc.strerror}") from exc
    except NotTheMedia as exc:
        raise InvalidRequest(f"{field} cannot be used: it is {exc.found}{takes and f'; {takes}'}") from exc


def _either(names: Iterable[str]) -> str:
    """``JPEG, PNG or WebP``."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last
