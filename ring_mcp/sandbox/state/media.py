"""Media files behind unguessable temporary URLs."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

DEFAULT_TTL_S = {"image": 3600.0, "video": 86400.0}
CONTENT_TYPES = {"image": "image/jpeg", "video": "video/mp4"}
SUFFIXES = {"image": ".jpg", "video": ".mp4"}
BUDGET_BYTES = 2 * 1024**3


@dataclass(frozen=True)
class MediaItem:
    """One published URL. Several may point at the same file."""

    name: str
    kind: Literal["image", "video"]
    path: Path
    created_s: float
    ttl_s: float | None = None
    file_id: str | None = None

    @property
    def content_type(self) -> str:
        return CONTENT_TYPES[self.kind]


class MediaStore:
    """Names for rendered files, and the disk they may use together.

    Files come from a cache that renders the same picture once, so the oldest may be dropped when the budget is
    spent: a later call renders it anew, and an old URL answers as if it had expired.
    """

    def __init__(self, now_s: Callable[[], float], budget_bytes: int = BUDGET_BYTES) -> None:
        self._now_s = now_s
        self._budget_bytes = budget_bytes
        self._lock = threading.Lock()
        self._items: dict[str, MediaItem] = {}
        self._files: dict[Path, int] = {}
        self._used_bytes = 0

    def publish(
        self, path: Path, kind: Literal["image", "video"], *, ttl_s: float | None = None, file_id: str | None = None
    ) -> MediaItem:
        """Gives the file a new URL name. ``ttl_s`` overrides the settings for this one."""
        # As good as a signature: who was not given the address cannot ask for the file.
        name = secrets.token_urlsafe(24) + SUFFIXES[kind]
        item = MediaItem(name, kind, path, self._now_s(), ttl_s, file_id)
        with self._lock:
            self._items[name] = item
            if path not in self._files:
                self._files[path] = path.stat().st_size
                self._used_bytes += self._files[path]
                self._make_room(keep=path)
        return item

    def find(self, name: str) -> MediaItem | None:
        with self._lock:
            return self._items.get(name)

    def find_file(self, file_id: str) -> MediaItem | None:
        """A file that ``storage_options`` asked to keep."""
        with self._lock:
            return next((item for item in self._items.values() if item.file_id == file_id), None)

    def all(self) -> list[MediaItem]:
        """Every URL that was given out, live or not."""
        with self._lock:
            return list(self._items.values())

    def is_live(self, item: MediaItem, url_ttl_s: float | None) -> bool:
        """Whether the URL still works. ``url_ttl_s`` is the setting, None for the default of the kind."""
        ttl_s = item.ttl_s
        if ttl_s is None:
            ttl_s = DEFAULT_TTL_S[item.kind] if url_ttl_s is None else url_ttl_s
        return self._now_s() - item.created_s < ttl_s and item.path.exists()

    def clear(self) -> None:
        """No URL works any more. The files stay, within their budget, so that nothing has to be drawn a second time."""
        with self._lock:
            self._items.clear()

    def _make_room(self, keep: Path) -> None:
        for path, size_bytes in list(self._files.items()):
            if self._used_bytes <= self._budget_bytes:
                return
            # The newest is what somebody is about to fetch.
            if path != keep:
                path.unlink(missing_ok=True)
                del self._files[path]
                self._used_bytes -= size_bytes
