"""Files as every part of the product needs them: replaced as a whole, on the disk for good, locked while in use."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import uuid
from io import BufferedReader
from pathlib import Path

PART = ".part"
"""The ending of a file that is not whole yet. Whoever writes one has a name of his own."""


def open_file(path: Path) -> BufferedReader:
    """Open for reading what may not be there, or be no file at all. Raises OSError.

    Opening a pipe waits for whoever writes to it, and a device never ends. So nothing waits here, and whatever is
    opened is looked at before a byte is read.
    """
    # Windows has no O_NONBLOCK, and nobody else has O_BINARY.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a file", str(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def replace_file(path: Path, content: bytes) -> None:
    """Write ``content`` so that the file is either the old one or the new one, also after a loss of power.

    Raises OSError; then nothing of it is left.
    """
    # A name of its own: of two processes that write the same file at once, each would write into the other's, and take
    # it away. What a kill in between leaves is as old as it looks.
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}{PART}")
    try:
        with part.open("wb") as file:
            file.write(content)
            # Before the rename: after a loss of power the new name may be there, and the bytes that it names not.
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Make what was written last, where the system can."""
    with contextlib.suppress(OSError), open_file(path) as file:  # not every system does it for who only reads
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last, where the system can."""
    with contextlib.suppress(OSError):  # not every system opens a folder
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Take the exclusive lock of an open file without waiting; False if somebody else holds it.

    The kernel drops it with the process, at any kind of death.
    """
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        # Not lockf: such locks go as soon as any descriptor of the file is closed, and a process never meets its own.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
