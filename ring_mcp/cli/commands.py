"""The commands. Each imports what it needs when it runs, so that ``--help`` is quick."""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from collections.abc import Coroutine
from typing import Any, TypeVar

import click

from ring_mcp import __version__
from ring_mcp.errors import ConfigError, RingError, Unauthorized

T = TypeVar("T")

EXIT_FAILED = 1
EXIT_BAD_CONFIGURATION = 2
_CONFIGURATION_CODES = (ConfigError.code, Unauthorized.code)  # codes: a server behind the gateway has no classes


class RingGroup(click.Group):
    """Turns a RingError, and a stdout that takes nothing, into one message and an exit status, never a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except RingError as exc:
            from ring_mcp.cli.show import safe_lines

            # The words may be those of whatever answers at a gateway's address, and a terminal obeys some.
            click.echo(f"error: {safe_lines(exc.message)}", err=True)
            if exc.next_action:
                click.echo(safe_lines(exc.next_action), err=True)
            # Two statuses, so that a program can tell what a person has to correct from what may work later.
            sys.exit(EXIT_BAD_CONFIGURATION if exc.code in _CONFIGURATION_CODES else EXIT_FAILED)

    def main(self, *args: Any, **extra: Any) -> Any:
        try:
            return super().main(*args, **extra)
        except OSError as exc:  # a pipe that nobody reads any more is ended by click
            if not _is_of_printing(exc):
                raise
            click.echo(f"error: what it says cannot be written: {exc.strerror}", err=True)
            click.echo("Make room, or print elsewhere; `ring-mcp jobs list` shows what was made.", err=True)
            _give_stdout_up()
            sys.exit(EXIT_FAILED)


def _is_of_printing(exc: OSError) -> bool:
    """Whether it came up in click's own ``echo``, be it as it wrote or as it flushed."""
    frames = [frame.f_code for frame, _ in traceback.walk_tb(exc.__traceback__)]
    return frames[-1] is click.echo.__code__


def _give_stdout_up() -> None:
    """Or the interpreter writes what is left of it once more, and ends with a status of its own."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)


@click.group(cls=RingGroup, invoke_without_command=True)
@click.version_option(__version__, prog_name="ring-mcp")
@click.option("--sandbox", is_flag=True, help="Serve against the built-in sandbox: no key, no cost.")
@click.option("--no-fast-start", is_flag=True, help="Serve without first answers from a recording.")
@click.pass_context
def cli(ctx: click.Context, sandbox: bool, no_fast_start: bool) -> None:
    """An MCP server that makes images and clips on your own provider key.

    Without a command it serves MCP on stdin and stdout, for a client that starts it.
    """
    if ctx.invoked_subcommand is None:
        from ring_mcp.server.process import run_stdio

        run_stdio(sandbox=sandbox)
    elif sandbox:
        raise click.UsageError("--sandbox goes with the server; commands use RING_SANDBOX=1")
    elif no_fast_start:
        raise click.UsageError("--no-fast-start goes with the server; a command has no recording")


@cli.command()
@click.option("--prompt", help="Make this picture in place of the demo's own.")
def demo(prompt: str | None) -> None:
    """The main job from end to end in the sandbox: no key, no cost, under ten seconds."""
    from ring_mcp.cli.demo import run_demo

    sys.exit(run(run_demo(prompt)))


@cli.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8790, show_default=True, help="0 takes a free one.")
def sandbox(port: int) -> None:
    """Emulate the providers and ring-filebase on a loopback port, until Ctrl-C."""
    from ring_mcp.config_types import variables
    from ring_mcp.providers.vendors import VENDORS
    from ring_mcp.sandbox.server import SandboxServer
    from ring_mcp.sandbox.services import SERVICES

    def announce(server: SandboxServer) -> None:
        click.echo("SANDBOX: nothing here is real and nothing costs money.")
        named = {vendor.name: variables(vendor.settings) for vendor in VENDORS}
        names = {name: (of["base_url"][0], of["key"][0]) for name, of in named.items()}
        names["ringbase"] = ("RINGBASE_API_URL", "RINGBASE_API_TOKEN")
        for name, (address, key) in names.items():
            if name in SERVICES:
                click.echo(f"{address}={server.url}{SERVICES[name].path}")
                click.echo(f"{key}={SERVICES[name].key}")
        click.echo(f"ring-mcp against it: RING_SANDBOX={server.url}")
        click.echo(f"faults, settings, books: {server.url}/control/")

    try:
        SandboxServer(port).run(announce)
    except OSError as exc:
        raise click.ClickException(f"port {port} cannot be used: {exc.strerror}; choose another with --port") from exc


@cli.command()
@click.option("--transport", type=click.Choice(["http", "sse"]), default="http", show_default=True, help="One app.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Others need RING_MCP_SERVICE_TOKENS.")
@click.option("--port", type=click.IntRange(0, 65535), default=8787, show_default=True, help="0 takes a free one.")
@click.option("--sandbox", is_flag=True, help="Against the built-in sandbox: no key, no cost.")
def serve(transport: str, host: str, port: int, sandbox: bool) -> None:
    """Serve MCP over HTTP (/mcp, and /sse for older clients), with Ring's REST gateway and the stored files."""
    from ring_mcp.server.process import run_http

    run_http(host, port, sandbox=sandbox)


@cli.command()
@click.option("--concurrency", type=click.IntRange(1, 10_000), help="So many steps at once.  [default: 64]")
@click.option("--metrics-port", type=click.IntRange(0, 65535), help="Answer /metrics there; 0 takes a free one.")
@click.option("--metrics-host", default="127.0.0.1", show_default=True, help="Others need RING_METRICS_TOKEN.")
def worker(concurrency: int | None, metrics_port: int | None, metrics_host: str) -> None:
    """Carry on jobs of the fleet's ledger (DATABASE_URL), and serve nobody, until SIGTERM."""
    from ring_mcp.server.process import run_worker

    run_worker(concurrency, None if metrics_port is None else (metrics_host, metrics_port))


@cli.command()
def migrate() -> None:
    """Create or update the ledger's tables (SQLite does it by itself on first use)."""
    from ring_mcp.backends import LEDGER_FILE, migrate_ledger
    from ring_mcp.config import load_config

    config = load_config()
    for name in run(migrate_ledger(config)):
        click.echo(f"applied {name}")
    where = config.state_path / LEDGER_FILE if config.database_url is None else "the database of DATABASE_URL"
    click.echo(f"{where} is up to date")


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def _register() -> None:
    from ring_mcp.cli.approving import approve
    from ring_mcp.cli.backup import backup, restore
    from ring_mcp.cli.cancelling import cancel
    from ring_mcp.cli.completion import completion
    from ring_mcp.cli.configure import config
    from ring_mcp.cli.create import image, video
    from ring_mcp.cli.direct import direct
    from ring_mcp.cli.doctor import doctor
    from ring_mcp.cli.gallery import gallery
    from ring_mcp.cli.health import health, presets
    from ring_mcp.cli.jobs import jobs
    from ring_mcp.cli.presets_check import check
    from ring_mcp.cli.prune import prune
    from ring_mcp.cli.script import script
    from ring_mcp.cli.spend import spend
    from ring_mcp.cli.tokens import tokens
    from ring_mcp.cli.top import top
    from ring_mcp.cli.trust import trust

    presets.add_command(check)
    jobs.add_command(cancel)
    for command in (
        image,
        video,
        script,
        direct,
        jobs,
        spend,
        gallery,
        approve,
        top,
        health,
        doctor,
        presets,
        config,
        tokens,
        trust,
        backup,
        restore,
        prune,
        completion,
    ):
        cli.add_command(command)


_register()
