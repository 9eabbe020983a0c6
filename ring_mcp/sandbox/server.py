"""The sandbox on a socket of this machine: beside a test, beside the product, or by itself."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
from collections.abc import Callable, Mapping
from types import FrameType, TracebackType
from typing import Self

import uvicorn

from ring_mcp.sandbox.app import create_app
from ring_mcp.sandbox.services import SERVICES
from ring_mcp.sandbox.state.state import SandboxState
from ring_mcp.sandbox.wire import DroppableProtocol

START_LIMIT_S = 10.0
STOP_LIMIT_S = 5.0
# A load test may open hundreds of connections in the same moment.
BACKLOG = 512
LOOPBACK = "127.0.0.1"


class SandboxServer:
    """The emulated services, served by a thread of this process.

    ``with SandboxServer() as sandbox:`` gives a running one on a free port; ``start`` and ``stop`` do the same by
    hand, and ``async with`` does it without blocking the caller's event loop. ``state`` may be used from any thread.

    Args:
        port: 0 for a free one.
        host: a loopback address; anything else is refused, because the switches need no key.
        settings: see ``ring_mcp.sandbox.state.settings.Settings``; ``reset`` returns to them.
    """

    def __init__(self, port: int = 0, host: str = LOOPBACK, settings: Mapping[str, object] | None = None) -> None:
        self._host = _loopback(host)
        self._port = port
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._url = ""
        self.state = SandboxState(settings)

    @property
    def url(self) -> str:
        """``http://127.0.0.1:<port>``, without a slash at the end."""
        if not self._url:
            raise RuntimeError("the sandbox is not running")
        return self._url

    @property
    def xai_base_url(self) -> str:
        """What ``XAI_API_BASE_URL`` is set to."""
        return self.url + SERVICES["xai"].path

    @property
    def google_base_url(self) -> str:
        """What ``GOOGLE_GENAI_BASE_URL`` is set to."""
        return self.url + SERVICES["google"].path

    @property
    def ringbase_url(self) -> str:
        """What ``RINGBASE_API_URL`` is set to."""
        return self.url + SERVICES["ringbase"].path

    def start(self) -> Self:
        """Serves from a daemon thread; returns when requests are answered."""
        listener = self._open()
        assert self._server is not None
        # A daemon: a test that forgets to stop it must not keep the whole run from its end.
        self._thread = threading.Thread(
            target=self._server.serve_listener, args=(listener,), name="ring-sandbox", daemon=True
        )
        self._thread.start()
        if not self._server.ready.wait(START_LIMIT_S) or not self._server.started:
            self.stop()
            raise RuntimeError("the sandbox did not start")
        return self

    def stop(self) -> None:
        """Ends within a few seconds, whatever is going on, and deletes every file. Harmless when repeated."""
        if self._server is not None:
            self._server.should_exit = True
        if self._thread is not None:
            # The files go when nobody serves them any more; not too late, for a hanging server must not hold up a test.
            self._thread.join(STOP_LIMIT_S)
        self._server = self._thread = None
        self._url = ""
        self.state.close()

    def run(self, announce: Callable[[SandboxServer], None] | None = None) -> None:
        """Serves in the foreground until SIGINT or SIGTERM. ``announce`` is called once, when the port is bound."""
        listener = self._open()
        assert self._server is not None
        try:
            if announce is not None:
                announce(self)
            self._server.serve_listener(listener)
        finally:
            self.stop()

    def _open(self) -> socket.socket:
        """Binds first and listens at once, so that nobody can connect too early or take the port."""
        if self._server is not None:
            raise RuntimeError("the sandbox is running already")
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        # The protocol must be named: asyncio turns Nagle's algorithm off only where it sees TCP, and with it on every
        # answer of two packets waits 40 ms.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            # A fixed port can be taken again at once, though connections of the last run are still being forgotten.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self._host, self._port))
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
        port = listener.getsockname()[1]
        self._url = f"http://[{self._host}]:{port}" if ":" in self._host else f"http://{self._host}:{port}"
        self.state.open(self._url)
        config = uvicorn.Config(
            create_app(self.state),
            http=DroppableProtocol,
            ws="none",
            loop="asyncio",
            lifespan="on",
            # It is a guest: uvicorn's own configuration would be that of the whole process.
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            # It plays servers that are not uvicorn.
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(config, self.state)
        return listener

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)


class _Server(uvicorn.Server):
    """uvicorn's server, which says when it is ready and lets nobody hold up its end."""

    def __init__(self, config: uvicorn.Config, state: SandboxState) -> None:
        super().__init__(config)
        self.ready = threading.Event()
        self._state = state

    def serve_listener(self, listener: socket.socket) -> None:
        """Serves until told to stop; ``ready`` is set then too, so that nobody waits for a start that failed."""
        try:
            self.run([listener])
        finally:
            self.ready.set()
            listener.close()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # First of all, for faults that hold an answer back wait for this, too.
        self._state.stopping.set()
        with contextlib.suppress(asyncio.CancelledError):
            await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            # What is still open belongs to clients that do not read or do not leave.
            connection.transport.abort()
        # Once around the loop, which is when the transports really close.
        await asyncio.sleep(0)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # uvicorn would raise the signal again at its end, and SIGTERM would leave the temporary files behind.
        self.should_exit = True


def make_own() -> SandboxServer:
    """The sandbox of one process, which ends with it: jobs that it does not know were those of an earlier one."""
    return SandboxServer(settings={"unknown_jobs": "failed"})


def serve_forever(
    port: int,
    host: str = LOOPBACK,
    settings: Mapping[str, object] | None = None,
    announce: Callable[[SandboxServer], None] | None = None,
) -> None:
    """Runs a sandbox in the foreground until SIGINT or SIGTERM; see ``SandboxServer``."""
    SandboxServer(port, host, settings).run(announce)


def _loopback(host: str) -> str:
    address = LOOPBACK if host == "localhost" else host
    try:
        is_loopback = ipaddress.ip_address(address).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise ValueError(f"the sandbox serves loopback addresses only, not {host!r}")
    return address
