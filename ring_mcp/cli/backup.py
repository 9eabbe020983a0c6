"""``ring-mcp backup`` and ``ring-mcp restore``: the state folder in one file, taken while servers run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ring_mcp.cli.show import safe, tell_count

if TYPE_CHECKING:
    from ring_mcp.state_backup import Contents


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--media/--no-media", default=False, show_default=True, help="With the files of local storage.")
@click.option("--force", is_flag=True, help="Write over FILE.")
def backup(file: Path, media: bool, force: bool) -> None:
    """Write the ledger and what belongs to it into FILE, a tar archive; servers may run meanwhile.

    It holds prompts and the secret of file addresses: keep it as you keep the state folder. No key is in it.
    """
    from ring_mcp.backends import LEDGER_FILE
    from ring_mcp.config import load_config
    from ring_mcp.state_backup import write_backup

    config = load_config()
    try:
        is_there = file.exists()
    except OSError:  # in a folder that may not be entered; writing tells why
        is_there = False
    if is_there and not force:
        raise click.UsageError(f"{file} is there already: name another, or --force writes over it")
    folder = config.local_storage_dir or config.state_path / "files"
    with_media = folder if media and config.file_backend == "local" else None
    # With a database a file of that name is left from earlier days, and not the ledger.
    ledger = config.state_path / LEDGER_FILE if config.database_url is None else None
    written = write_backup(file, config.state_path, ledger, with_media)
    click.echo(f"{file}: {_describe(written)}")
    if config.database_url is not None:
        click.echo("The ledger is in PostgreSQL and not in this file: back it up with pg_dump.")
    if config.file_backend != "local":
        click.echo(f"Results are in {config.file_backend} and not in this file.")
    elif not media:
        click.echo("The files of local storage are not in it: --media takes them along.")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def restore(file: Path) -> None:
    """Put a backup back into this configuration's state folder, which has no ledger yet. No server may run there.

    Calls made after the backup are not known then: look at the provider's console before you repeat them.
    """
    from ring_mcp.backends import LEDGER_FILE
    from ring_mcp.config import load_config
    from ring_mcp.state_backup import read_backup

    config = load_config()
    folder = config.local_storage_dir or config.state_path / "files"
    ledger = config.state_path / LEDGER_FILE if config.database_url is None else None
    found = read_backup(file, config.state_path, ledger, folder)
    click.echo(f"{config.state_path}: {_describe(found)}")
    if found.jobs is None:
        click.echo("It was made beside a database, and no ledger is in it: that comes from pg_dump.")
    at = safe(found.created_at)  # a text of the archive, and perhaps of a stranger
    click.echo(f"It is as of {at}. `ring-mcp health` looks at it; the next start goes on with open jobs.")
    sys.exit(0)


def _describe(contents: Contents) -> str:
    parts = [f"{tell_count(contents.jobs, 'job')}, {contents.open_jobs} open"] if contents.jobs is not None else []
    parts.append(f"{tell_count(contents.media, 'file')} of local storage" if contents.media else "no media")
    return "; ".join([*parts, f"{contents.size_bytes / 1e6:.1f} MB"])
