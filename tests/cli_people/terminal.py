"""A command at a terminal: a pseudo-terminal on stdin, stdout and stderr, at which somebody types."""

from __future__ import annotations

import contextlib
import os
import pty
import threading
from collections.abc import Mapping
from pathlib import Path

from tests.server.wire import LIMIT_S, eventually
from tests.warm import start_at_terminal


def at_terminal(env: Mapping[str, str], folder: Path, *arguments: str, typed: Mapping[str, str]) -> tuple[int, str]:
    """Exit status and all that was shown. ``typed``: what is typed once these words are seen."""
    master, slave = pty.openpty()
    process = start_at_terminal({**env, "TERM": "dumb", "COLUMNS": "120"}, folder, slave, *arguments)
    os.close(slave)
    shown = bytearray()

    def read() -> None:
        with contextlib.suppress(OSError):  # the other end is closed
            while chunk := os.read(master, 65536):
                shown.extend(chunk)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        for words, answer in typed.items():
            eventually(words, lambda words=words: words.encode() in shown or process.exitcode is not None)  # type: ignore[misc]
            os.write(master, answer.encode())
        process.join(LIMIT_S)
        status = process.exitcode
        assert status is not None, shown.decode(errors="replace")
    finally:
        process.kill()
        process.join(LIMIT_S)
        reader.join(LIMIT_S)
        os.close(master)
    return status, shown.decode(errors="replace")
