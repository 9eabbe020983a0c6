"""``ring-mcp``: without arguments the MCP server on stdio, with arguments the command line."""

from __future__ import annotations

import sys

_SERVER_SWITCHES = {"--sandbox"}


def main() -> None:
    arguments = sys.argv[1:]
    if set(arguments) <= _SERVER_SWITCHES:
        from ring_mcp.server.process import run_stdio

        run_stdio(sandbox="--sandbox" in arguments)
    else:
        from ring_mcp.cli.commands import cli

        cli(prog_name="ring-mcp")


if __name__ == "__main__":
    main()
