"""Other programs in the decoder's place: they do what a test wants of one that goes wrong."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator

from ring_mcp.media.decoding import Decoder
from tests.fake_clock import LIMIT_S

_BEFORE = "import os, signal, socket, time; wire = socket.socket(fileno=0); "


def start(code: str) -> Callable[[socket.socket], subprocess.Popen[bytes]]:
    """Python code; ``wire`` is the socket that orders come through."""
    return lambda theirs: subprocess.Popen([sys.executable, "-c", _BEFORE + code], stdin=theirs.fileno())


@contextlib.contextmanager
def standing_in(code: str, max_wall_s: float = LIMIT_S) -> Iterator[Decoder]:
    decoder = Decoder(start(code), max_wall_s=max_wall_s)
    try:
        yield decoder
    finally:
        decoder.close()


DIES = "wire.recv(999); os.abort()"
HANGS = "wire.recv(999); time.sleep(600)"
