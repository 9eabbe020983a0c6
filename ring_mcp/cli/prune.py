"""``ring-mcp prune``: removes what nobody needs any more from the state folder. Never a row, never a result."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter
from typing import TYPE_CHECKING

import click

from ring_mcp.cli.show import print_json, tell_count

if TYPE_CHECKING:
    from ring_mcp.config import Config
    from ring_mcp.jobs.tidying import Leftover

_SPAN = re.compile(r"(\d{1,5})([dw])")


@click.command()
@click.option("--older-than", metavar="SPAN", help="Days or weeks: 30d, 2w; a day at least. Default: RING_KEEP_DAYS.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def prune(older_than: str | None, dry_run: bool, as_json: bool) -> None:
    """Remove old previews, leftovers of jobs that have ended, and locks of dead processes.

    Rows of the ledger and files of storage stay, and so does whatever an open job may need.
    """
    from ring_mcp.config import load_config

    config = load_config()
    keep_s = config.keep_s if older_than is None else _seconds(older_than)
    found = asyncio.run(_find(config, keep_s))
    kept = 0
    if not dry_run:
        for each in found:
            try:
                each.path.unlink(missing_ok=True)
            except OSError:
                kept += 1
    counts, sizes = Counter(each.what for each in found), Counter[str]()
    for each in found:
        sizes[each.what] += each.size_bytes
    if as_json:
        listed = [{"what": what, "files": counts[what], "bytes": sizes[what]} for what in counts]
        print_json({"dryRun": dry_run, "removed": listed, "kept": kept})
        return
    for what, count in counts.items():
        click.echo(f"{count:>6} {what}, {sizes[what] / 1e6:.1f} MB")
    total = f"{tell_count(len(found), 'file')}, {sum(sizes.values()) / 1e6:.1f} MB"
    click.echo(f"DRY RUN: {total} would go" if dry_run else f"{total} removed")
    if kept:
        click.echo(f"{kept} of them could not be removed", err=True)


def _seconds(span: str) -> float:
    found = _SPAN.fullmatch(span.strip().lower())
    if found is None or int(found[1]) == 0:
        raise click.BadParameter(
            f"{span!r} is not a number of days or weeks like 30d or 2w, of a day at least", param_hint="--older-than"
        )
    # A day at least: whatever is younger may belong to something that is still being done.
    return int(found[1]) * (7 if found[2] == "w" else 1) * 86400.0


async def _find(config: Config, keep_s: float) -> list[Leftover]:
    from ring_mcp.backends import use_ledger
    from ring_mcp.jobs.tidying import Leftover, list_leftovers
    from ring_mcp.ledger.process_lock import ProcessLock
    from ring_mcp.wiring import check_state_folder

    check_state_folder(config.state_path)
    locks = []
    for path in ProcessLock(config.state_path / "locks").list_dead():  # a ledger that starts removes them as well
        with contextlib.suppress(OSError):
            locks.append(Leftover(path=path, what="locks of dead processes", size_bytes=path.stat().st_size))
    async with use_ledger(config) as ledger:
        return [*locks, *await list_leftovers(config.state_path, ledger, keep_s)]
