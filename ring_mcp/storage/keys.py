"""Storage keys: how they are made, and which are accepted. Pure."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta

from ring_mcp.errors import StorageRefused

MAX_SEGMENT_CHARS = 100

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SEGMENT = re.compile(rf"[A-Za-z0-9._-]{{1,{MAX_SEGMENT_CHARS}}}")
# All of its characters are allowed in a part, and ".." leads out of the folder.
_DOTS_ONLY = re.compile(r"\.+")


def storage_key(prefix: str, purpose: str, created_at: datetime, index: int | None, job_id: str, extension: str) -> str:
    """``{prefix}/{purpose}/{epoch ms}-{index}-{8 hex}.{extension}``, always one that ``key_segments`` accepts.

    Without an index (None) that part is left out: a job that makes one file needs none.

    The hex digits come from the job id and not from chance: a put that is repeated after a crash has the same key,
    while two jobs of the same millisecond have different ones. Characters that a key cannot carry become ``_``;
    a blank purpose becomes ``image``.

    Raises ValueError for a naive ``created_at`` or a negative ``index``: both are programming errors.
    """
    if created_at.tzinfo is None or (index is not None and index < 0):
        raise ValueError("created_at must be aware and index must not be negative")
    # Whole milliseconds by integer division: a float would round some of them up.
    epoch_ms = (created_at - _EPOCH) // timedelta(milliseconds=1)
    # An id may be any text: half a surrogate pair must not stop what is paid for from being stored.
    digest = hashlib.sha256(job_id.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    suffix = re.sub(r"[^a-z0-9]", "", extension.lower())[:8] or "bin"
    folders = [_clean(part, r"[^A-Za-z0-9._-]") for part in prefix.split("/") if part.strip()]
    folders.append(_clean(purpose.strip() or "image", r"[^A-Za-z0-9_-]"))
    number = "" if index is None else f"-{index}"
    return "/".join([*folders, f"{epoch_ms}{number}-{digest}.{suffix}"])


def key_segments(key: str) -> tuple[str, ...]:
    """The parts of a key that is safe as a relative path on any file system.

    Raises StorageRefused for everything else: absolute, ``..``, backslash, NUL, blank or overlong parts. The text does
    not repeat the key, which may hold control characters.
    """
    segments = tuple(key.split("/"))
    if not all(_SEGMENT.fullmatch(part) and not _DOTS_ONLY.fullmatch(part) for part in segments):
        raise StorageRefused(
            f"the storage key ({len(key)} characters) is not a relative path of parts made of letters, digits, "
            f"'.', '_' and '-', each at most {MAX_SEGMENT_CHARS} long",
            next_action="Correct IMAGE_GEN_STORAGE_PREFIX or the purpose argument.",
        )
    return segments


def _clean(part: str, forbidden: str) -> str:
    cleaned = re.sub(forbidden, "_", part.strip())[:MAX_SEGMENT_CHARS]
    return "_" if _DOTS_ONLY.fullmatch(cleaned) else cleaned
