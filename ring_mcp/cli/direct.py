"""``ring-mcp direct``: Ring's legacy tool. A jobs file, straight from xAI, without storage and tables.

What is paid for is on record all the same, in a ledger of its own beside the manifest. So a run that died, or that
Ctrl-C left, is carried on by typing the same again, and a clip that is there is not paid for again.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ring_mcp.config import Config
    from ring_mcp.scripted.schema import QualityMode

LEDGER_FOLDER = ".ring-direct"
JOBS_FILE = "xai-video-jobs.json"


@click.command()
@click.argument("arguments", metavar="[JOBS.json] [CLIP]...", nargs=-1)
@click.option("--draft", "quality_mode", flag_value="draft", help="480p; from its image where a clip has one.")
@click.option("--i2v", "--draft_i2v", "quality_mode", flag_value="draft_i2v", help="480p from each clip's image.")
@click.option("--production", "--prod", "--720p", "quality_mode", flag_value="production", help="720p.")
@click.option("--remaster", is_flag=True, help="Edit each clip's done draft, or make it again at a real 720p.")
@click.option("--source-url", metavar="URL", help="With --remaster and one clip: the video to edit.")
@click.option("--download", is_flag=True, help="Save the clips to files/: xAI's own addresses expire.")
@click.option("--yes", is_flag=True, help="Where RING_CONFIRM asks before spending: the answer.")
@click.option("--dry-run", is_flag=True, help="Only a table of what would be made and what it would cost.")
@click.option("--force", is_flag=True, help="Make and pay every clip anew.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("output"),
    show_default=True,
    help="The folder of manifest.json, files/ and the ledger.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout and nothing else.")
def direct(
    arguments: tuple[str, ...],
    quality_mode: QualityMode | None,
    remaster: bool,
    source_url: str | None,
    download: bool,
    yes: bool,
    dry_run: bool,
    force: bool,
    output: Path,
    as_json: bool,
) -> None:
    """Make the clips of a legacy jobs file, all or those named, with nothing but an xAI key. It costs money.

    Without a JOBS.json it is xai-video-jobs.json in this folder.
    Prefer `ring-mcp script`: here nothing goes to storage or to the tables, and the manifest has xAI's own addresses.
    The same command again goes on with what is under way and pays nothing twice.
    Its ledger is its own, beside the manifest: caps count what was spent there alone, and other commands and servers
    know nothing of it, also not of how often the provider was asked.
    Exit status: 0 all done, 1 a clip failed or could not be saved, 2 a bad file, usage or configuration, 3 some are
    still under way.
    """
    from ring_mcp.cli.backend import limit_s
    from ring_mcp.cli.progress import fail
    from ring_mcp.cli.script import Command
    from ring_mcp.errors import RingError
    from ring_mcp.scripted.base import RunOptions
    from ring_mcp.scripted.direct import read_jobs

    if source_url and not remaster:
        raise click.UsageError("--source-url goes with --remaster")
    jobs_path, clip_ids = _split(arguments)
    try:
        request = read_jobs(jobs_path, quality_mode)
        config = _direct_config(output)
        options = RunOptions(
            clip_ids=clip_ids,
            remaster=remaster,
            source_url=source_url,
            force=force,
            persist=False,  # xAI's own addresses, as Ring's tool has them
            wait_s=limit_s(config, "video"),
        )
        files = "" if download else None
        command = Command(config, request, options, output, jobs_path, files, dry_run=dry_run, as_json=as_json, yes=yes)
        sys.exit(command.carry_out())
    except RingError as exc:
        fail(exc, as_json=as_json, gateway=None)


def _split(arguments: tuple[str, ...]) -> tuple[Path, tuple[str, ...]]:
    """The jobs file and the clips: Ring's own tool takes clips alone."""
    if arguments and (arguments[0].endswith(".json") or Path(arguments[0]).is_file()):
        return Path(arguments[0]), arguments[1:]
    return Path(JOBS_FILE), arguments


def _direct_config(output: Path) -> Config:
    """The configuration without a server's settings: no gateway, no tokens, a ledger of its own, no storage."""
    from ring_mcp.config import load_config
    from ring_mcp.errors import ProviderAuthError

    # Set to nothing, and not left out: they may be in the environment, for the server.
    unset: dict[str, Any] = dict.fromkeys(("database_url", "api_base_url", "local_storage_dir"))
    state_dir = output.absolute() / LEDGER_FOLDER
    config = load_config(**unset, state_dir=state_dir, file_backend="local", service_tokens=())
    if config.vendors["xai"].key is None and not config.sandbox:
        raise ProviderAuthError("Missing XAI_API_KEY in .env.local")
    return config
