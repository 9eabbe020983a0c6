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
"""How old a file without its final name must be to be believed a dead process's: a living one renames it at once."""

_MAX_LABEL_BYTES = 200

_NO_FILE = frozenset({errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG})


class ProcessLock:
    """This process's own lock in ``folder``, and a look at the others'. ``name`` is unique to this object.

    ``label`` stands in the file, for people who look at it.
    """

    def __init__(self, folder: Path, label: str = "") -> None:
        self._folder = folder
        self._label = label
        self._descriptor: int | None = None
        self.name = uuid.uuid4().hex

    def acquire(self) -> None:
        """Make the file and hold its lock. The lock is taken before the file gets its name, so nobody sees it free."""
        if self._descriptor is not None:
            return
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        hidden = self._folder / f".{self.name}"
        descriptor = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
        try_lock(descriptor)
        os.write(descriptor, f" {self._label}".encode())  # Windows lets nobody read the first byte, which is locked
        hidden.rename(self._folder / self.name)
        self._descriptor = descriptor

    def remove_dead(self) -> None:
        """Remove the files of processes that were killed: of those without an open job nobody would ever look."""
        oldest = time.time() - _BEING_MADE_S
        for path in self._folder.glob("*"):
            with contextlib.suppress(OSError):
                # Several may start at once and remove the same files: hence no error of theirs counts.
                if path.name != self.name and (not path.name.startswith(".") or path.stat().st_mtime < oldest):
                    self.is_held(path.name)

    def list_dead(self) -> list[Path]:
        """The files of processes that were killed. Nothing is removed."""
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
            # The name goes first: a file that is free under its name looks like that of a killed process.
            with contextlib.suppress(OSError):
                (self._folder / self.name).unlink()
            os.close(self._descriptor)
            self._descriptor = None

    def is_held(self, name: str) -> bool:
        """Whether the process that made this lock still lives, for all that can be known. The file of a dead one is
        removed."""
        # The name comes out of a row: whatever stands there, it must not lead out of the folder.
        path = self._folder / Path(name).name
        try:
            descriptor = os.open(path, os.O_RDWR)
        except ValueError:
            return False
        except OSError as exc:
            # No file, no process: it was released, or found dead before. Otherwise it cannot be looked at now, as where
            # too many files are open, and nobody is called dead on a guess: his jobs would be taken from him.
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
