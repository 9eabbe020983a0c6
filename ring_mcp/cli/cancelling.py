"""``ring-mcp jobs cancel``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from ring_mcp.cli.backend import gateway_option, load_config_with
from ring_mcp.cli.job_lookup import complete_job_id
from ring_mcp.cli.spelled import JOB_ID
from ring_mcp.errors import RingError

if TYPE_CHECKING:
    from ring_mcp.cli.backend import Backend
    from ring_mcp.cli.progress import Watch


@click.command()
@click.argument("job_id", type=JOB_ID, shell_complete=complete_job_id)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout and nothing else.")
@gateway_option
def cancel(job_id: str, as_json: bool, gateway: str | None) -> None:
    """Cancel a job. Certain and free until its request was sent; after that only if the provider can cancel.

    Exit status 1: it could not be cancelled, and goes on.
    """
    from ring_mcp.cli.progress import fail, follow
    from ring_mcp.cli.show import paragraph, print_json, print_lines

    async def work(backend: Backend, watch: Watch) -> dict[str, Any]:
        return await backend.cancel(job_id)

    try:
        done = follow(load_config_with(gateway), work)
    except RingError as exc:
        if not as_json:  # RingGroup tells it
            raise
        fail(exc, as_json=True, gateway=gateway)
    if as_json:
        print_json(done)
    else:
        print_lines(paragraph("", done.get("note") or "the gateway does not say what became of it"))
    sys.exit(0 if done.get("cancelled") or done.get("asked") else 1)
