"""A lock file per process, held for as long as the process lives: the kernel drops it at any kind of death."""

from __future__ import annotations

import contextlib
import errno
import os
import time
import uuid
from pathlib import Path

from ring_mcp.files import try_lock

_BEING_MADE_S = 60.0
"""How old a file without its final name must be to count as a dead process's: a live one renames it at once."""

_MAX_LABEL_BYTES = 200

_NO_FILE = frozenset({errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG})


class ProcessLock:
    """This process's lock in ``folder``, and checks of the others'. ``name`` is unique to this object.

    ``label`` is written into the file, for people.
    """

    def __init__(self, folder: Path, label: str = "") -> None:
        self._folder = folder
        self._label = label
        self._descriptor: int | None = None
        self.name = uuid.uuid4().hex

    def acquire(self) -> None:
        """Create the file and hold its lock. It gets its name after that, so nobody sees it free. Raises OSError."""
        if self._descriptor is not None:
            return
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        hidden = self._folder / f".{self.name}"
        descriptor = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
        try_lock(descriptor)
        os.write(descriptor, f" {self._label}".encode())  # on Windows the first byte is locked against reading
        hidden.rename(self._folder / self.name)
        self._descriptor = descriptor

    def remove_dead(self) -> None:
        """Remove the files of killed processes: nobody would ever look at those without open jobs."""
        oldest = time.time() - _BEING_MADE_S
        for path in self._folder.glob("*"):
            with contextlib.suppress(OSError):
                # Several may start at once and remove the same files, so errors do not count.
                if path.name != self.name and (not path.name.startswith(".") or path.stat().st_mtime < oldest):
                    self.is_held(path.name)

    def list_dead(self) -> list[Path]:
        """The files of killed processes, sorted. Nothing is removed."""
        return [path for path in sorted(self._folder.glob("*")) if path.name != self.name and _is_free(path)]

    def list_alive(self) -> list[tuple[str, float]]:
        """Label and time (seconds since 1970) of each process that holds a lock, this one included."""
        found = []
        for path in self._folder.glob("*"):
            if path.name.startswith(".") or not self.is_held(path.name):
                continue
            with contextlib.suppress(OSError), path.open("rb") as file:
                file.seek(1)
                found.append((file.read(_MAX_LABEL_BYTES).decode(errors="replace"), path.stat().st_mtime))
        return sorted(found, key=lambda each: each[1])

    def release(self) -> None:
        if self._descriptor is not None:
            # The name first: a named file without a lock looks like that of a killed process.
            with contextlib.suppress(OSError):
                (self._folder / self.name).unlink()
            os.close(self._descriptor)
            self._descriptor = None

    def is_held(self, name: str) -> bool:
        """Whether the process that made this lock is alive; True if that cannot be told now. The file of a dead one is
        removed."""
        # The name comes from a row: whatever it is, it must not lead out of the folder.
        path = self._folder / Path(name).name
        try:
            descriptor = os.open(path, os.O_RDWR)
        except ValueError:
            return False
        except OSError as exc:
            # Without a file there is no process: it was released, or found dead before. Other errors, such as too many
            # open files, tell nothing, and a process that counts as dead loses its jobs.
            return exc.errno not in _NO_FILE
        try:
            if not try_lock(descriptor):
                return True
            with contextlib.suppress(OSError):
                path.unlink()
            return False
        finally:
            os.close(descriptor)


def _is_free(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        is_new = path.stat().st_mtime > time.time() - _BEING_MADE_S
        return not (path.name.startswith(".") and is_new) and try_lock(descriptor)
    except OSError:
        return False
    finally:
        os.close(descriptor)  # and its lock with it
