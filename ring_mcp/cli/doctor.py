"""``ring-mcp doctor``: what ``health`` says, and whether the ledger's sums are those of its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ring_mcp.cli.backend import gateway_option
from ring_mcp.cli.health import tell_report

if TYPE_CHECKING:
    from ring_mcp.config import Config

_NAMED_SUMS = 5


_NOT_HERE = {
    "name": "sums",
    "status": "warning",
    "detail": "not checked: the ledger is the gateway's",
    "fix": "Run `ring-mcp doctor` on its machine.",
}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--recount", is_flag=True, help="Make the ledger's sums those of its rows before they are compared.")
@gateway_option
def doctor(as_json: bool, recount: bool, gateway: str | None) -> None:
    """Check what `health` checks, and every sum that the ledger keeps: this reads all jobs.

    Exit status 1 if anything is an error. The sums of a gateway's ledger are checked on its own machine.
    """
    from ring_mcp.cli.backend import leave_settings_to_health, load_config_with, open_backend
    from ring_mcp.errors import InvalidRequest

    async def ask() -> dict[str, Any]:
        config = load_config_with(gateway)
        if recount and config.api_base_url is not None:
            raise InvalidRequest("--recount works where the ledger is, not through a gateway")
        async with open_backend(config) as backend:
            report = await backend.health()
        # At a gateway the ledger here is another; said, or "ok" would be read as "the sums are right".
        here = config.api_base_url is None
        return _add(report, await _check_sums(config, recount) if here else _NOT_HERE)

    with leave_settings_to_health():
        tell_report(ask, as_json=as_json, gateway=gateway)


def _add(report: dict[str, Any], check: dict[str, Any]) -> dict[str, Any]:
    status = "error" if check["status"] == "error" else report["status"]
    return {**report, "status": status, "checks": [*report["checks"], check]}


async def _check_sums(config: Config, recount: bool) -> dict[str, Any]:
    from ring_mcp.backends import use_ledger
    from ring_mcp.errors import LedgerError

    try:
        async with use_ledger(config) as ledger:
            if recount:
                await ledger.recount()
            wrong = await ledger.find_wrong_sums()
    except LedgerError as exc:
        return {"name": "sums", "status": "error", "detail": exc.message, "fix": exc.next_action}
    if not wrong:
        return {"name": "sums", "status": "ok", "detail": "what counts against the caps is what the rows say"}
    named = "; ".join(f"{each.what} ({each.of}): {each.too_much:+f} off" for each in wrong[:_NAMED_SUMS])
    more = f"; and {len(wrong) - _NAMED_SUMS} more" if len(wrong) > _NAMED_SUMS else ""
    fix = "Caps count with these sums: `ring-mcp doctor --recount` makes them those of the rows."
    return {"name": "sums", "status": "error", "detail": f"not what the rows say: {named}{more}", "fix": fix}
