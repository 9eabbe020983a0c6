"""``ring-mcp trust``: the folders whose ``.env.local`` counts as a whole. It reads no configuration itself."""

from __future__ import annotations

from pathlib import Path

import click

from ring_mcp.config_trust import TrustedFolders


@click.command("trust")
@click.argument("folder", required=False, type=click.Path(file_okay=False, path_type=Path))
@click.option("--remove", is_flag=True, help="Trust it no more.")
def trust(folder: Path | None, remove: bool) -> None:
    """Let the .env.local of FOLDER decide where keys go, what is read and what may be spent.

    Without it, such settings count only if the keys that they are used with are in the same file. Without FOLDER the
    trusted ones are listed.
    """
    folders = TrustedFolders()
    if folder is None:
        if remove:
            raise click.UsageError("--remove goes with a FOLDER")
        click.echo("".join(f"{name}\n" for name in folders.names()), nl=False)
        return
    folder = folder.resolve()
    if remove and not folders.remove(folder):
        raise click.UsageError(f"it was not trusted: {folder}")
    # A folder that is gone can still be taken off the list.
    if not remove and not folder.is_dir():
        raise click.UsageError(f"there is no such folder: {folder}")
    if not remove:
        folders.add(folder)
    click.echo(f"trusted {'no more' if remove else 'from now on'}: {folder}")
