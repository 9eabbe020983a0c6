"""What the emulated ring-filebase keeps: files on disk, their facts in memory."""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Upload:
    """One stored file."""

    path: Path
    filename: str
    type: str
    mime_type: str
    size_bytes: int
    metadata: dict[str, Any]
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    stored_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "filename": self.filename,
            "type": self.type,
            "mimeType": self.mime_type,
            "size": self.size_bytes,
            "lastModified": self.stored_at.isoformat(),
            "metadata": self.metadata,
        }


class Uploads:
    """All stored files by id."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._uploads: dict[str, Upload] = {}

    def add(self, upload: Upload) -> Upload:
        with self._lock:
            self._uploads[upload.id] = upload
        return upload

    def find(self, file_id: str) -> Upload | None:
        with self._lock:
            return self._uploads.get(file_id)

    def remove(self, file_id: str) -> bool:
        with self._lock:
            upload = self._uploads.pop(file_id, None)
        if upload is not None:
            upload.path.unlink(missing_ok=True)
        return upload is not None

    def all(self) -> list[Upload]:
        with self._lock:
            return list(self._uploads.values())

    def clear(self) -> None:
        for upload in self.all():
            self.remove(upload.id)
