"""``ring-mcp completion``: the lines with which a shell completes commands, options and the ids of jobs."""

from __future__ import annotations

import click

_VARIABLE = "_RING_MCP_COMPLETE"
"""By which click's own scripts ask the program; ``__main__`` looks for it before it serves."""

_WHERE = {
    "bash": 'add to ~/.bashrc:  eval "$(ring-mcp completion bash)"',
    "zsh": 'add to ~/.zshrc, after compinit:  eval "$(ring-mcp completion zsh)"',
    "fish": "ring-mcp completion fish > ~/.config/fish/completions/ring-mcp.fish",
}


@click.command(epilog="\b\n" + "\n".join(_WHERE.values()))
@click.argument("shell", type=click.Choice(list(_WHERE)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what teaches SHELL to complete commands, options and ids of jobs, where ring-mcp is on the PATH."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None, "click has them all"
    script = found(ctx.find_root().command, {}, "ring-mcp", _VARIABLE)
    text = script.source_template % script.source_vars()
    # In fish: what is said of a word ended at its first comma.
    click.echo(text.replace('(string split ","', '(string split --max 1 ","'))
