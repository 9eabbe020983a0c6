"""For every test: no setting of the person's environment, no socket that leaves this machine, one sandbox at hand."""

from __future__ import annotations

import contextlib
import gc
import ipaddress
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from ring_mcp.config import all_variables
from ring_mcp.sandbox.server import SandboxServer
from tests.memory_disk import MEMORY, has_room
from tests.started_first import STARTED_FIRST, spread

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# A conftest.py beside those tests is not read by the process that prints.
pytest_plugins = ("tests.kill.table", "tests.weather.page")


def _variables() -> set[str]:
    names = {"RING_ENV_FILE", *(name for names in all_variables() for name in names)}
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        names |= {name, name.lower()}
    return names


for _name in _variables():
    os.environ.pop(_name, None)


_FILES_OF_A_RUN_BYTES = 4 << 30  # several times what all folders of a run hold at once

if has_room(_FILES_OF_A_RUN_BYTES):
    # Each test has a ledger of its own, and each of its commits would wait for the disk.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As a job in the background; the processes that tests start would inherit it, and some are sent a Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)


# How long it takes to make an example, or to try it, tells of the machine's load.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


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


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Iterator[None]:
    """Collect ten thousand tests without looking for garbage among them, now or ever after.

    Where nobody has compiled the tests yet, one process does, and the others wait for what it writes.
    """
    gc.disable()
    try:
        with _compiled_once():
            return (yield)
    finally:
        gc.freeze()
        gc.enable()


# To compile a module takes longer than most tests run, and each worker, command and server would do so anew: uv
# installs no bytecode, and containers like to forbid it.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # of the processes that this one starts


@contextlib.contextmanager
def _compiled_once() -> Iterator[None]:
    folder = Path(__file__).parent
    if fcntl is None or any(folder.glob("vendors/__pycache__/test_*-pytest-*.pyc")):  # the last ones of a whole run
        yield
        return
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):  # a tree that nobody may write to
            (folder / "__pycache__").mkdir(exist_ok=True)
            lock = held.enter_context((folder / "__pycache__" / "compiling.lock").open("w"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                fcntl.flock(lock, fcntl.LOCK_SH)
        yield


HANGS_AFTER_S = 240
"""Real time: a test that still runs waits for what never comes."""

MAY_TAKE_LONG = {"kill", "weather", "conformance", "browser"}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Let a test fail that hangs: otherwise the whole run does, and nobody learns where."""
    if not hasattr(signal, "SIGALRM") or MAY_TAKE_LONG & {mark.name for mark in item.iter_markers()}:
        return (yield)
    before = signal.signal(signal.SIGALRM, _give_up)
    signal.alarm(HANGS_AFTER_S)
    try:
        return (yield)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _give_up(*_: object) -> None:
    raise TimeoutError(f"this test has not ended after {HANGS_AFTER_S} seconds")


@pytest.fixture(scope="session")
def running() -> Iterator[SandboxServer]:
    """The emulated services, started when the first test of this process asks for them."""
    # Without the prompt on it each size of picture is painted once.
    with SandboxServer(settings={"show_prompt": False}) as server:
        yield server


@pytest.fixture
def sandbox(running: SandboxServer) -> Iterator[SandboxServer]:
    """The same, with all switches and books as at their start."""
    running.state.reset()
    yield running
    running.state.reset()


@pytest.hookimpl(trylast=True)  # when those that are not to run are gone
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    first = {item.nodeid: item for item in items if item.nodeid in STARTED_FIRST}
    rest = [item for item in items if item.nodeid not in first]
    items[:] = spread([first[name] for name in STARTED_FIRST if name in first], rest, workers)
