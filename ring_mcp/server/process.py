"""The servers as processes: read the configuration, serve, leave. Nothing heavy is imported early."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ring_mcp.config import Config

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_EVERYWHERE = ("0.0.0.0", "::", "")  # noqa: S104 - compared with, not listened on


def run_stdio(*, sandbox: bool = False) -> None:
    """Serve on stdin and stdout until the client leaves. Exit status 2: the configuration is wrong (see stderr)."""
    wire = os.dup(1)
    os.dup2(2, 1)  # from here on nothing but the protocol reaches the client, whatever is imported and prints
    _run(
        lambda config: _serve_stdio(config, wire),
        sandbox=sandbox,
        usual_level="warning",
        greets=sys.stdin is not None and sys.stdin.isatty(),
    )


def run_http(host: str, port: int, *, sandbox: bool = False) -> None:
    """Serve over HTTP until SIGTERM or SIGINT. Exit status 2: the configuration is wrong (see stderr)."""
    _run(lambda config: _serve_http(config, host, port), sandbox=sandbox, usual_level="info")


def _run(
    serve: Callable[[Config], Coroutine[Any, Any, None]], *, sandbox: bool, usual_level: str, greets: bool = False
) -> None:
    gc.disable()  # until it serves: what is loaded now stays, and looking through it again and again takes a while
    try:  # from the first moment on: Ctrl-C may come while all this is loaded
        if greets:
            _say("ring-mcp: waiting for an MCP client on stdin (Ctrl-C to end). `ring-mcp --help` lists the commands.")
        from ring_mcp.config import load_config
        from ring_mcp.errors import RingError
        from ring_mcp.server.logs import log_to_stderr

        config = load_config(sandbox=True) if sandbox else load_config()
        log_to_stderr(config.log_level or usual_level, config.log_format)
        asyncio.run(serve(config))
    except KeyboardInterrupt:
        sys.exit(130)
    except RingError as exc:
        _say(f"ring-mcp cannot start:\n{exc.message}\n{exc.next_action}")
        sys.exit(2)


async def _serve_stdio(config: Config, wire: int) -> None:
    if config.is_for_a_gateway:
        await _serve_relay(config, wire)
        return
    from ring_mcp.app import open_app
    from ring_mcp.server.auth import ServiceTokens
    from ring_mcp.server.mcp import build_server
    from ring_mcp.server.stdio import serve_stdio

    tokens = ServiceTokens(config.service_tokens, config.actor_id)
    async with contextlib.AsyncExitStack() as stack:
        app = await stack.enter_async_context(open_app(config))
        server = build_server(
            app.tools(),
            app.resources(),
            app.prompts,
            identify=lambda ctx: tokens.check(config.service_token),
            links=config.result_links,
        )
        _collect_garbage_again()
        await serve_stdio(server, wire, closing=stack.aclose, drain_s=config.drain_s)


async def _serve_relay(config: Config, wire: int) -> None:
    """Without a key, with an address: the server there does the work."""
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
            found = exc

        def client() -> GatewayClient:
            if isinstance(found, RingError):
                raise found
            return found

        logging.getLogger(__name__).info("no key here: %s does the work", base_url)
        _collect_garbage_again()
        await serve_stdio(Relay(client, base_url).server(), wire, closing=stack.aclose, drain_s=0.0)


async def _serve_http(config: Config, host: str, port: int) -> None:
    from ring_mcp.app import open_app
    from ring_mcp.server.auth import check_tokens
    from ring_mcp.server.http import build_http_app
    from ring_mcp.server.listener import bind, listen
    from ring_mcp.storage.links import SECRET_FILE, FileLinks, load_secret

    if host not in _LOOPBACK:
        check_tokens(config.service_tokens, host)
    listener = bind(host, port)
    with contextlib.closing(listener):
        own_url = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
        links = FileLinks(config.public_base_url or own_url, load_secret(config.state_path / SECRET_FILE))
        async with open_app(config, links=links) as app:
            if host in _EVERYWHERE and config.public_base_url is None and config.file_backend == "local":
                _say(f"Without RING_PUBLIC_BASE_URL the addresses of results begin with {own_url}, here alone.")
            _say(f"ring-mcp listens on {own_url}: /mcp, /sse, /api/mcp/v1{' (SANDBOX)' if config.sandbox else ''}")
            stopping = asyncio.Event()
            _collect_garbage_again()
            await listen(build_http_app(app, links, stopping), listener, stopping, drain_s=config.drain_s)


def _collect_garbage_again() -> None:
    gc.freeze()
    gc.enable()


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
