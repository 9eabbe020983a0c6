"""A command at a terminal: a pseudo-terminal on stdin, stdout and stderr, at which somebody types."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from tests.server.wire import LIMIT_S, eventually


def at_terminal(env: Mapping[str, str], folder: Path, *arguments: str, typed: Mapping[str, str]) -> tuple[int, str]:
    """Exit status and all that was shown. ``typed``: what is typed once these words are seen."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "ring_mcp", *arguments],
        env={**env, "TERM": "dumb", "COLUMNS": "120"},
        cwd=folder,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
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
            eventually(words, lambda words=words: words.encode() in shown or process.poll() is not None)  # type: ignore[misc]
            os.write(master, answer.encode())
        status = process.wait(LIMIT_S)
    finally:
        process.kill()
        process.wait(LIMIT_S)
        reader.join(LIMIT_S)
        os.close(master)
    return status, shown.decode(errors="replace")
