"""For every test: no setting of the person's environment, no socket that leaves this machine."""

from __future__ import annotations

import ipaddress
import os
import signal
import sys
from typing import Any

from pydantic import AliasChoices

from ring_mcp.config import Config


def _variables() -> set[str]:
    names = {"RING_ENV_FILE"}
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        names |= {name, name.lower()}
    for field in Config.model_fields.values():
        alias = field.validation_alias
        names |= set(map(str, alias.choices)) if isinstance(alias, AliasChoices) else {str(alias)}
    return names


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
