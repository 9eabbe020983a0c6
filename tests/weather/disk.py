"""A disk for the state folder that can be filled and emptied."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
from collections.abc import Collection
from pathlib import Path

_BALLAST = ".ballast"
_PIECE_BYTES = 64 * 1024


class Disk:
    """A small file system in memory at ``folder``, where this user may mount one; otherwise the processes that write
    are told that their files are as large as they may get. ``how`` says which."""

    def __init__(self, folder: Path, size_mb: int, *, may_mount: bool = True) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(folder)]
        try:
            self._is_mounted = may_mount and subprocess.run(mount, capture_output=True, check=False).returncode == 0
        except FileNotFoundError:
            self._is_mounted = False
        self.how = f"a tmpfs of {size_mb} MB" if self._is_mounted else "a limit on the size of files (RLIMIT_FSIZE)"

    def fill(self, pids: Collection[int]) -> None:
        """Nothing more can be written by these processes."""
        if not self._is_mounted:
            self._limit(pids, full=True)
            return
        with (self._folder / _BALLAST).open("wb", buffering=0) as ballast:
            free = os.statvfs(self._folder).f_bavail * os.statvfs(self._folder).f_frsize
            with contextlib.suppress(OSError):
                os.posix_fallocate(ballast.fileno(), 0, max(1, free))
            ballast.seek(0, os.SEEK_END)
            with contextlib.suppress(OSError):
                while ballast.write(bytes(_PIECE_BYTES)):
                    pass

    def empty(self, pids: Collection[int]) -> None:
        if self._is_mounted:
            (self._folder / _BALLAST).unlink(missing_ok=True)
        else:
            self._limit(pids, full=False)

    def _limit(self, pids: Collection[int], *, full: bool) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (0 if full else most, most))

    def close(self) -> None:
        if self._is_mounted:
            subprocess.run(["umount", "--lazy", str(self._folder)], capture_output=True, check=False)
            self._is_mounted = False
