"""The servers as processes: read the configuration, serve, leave. Nothing heavy is imported early."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from ring_mcp.config import Config
    from ring_mcp.server.front import Front

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_SWITCH_S = 0.0005
"""Python's switch interval: how long a thread that parses a large body may keep the event loop waiting. The loop
releases the GIL with each read and write of a socket, perhaps fifty times a turn; with the default of 5 ms, /healthz
had to wait for a quarter of a second."""

_EVERYWHERE = ("0.0.0.0", "::", "")  # noqa: S104 - compared with, not listened on


def run_stdio(*, sandbox: bool = False, front: Front | None = None) -> None:
    """Serve on stdin and stdout until the client leaves. Exit status 2: the configuration is wrong (see stderr).

    ``front`` answers while the server is loaded here.
    """
    if front is None:
        wire = os.dup(1)
        os.dup2(2, 1)  # from here on nothing but the protocol reaches the client, even if an import prints
    else:
        wire = front.wire
    started = False

    async def serve(config: Config) -> None:
        nonlocal started
        await _serve_stdio(config, wire, front)
        started = True

    try:
        _run(
            serve,
            sandbox=sandbox,
            usual_level="warning",
            greets=front is None and sys.stdin is not None and sys.stdin.isatty(),
        )
    except KeyboardInterrupt:
        # A person has interrupted the start, so the recording may be right.
        raise
    except BaseException as exc:
        if front is not None and not started and getattr(exc, "code", 1) not in (0, 130):
            front.forget()  # the next, ordinary start reports what is wrong
        raise


def run_http(host: str, port: int, *, sandbox: bool = False) -> None:
    """Serve over HTTP until SIGTERM or SIGINT. Exit status 2: the configuration is wrong (see stderr)."""
    _run(lambda config: _serve_http(config, host, port), sandbox=sandbox, usual_level="info")


def run_worker(concurrency: int | None, metrics_at: tuple[str, int] | None = None) -> None:
    """Carry jobs on, and nothing else, until SIGTERM or SIGINT. Exit status 2: the configuration is wrong.

    ``metrics_at``: host and port where it answers /metrics.
    """
    given = {} if concurrency is None else {"concurrency": concurrency}
    _run(lambda config: _work(config, metrics_at), settings={"drives": True, **given}, usual_level="info")


def _run(
    serve: Callable[[Config], Coroutine[Any, Any, None]],
    *,
    usual_level: str,
    sandbox: bool = False,
    greets: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> None:
    style = "text"  # until the configuration is read
    gc.disable()  # until it serves: what is loaded now stays, and collecting it again and again takes time
    try:  # from here on: Ctrl-C may come while modules are loaded
        if greets:
            _say("ring-mcp: waiting for an MCP client on stdin (Ctrl-C to end). `ring-mcp --help` lists the commands.")
        from ring_mcp.config import load_config
        from ring_mcp.errors import RingError
        from ring_mcp.server.logs import log_to_stderr

        switches: dict[str, Any] = {**(settings or {}), **({"sandbox": True} if sandbox else {})}
        config = load_config(**switches)
        style = config.log_format
        log_to_stderr(config.log_level or usual_level, config.log_format)
        for warning in config.warnings:
            _say(warning if style == "json" else f"warning: {warning}", style, logging.WARNING)
        asyncio.run(serve(config))
    except KeyboardInterrupt:
        sys.exit(130)
    except RingError as exc:
        _say(f"ring-mcp cannot start:\n{exc.message}\n{exc.next_action}", style, logging.ERROR)
        sys.exit(2)


async def _serve_stdio(config: Config, wire: int, front: Front | None) -> None:
    if config.is_for_a_gateway:
        await _serve_relay(config, wire, front)
        return
    with _load_little():
        from ring_mcp.app import open_app
        from ring_mcp.config_checks import wants_export
        from ring_mcp.server.auth import ServiceTokens, identify_owner
        from ring_mcp.server.mcp import serve_app
        from ring_mcp.server.stdio import serve_stdio

    tokens = ServiceTokens(config.service_tokens, config.actor_id)
    async with contextlib.AsyncExitStack() as stack:
        if wants_export(config):
            from ring_mcp.reporting import report

            # Opened before the app, so that it closes after it and sends what closing the app measures.
            reporting = await stack.enter_async_context(report(config, role="stdio", serves_metrics=False))
        app = await stack.enter_async_context(open_app(config, role="stdio"))
        if wants_export(config):
            reporting.fleet = app.fleet
        server = serve_app(app, identify=lambda _: identify_owner(tokens, config.service_token, app.team))
        _collect_garbage_again()
        await serve_stdio(server, wire, closing=stack.aclose, drain_s=config.drain_s, front=front)


async def _serve_relay(config: Config, wire: int, front: Front | None) -> None:
    """Serve without a key of one's own: the gateway's server does the work, and describes its tools each time."""
    with _load_little():
        from ring_mcp.clients.gateway import GatewayClient, open_gateway
        from ring_mcp.errors import RingError
        from ring_mcp.server.relay import Relay
        from ring_mcp.server.stdio import serve_stdio

    base_url = str(config.api_base_url)
    token = config.service_token.get_secret_value().strip() if config.service_token else None
    async with contextlib.AsyncExitStack() as stack:
        found: GatewayClient | RingError
        try:
            found = await stack.enter_async_context(open_gateway(base_url, token, config.proxies))
        except RingError as exc:
            # Kept, not raised: clients show little of a server that does not start, but all that a tool answers.
            found = exc

        def client() -> GatewayClient:
            if isinstance(found, RingError):
                raise found
            return found

        logging.getLogger(__name__).info("no key here: %s does the work", base_url)
        _collect_garbage_again()
        server = Relay(client, base_url).server()
        # No recording, since the other server may change unseen from here. Its jobs are drained there.
        await serve_stdio(server, wire, closing=stack.aclose, drain_s=0.0, front=front, records=False)


async def _serve_http(config: Config, host: str, port: int) -> None:
    from ring_mcp.app import open_app
    from ring_mcp.reporting import report
    from ring_mcp.server.auth import check_tokens
    from ring_mcp.server.http import build_http_app
    from ring_mcp.server.listener import bind, count_connections, listen
    from ring_mcp.server.metrics import check_metrics_token
    from ring_mcp.server.rate_limit import MAX_STREAMS
    from ring_mcp.storage.links import SECRET_FILE, FileLinks, load_secret
    from ring_mcp.wiring import has_team

    # A public name tells that a proxy exposes a server on loopback.
    public = urlsplit(config.public_base_url or "").hostname
    exposed_as = host if host not in _LOOPBACK else public if public not in (None, *_LOOPBACK) else None
    if exposed_as is not None:
        # Before a port is taken, so that there is never an open server in a network.
        check_tokens(config.service_tokens, exposed_as, has_team=not config.service_tokens and await has_team(config))
        if config.metrics_token is not None:
            check_metrics_token(config.metrics_token, exposed_as)
    listener = bind(host, port)
    with contextlib.closing(listener):
        own_url = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
        links = FileLinks(config.public_base_url or own_url, load_secret(config.state_path / SECRET_FILE))
        async with (
            report(config, role="serve", serves_metrics=True) as reporting,
            open_app(config, links=links, role="serve") as app,
        ):
            reporting.fleet = app.fleet
            if host in _EVERYWHERE and config.public_base_url is None and config.file_backend == "local":
                lone = f"Without RING_PUBLIC_BASE_URL the addresses of results begin with {own_url}, here alone."
                _say(lone, config.log_format)
            world = " (SANDBOX)" if config.sandbox else ""
            _say(f"ring-mcp listens on {own_url}: /mcp, /sse, /api/mcp/v1{world}", config.log_format)
            sys.setswitchinterval(_SWITCH_S)
            stopping, connections = asyncio.Event(), count_connections()
            served = build_http_app(
                app,
                links,
                stopping,
                reporting=reporting,
                # Idle streams hold a connection each: half of the connections are left for calls.
                max_streams=min(MAX_STREAMS, connections // 2),
                is_closed=exposed_as is not None,
            )
            _collect_garbage_again()
            await listen(served, listener, stopping, drain_s=config.drain_s, connections=connections)


async def _work(config: Config, metrics_at: tuple[str, int] | None) -> None:
    from ring_mcp.app import open_app
    from ring_mcp.errors import ConfigError
    from ring_mcp.reporting import report

    if config.database_url is None:
        # A SQLite ledger is of one machine, whose server carries its jobs on already.
        raise ConfigError(["DATABASE_URL: a worker needs it: a SQLite ledger's jobs are carried on by its server"])
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        listener = stack.enter_context(contextlib.closing(_bind_metrics(config, *metrics_at))) if metrics_at else None
        serves = listener is not None
        reporting = await stack.enter_async_context(report(config, role="worker", serves_metrics=serves))
        app = await stack.enter_async_context(open_app(config, role="worker"))
        reporting.fleet = app.fleet
        told = f"ring-mcp carries jobs on as {app.ledger.owner}, {config.concurrency} steps at once (SIGTERM ends)"
        _say(told, config.log_format)
        _collect_garbage_again()
        if listener is not None:
            from ring_mcp.server.listener import listen
            from ring_mcp.server.metrics import build_metrics_app

            # uvicorn handles the signals then, and ``listen`` returns after one.
            await listen(build_metrics_app(reporting, config.metrics_token), listener, stopping, drain_s=1.0)
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C ends it as a crash does
                loop.add_signal_handler(number, stopping.set)
        await stopping.wait()


def _bind_metrics(config: Config, host: str, port: int) -> socket.socket:
    from ring_mcp.server.listener import bind
    from ring_mcp.server.metrics import check_metrics_token

    if host not in _LOOPBACK:
        check_metrics_token(config.metrics_token, host)
    listener = bind(host, port)
    _say(f"metrics: http://{host}:{listener.getsockname()[1]}/metrics", config.log_format)
    return listener


@contextlib.contextmanager
def _load_little() -> Iterator[None]:
    """What the SDK makes and loads, and a session on stdio does not need, is left for later or left out.

    Of its several hundred models, for two eras of the protocol, a session uses a few dozen: they get their validators
    when they are first used, as ours do. What a class does not say of this itself it has from ``BaseModel``.
    """
    from pydantic import BaseModel, ConfigDict

    usual = BaseModel.model_config
    BaseModel.model_config = ConfigDict(**usual, defer_build=True)
    # sse-starlette asks for it, to end its streams with the server, and does without where there is none.
    left_out = "uvicorn" not in sys.modules
    if left_out:
        sys.modules["uvicorn"] = None  # type: ignore[assignment]  # so that an import of it fails, as Python has it
    try:
        yield
    finally:
        BaseModel.model_config = usual
        if left_out:
            del sys.modules["uvicorn"]


def _collect_garbage_again() -> None:
    # Modules and models stay until the end: frozen, so that no collection looks through them again.
    gc.freeze()
    gc.enable()


def _say(text: str, style: str = "text", level: int = logging.INFO) -> None:
    """Tell an operator something whatever the log's level, in the log's format."""
    if style == "json":  # collectors of JSON lines read nothing else
        from ring_mcp.server.logs import JsonLines

        text = JsonLines().format(logging.LogRecord(__name__, level, "", 0, text, None, None))
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
