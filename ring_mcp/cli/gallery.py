"""``ring-mcp gallery``: the web pages without a server over HTTP, on this machine only, until Ctrl-C."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ring_mcp.config import Config
    from ring_mcp.storage.base import Links


@click.command()
@click.option("--actor", help="Whose jobs.  [default: those of a client over stdio]")
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="0 takes a free one.")
@click.option("--open/--no-open", "opens", default=True, help="In the browser, or the address alone.")
def gallery(actor: str | None, port: int, opens: bool) -> None:
    """Show your pictures, clips and spending in the browser, until Ctrl-C.

    It listens on 127.0.0.1, lets in whoever has the address that it prints, once, and can neither spend nor change
    anything. A server over HTTP has the same pages at /gallery.
    """
    from ring_mcp.config import load_config

    config = load_config()
    # What there is to see lies there: this configuration has a ledger that nobody writes to.
    if config.is_for_a_gateway:
        show(f"{str(config.api_base_url).rstrip('/')}/gallery", opens=opens)
        return
    asyncio.run(_serve(config, actor, port, opens=opens))


async def _serve(config: Config, actor: str | None, port: int, *, opens: bool) -> None:
    from ring_mcp.backends import open_storage, open_team, use_ledger
    from ring_mcp.clock import SystemClock
    from ring_mcp.server.auth import ServiceTokens, identify_owner
    from ring_mcp.server.gallery_alone import serve_alone

    tokens = ServiceTokens(config.service_tokens, config.actor_id)
    clock = SystemClock()

    def open_files(links: Links) -> Any:
        return open_storage(config, clock, links)

    async def announce(url: str) -> None:
        await asyncio.to_thread(show, url, opens=opens)

    async with use_ledger(config, clock) as ledger:
        team = open_team(ledger, clock, None)
        of = actor or tokens.default_actor
        if actor is None and config.service_token is not None:
            of = await identify_owner(tokens, config.service_token, team)
        await serve_alone(config, ledger, open_files, clock, actor=of, port=port, announce=announce)


def show(url: str, *, opens: bool) -> None:
    click.echo(url)
    if opens and click.launch(url):  # an exit status: not 0 is no browser
        click.echo("No browser could be opened here; open the address yourself.", err=True)
