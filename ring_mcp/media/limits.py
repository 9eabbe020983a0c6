"""What a decoder's process may use up, and that it goes with its parent. For that process alone to call."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

MAX_MEMORY_BYTES = 768 * 1024 * 1024
"""Of address space. The libraries take 150 MB of it; a picture of MAX_PIXELS as they keep it, 320."""

MAX_CPU_S = 10
"""For one file. A guess: the largest that is taken needs one or two."""

MAX_WRITTEN_BYTES = 64 * 1024 * 1024
MAX_OPEN_FILES = 64


def limit_this_process(parent_pid: int) -> None:
    """For as long as it lives. What a system does not know is left out: macOS keeps no limit of memory."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the parent, and ends this one with it
    if sys.platform == "win32":
        return
    import resource

    limits = {
        resource.RLIMIT_AS: MAX_MEMORY_BYTES,
        resource.RLIMIT_FSIZE: MAX_WRITTEN_BYTES,
        resource.RLIMIT_NOFILE: MAX_OPEN_FILES,
        # A dump would lay a stranger's picture and hundreds of megabytes on the disk.
        resource.RLIMIT_CORE: 0,
    }
    for limit, most in limits.items():
        with contextlib.suppress(OSError, ValueError):
            _, hard = resource.getrlimit(limit)
            # The hard limit as well, which only root can raise again.
            bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(limit, (bound, bound))
    with contextlib.suppress(OSError):  # where the machine itself runs out, this process goes before its parent
        Path("/proc/self/oom_score_adj").write_text("1000")
    _die_with(parent_pid)


def limit_next_file() -> None:
    """From now on MAX_CPU_S are left, and then the kernel ends this process."""
    if sys.platform == "win32":
        return
    import resource

    with contextlib.suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        # The soft limit alone, which can be moved for the next file, and whose signal (SIGXCPU) tells what it died of.
        # One more second, for the time is counted in whole ones.
        resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + 1 + MAX_CPU_S, hard))


def _die_with(parent_pid: int) -> None:
    """Linux ends this process with its parent even in the middle of a decoder. Elsewhere it ends when it is asked for
    nothing more, or at its limit of time."""
    if sys.platform != "linux":
        return
    import ctypes

    set_death_signal = 1
    with contextlib.suppress(OSError, AttributeError):
        # The kernel sees to it: while a library holds Python's lock, no thread here notices that the server is gone.
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it was too late
        os._exit(0)
