"""The stdio server as a process: take stdout, read the configuration, serve, leave. Nothing heavy is imported early."""

from __future__ import annotations

import logging
import os
import sys


def run_stdio(*, sandbox: bool = False) -> None:
    """Serve on stdin and stdout until the client leaves. Exit status 2: the configuration is wrong (see stderr)."""
    wire = os.dup(1)
    os.dup2(2, 1)  # from here on nothing but the protocol reaches the client, whatever is imported and prints
    if sys.stdin is not None and sys.stdin.isatty():
        _say("ring-mcp: waiting for an MCP client on stdin (Ctrl-C to end). `ring-mcp --help` lists the commands.")
    import asyncio

    from ring_mcp.config import load_config
    from ring_mcp.errors import RingError

    try:
        config = load_config(sandbox=True) if sandbox else load_config()
        logging.basicConfig(
            level=config.log_level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
        )
        for noisy in ("httpx2", "httpcore2"):  # they log whole URLs, and signed ones are secrets
            logging.getLogger(noisy).setLevel(logging.WARNING)
        asyncio.run(_serve(config, wire))
    except RingError as exc:
        _say(f"ring-mcp cannot start:\n{exc.message}\n{exc.next_action}")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


async def _serve(config: object, wire: int) -> None:
    import contextlib
    from functools import partial

    from ring_mcp.app import open_app
    from ring_mcp.config import Config
    from ring_mcp.server.auth import check_service_token
    from ring_mcp.server.mcp import build_server
    from ring_mcp.server.stdio import serve_stdio

    assert isinstance(config, Config)
    async with contextlib.AsyncExitStack() as stack:
        app = await stack.enter_async_context(open_app(config))
        server = build_server(
            app.tools(),
            app.resources(),
            actor_id=config.actor_id,
            authorize=partial(check_service_token, config.service_token, config.service_tokens),
            links=config.result_links,
        )
        await serve_stdio(server, wire, closing=stack.aclose)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
