"""A process that has imported what tests need of other people's, and runs them in children of its own.

    python -m tests.mutation.nursery MODULES-FILE

Every trial starts anew, and none pays for pytest, pydantic and the rest. What is said is one JSON object a line: the
arguments of pytest and a limit in seconds; the answer is pytest's exit code, null if it did not end in time.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import select
import signal
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest


def main() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Private ones last: in an asyncio that is imported after ``_asyncio`` no time-out works.
        for name in sorted(json.loads(Path(sys.argv[1]).read_text()), key=lambda name: (name.startswith("_"), name)):
            with contextlib.suppress(Exception, SystemExit):
                importlib.import_module(name)
    gc.freeze()  # children share these pages as long as nobody writes to them
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(run_in_child(partial(pytest.main, order["arguments"]), order["limitS"])), flush=True)


def run_in_child(run: Callable[[], int], limit_s: float) -> int | None:
    """What ``run`` answers in a process forked for it; None if that has not ended in time."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _become_child(run, writing)
    os.close(writing)
    has_ended, _, _ = select.select([reading], [], [], limit_s)
    os.close(reading)
    if not has_ended:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) if has_ended else None


def _become_child(run: Callable[[], int], alive: int) -> None:
    """Never returns. ``alive`` is closed with this process, and it alone has it."""
    code = 3
    try:
        os.setsid()
        os.set_inheritable(alive, False)
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        code = int(run())
        atexit._run_exitfuncs()
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
