"""``ring-mcp``: without arguments the MCP server on stdio, with arguments the command line."""

from __future__ import annotations

import os
import sys

_ORDINARY = "--no-fast-start"
# The switches of the server are known before click is loaded; whatever else is typed is a command's to judge.
_SERVER_SWITCHES = {"--sandbox", _ORDINARY}
_COMPLETION = "_RING_MCP_COMPLETE"


def main() -> None:
    arguments = sys.argv[1:]
    # A shell that wants to complete a word runs the bare command: a server would keep its prompt waiting for ever.
    if set(arguments) <= _SERVER_SWITCHES and not os.environ.get(_COMPLETION):
        try:
            _serve(arguments)
        except KeyboardInterrupt:  # while all is loaded
            sys.exit(130)
    else:
        # Not at the top: a client waits for the server to start, and no command is part of that.
        from ring_mcp.cli.commands import cli

        cli(prog_name="ring-mcp")


def _serve(arguments: list[str]) -> None:
    from ring_mcp.server.front import open_front

    # The front answers what a client asks first, while the import below, which takes nearly all of a start, goes on.
    front = None if _ORDINARY in arguments else open_front(arguments)
    if front is not None:
        front.start()
    from ring_mcp.server.process import run_stdio

    run_stdio(sandbox="--sandbox" in arguments, front=front)


if __name__ == "__main__":
    main()
