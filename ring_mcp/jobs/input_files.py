"""Files that a caller gives along: measured, judged, written and encoded. What is wrong is told before any spend."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import time
from decimal import Decimal
from pathlib import Path

from ring_mcp.domain import MediaFile, MediaKind, VideoPlan
from ring_mcp.errors import InvalidRequest, LocalPolicy, ProviderBadReply, ProviderError, StorageError
from ring_mcp.media.identify import hash_file, identify
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
    if not head.endswith(";base64"):
        raise InvalidRequest(f"{field}: a data URI has the form data:image/png;base64,<data>")
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


def data_uri(media: MediaFile) -> str:
    return f"data:{media.content_type};base64,{base64.b64encode(media.path.read_bytes()).decode()}"


def told(exc: ProviderError) -> str:
    """What happened, without blaming the provider for an address that the caller gave."""
    return exc.message if isinstance(exc, ProviderBadReply | LocalPolicy) else f"it could not be fetched ({exc.code})"


def identified(path: Path, field: str, kind: MediaKind, max_bytes: int) -> MediaFile:
    try:
        size_bytes = path.stat().st_size
        if size_bytes > max_bytes:
            raise InvalidRequest(f"{field} has {size_bytes:,} bytes; {max_bytes:,} are allowed")
        size_bytes, sha256 = hash_file(path)
        return identify(path, size_bytes=size_bytes, sha256=sha256, expected=kind)
    except OSError as exc:
        raise InvalidRequest(f"{field} cannot be read: {exc.strerror}") from exc
    except ProviderBadReply as exc:
        raise InvalidRequest(f"{field} cannot be used: {exc.message}") from exc
