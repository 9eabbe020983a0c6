"""A place where machines share files that does what a test says: the contract of ``ring_mcp.storage.base.SharedFiles``
in a folder. ``tests/contracts/test_shared_files.py`` holds it to what a bucket does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path

from ring_mcp.errors import StorageError, StorageRefused
from ring_mcp.storage.base import SharedFile
from ring_mcp.storage.keys import key_segments

PAGE = 1000


class SharedFolder:
    """``trouble``: what everything raises while it is set. ``asked``: what was done with which name, in order."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._root = root
        self.trouble: StorageError | None = None
        self.asked: list[tuple[str, str]] = []

    def names(self) -> list[str]:
        return sorted(path.name for path in self._root.iterdir())

    def read(self, name: str) -> bytes:
        return (self._root / name).read_bytes()

    def put(self, name: str, content: bytes, laid_at: datetime | None = None) -> None:
        (self._root / name).write_bytes(content)
        if laid_at is not None:
            os.utime(self._root / name, (laid_at.timestamp(),) * 2)

    async def share(self, name: str, path: Path) -> None:
        target = self._do("share", name)
        try:
            shutil.copyfile(path, target)
        except OSError as exc:
            raise StorageError(f"the spool file cannot be read: {exc.strerror}") from exc

    async def fetch(self, name: str, path: Path, max_bytes: int) -> bool:
        source = self._do("fetch", name)
        if not source.exists():
            return False
        if source.stat().st_size > max_bytes:
            raise StorageRefused(f"{name} has {source.stat().st_size:,} bytes; {max_bytes:,} are allowed")
        shutil.copyfile(source, path)
        return True

    async def list_files(self, after: str = "") -> Sequence[SharedFile]:
        self._do("list", after or "first")
        names = [name for name in self.names() if name > after][:PAGE]
        times = [datetime.fromtimestamp((self._root / name).stat().st_mtime, UTC) for name in names]
        return [SharedFile(name, laid_at) for name, laid_at in zip(names, times, strict=True)]

    async def remove(self, names: Collection[str]) -> None:
        for name in names:
            self._do("remove", name).unlink(missing_ok=True)

    async def ping(self) -> None:
        self._do("ping", "ping")

    def _do(self, what: str, name: str) -> Path:
        if len(key_segments(f"spool/{name}")) != 2:
            raise StorageRefused("that is no bare name")
        self.asked.append((what, name))
        if self.trouble is not None:
            raise self.trouble
        return self._root / name
