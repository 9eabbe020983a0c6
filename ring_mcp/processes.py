"""Processes of ours beside the server: the courier, and the decoders of strangers' media."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path

from ring_mcp.config import Config, child_environment, dump_config
from ring_mcp.media.decoding import Decoder, Decoders

_MACHINE = 0xEFFFFFFC
"""Linux's number of the processes of the machine itself; those of a container have another."""


def start_courier(config: Config, theirs: socket.socket) -> int:
    """Start ``ring_mcp.courier`` at the other end of the socket, detached from terminal, group and parent.

    Returns its process id. Raises OSError.
    """
    process = subprocess.Popen(  # noqa: S603 - our own module, and a number
        _run_module("ring_mcp.courier", str(theirs.fileno())),
        pass_fds=(theirs.fileno(),),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # a host may wait until all who hold its pipe have gone
        # No key here either: what it needs comes through its stdin.
        env=child_environment(),
        # A host that kills the server's process group, or closes its terminal, does not reach it.
        start_new_session=True,
    )
    told, _ = process.communicate(dump_config(config).encode())  # it forks and ends: the courier is nobody's child
    if process.returncode != 0:
        raise OSError(f"it cannot be started (exit status {process.returncode})")
    return int(told)


def take_others_along() -> bool:
    """Whether with this process all others here may end, the courier as well: it runs in a container, whose first one
    may wait for it alone, or was started by a service manager."""
    return os.getppid() == 1 or _is_in_container()


def _is_in_container() -> bool:
    try:
        return Path("/proc/self/ns/pid").stat().st_ino != _MACHINE
    except OSError:  # not Linux, or without /proc
        return os.getpid() == 1


@cache
def open_decoders() -> Decoders:
    """The two of this process, whoever asks: together they are all the memory that decoding may take.

    Windows knows none of their limits; there this process decodes itself.
    """
    start = _start_decoder if sys.platform != "win32" else None
    return Decoders(results=Decoder(start), given=Decoder(start))


def _start_decoder(theirs: socket.socket) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own module, and a number
        _run_module("ring_mcp.media.decoder", str(os.getpid())),
        stdin=theirs.fileno(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=child_environment(MALLOC_ARENA_MAX="1"),  # each arena of glibc takes address space, which is limited
    )


# Appended, not put first: what lies beside the package in a clone shadows no library.
_RUN = "import runpy, sys; sys.path.append(sys.argv.pop(1)); runpy.run_module(sys.argv[1], run_name='__main__')"


def _run_module(name: str, *arguments: str) -> list[str]:
    """The command that runs one of our modules as this process found it: never one that lies in the working folder."""
    return [sys.executable, "-P", "-c", _RUN, str(Path(__file__).parent.parent), name, *arguments]
