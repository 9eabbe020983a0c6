"""A server over stdio with its wire written down: ``python tee.py LOG COMMAND...`` in the place of ``COMMAND...``.

A line of the log is ``>>`` or ``<<``, the time, and the message; ``LOG.group`` has the process group to kill.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO


def main() -> None:
    log, command = Path(sys.argv[1]), sys.argv[2:]
    # A session of its own: what is killed is the server with whatever started it, and not this process.
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    log.with_suffix(".group").write_text(str(server.pid))
    assert server.stdin is not None
    assert server.stdout is not None
    with log.open("ab", buffering=0) as lines:

        def answer() -> None:
            pass_on(server.stdout, sys.stdout.buffer, b"<<", lines)
            lines.write(b"-- %.3f the server has ended\n" % time.time())
            # The client is told by the end of this process: the other thread waits for its next line.
            os._exit(0)

        threading.Thread(target=answer, daemon=True).start()
        pass_on(sys.stdin.buffer, server.stdin, b">>", lines)
        server.stdin.close()
        server.wait()


def pass_on(source: IO[bytes] | None, target: IO[bytes], mark: bytes, log: IO[bytes]) -> None:
    assert source is not None
    with contextlib.suppress(BrokenPipeError):
        for line in source:
            log.write(b"%s %.3f %s" % (mark, time.time(), line))
            target.write(line)
            target.flush()


if __name__ == "__main__":
    main()
