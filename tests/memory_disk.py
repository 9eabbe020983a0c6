"""A folder that is kept in memory: where a commit waits for no disk. Not every machine has one with room."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

MEMORY = Path("/dev/shm")
_NEEDED_BYTES = 1 << 30


def has_room(needed_bytes: int = _NEEDED_BYTES, folder: Path = MEMORY) -> bool:
    """Whether as much can be written there, and what is written can be executed, as in any other folder."""
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return False
    return not os.statvfs(folder).f_flag & os.ST_NOEXEC and shutil.disk_usage(folder).free >= needed_bytes
