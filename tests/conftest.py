"""For every test: no setting of the person's environment, no socket that leaves this machine."""

from __future__ import annotations

import ipaddress
import os
import signal
import sys
from typing import Any

from ring_mcp.config import all_variables


def _variables() -> set[str]:
    return {"RING_ENV_FILE", *(name for names in all_variables() for name in names)}


for _name in _variables():
    os.environ.pop(_name, None)


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As a job in the background; the processes that tests start would inherit it, and some are sent a Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _only_loopback(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "socket.connect":
        return
    address = arguments[1]
    if not isinstance(address, tuple):
        return  # a unix socket
    host = str(address[0]).split("%", 1)[0]
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if not local:
        raise AssertionError(f"a test tried to reach {host}")


sys.addaudithook(_only_loopback)
