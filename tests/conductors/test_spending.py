"""SpendingConductor: sums, caps and what is unknown, of the ledger as it stands."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from ring_mcp.conductors.allowance import Allowance
from ring_mcp.conductors.spending import SpendingConductor
from ring_mcp.domain import Caps, JobState
from ring_mcp.domain.consent import Rule
from tests.fake_clock import FakeClock
from tests.ledger_databases import LedgerDatabase
from tests.ledger_samples import PRICE_USD, opened


async def test_sums_caps_and_unknown_jobs_are_told(tmp_path: Path) -> None:
    clock = FakeClock()
    async with LedgerDatabase("sqlite", str(tmp_path / "ledger.db")).started() as ledger:
        for state in (JobState.DONE, JobState.RENDERING, JobState.UNKNOWN):
            await opened(ledger, state)
        await opened(ledger, JobState.DONE, sandbox=True)
        caps = Caps(per_call_usd=Decimal(1), per_day_usd=Decimal("0.20"))
        rule = Rule(mode="ask", above_usd=Decimal("0.50"))

        def allowance(caps: Caps, *, sandbox: bool = False) -> Allowance:
            return Allowance(ledger, caps, clock, sandbox=sandbox)

        told = (await SpendingConductor(allowance(caps), caps, rule, clock, sandbox=False).describe(None)).data()
        free = (
            await SpendingConductor(allowance(Caps(), sandbox=True), Caps(), Rule(), clock, sandbox=True).describe(None)
        ).data()
    price = float(PRICE_USD)
    assert told["today"]["usedUsd"] == price
    assert told["today"]["reservedUsd"] == 2 * price
    assert told["today"]["capUsd"] == 0.2
    assert round(told["today"]["leftUsd"], 6) == 0.02
    assert told["today"]["resetsAt"].endswith("T00:00:00.000Z")
    assert "capUsd" not in told["thisMonth"]
    assert (told["openJobs"], told["unknownJobs"], told["capPerCallUsd"]) == (1, 1, 1.0)
    assert (told["confirm"], told["confirmAboveUsd"]) == ("ask", 0.5)
    assert (free["sandbox"], free["today"]["usedUsd"], free["openJobs"]) == (True, price, 0)
    assert "confirm" not in free
