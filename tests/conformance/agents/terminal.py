"""A program at a terminal of its own: what a person would type, and what they would see."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

LINES, COLUMNS = 45, 120
LIMIT_S = 180.0
_END_LIMIT_S = 20.0
_BETWEEN_KEYS_S = 0.5
_KEYS = {"enter": b"\r", "tab": b"\t", "up": b"\x1b[A", "down": b"\x1b[B", "right": b"\x1b[C", "escape": b"\x1b"}
_ESCAPES = re.compile(
    rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[PX^_].*?\x1b\\|[@-Z\\-_])", re.DOTALL
)


class Terminal:
    """Runs ``command``; leaving the ``with`` ends it. ``shown`` is everything that was drawn since the start."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], folder: Path) -> None:
        self._drawn = bytearray()
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            os.chdir(folder)
            os.execvpe(command[0], list(command), {**env, "TERM": "xterm-256color", "LANG": "C.UTF-8"})
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # how the end of the program reads
            while piece := os.read(self._fd, 65536):
                self._drawn += piece

    @property
    def drawn(self) -> bytes:
        """The bytes, for a picture of the screen."""
        return bytes(self._drawn)

    @property
    def shown(self) -> str:
        """The words, with one blank between them: cursors jump where a line has blanks."""
        return " ".join(_ESCAPES.sub(b" ", self.drawn).decode(errors="replace").split())

    def points_at(self, words: str) -> bool:
        """Whether the pointer that was drawn last stands before these words."""
        return self.shown.rpartition("❯ ")[2].startswith(words)

    def enter(self, text: str) -> None:
        """A line, and Enter."""
        os.write(self._fd, text.encode())
        # Together with the text it would be taken for a pasted line break.
        time.sleep(_BETWEEN_KEYS_S)
        self.press("enter")

    def press(self, key: str) -> None:
        os.write(self._fd, _KEYS[key])
        time.sleep(_BETWEEN_KEYS_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, number)
            with contextlib.suppress(TimeoutError, ChildProcessError):
                wait_for("its end", lambda: os.waitpid(self._pid, os.WNOHANG)[0], _END_LIMIT_S)
                break
        os.close(self._fd)


def wait_for(what: str, seen: Callable[[], Any], limit_s: float = LIMIT_S) -> Any:
    """Look until ``seen`` gives something true, and return it. Raises TimeoutError with ``what``."""
    until = time.monotonic() + limit_s
    while not (found := seen()):
        if time.monotonic() > until:
            raise TimeoutError(f"not seen within {limit_s:.0f} s: {what}")
        time.sleep(0.1)
    return found
