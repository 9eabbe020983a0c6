"""What an operator sees of the fleet: gauges from the ledger, and what is told when it does not answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from ring_mcp import metrics
from ring_mcp.conductors.fleet import MAX_AGE_S, FleetConductor, list_gauges
from ring_mcp.domain import Caps, JobState
from ring_mcp.ledger.base import Process
from ring_mcp.ledger.sqlite import SqliteLedger
from tests.fake_clock import START, FakeClock
from tests.ledger_samples import carried, planned

CAPS = Caps(per_day_usd=Decimal(5))


async def opened_fleet(tmp_path: Path, clock: FakeClock) -> tuple[SqliteLedger, FleetConductor]:
    ledger = SqliteLedger(tmp_path / "ledger.db", clock, "serve here:1")
    await ledger.start()
    waiting = planned(created_at=START, request_hash="v1:1", reserved_usd=Decimal("0.25"))
    await ledger.open(waiting, CAPS)
    going = (await ledger.open(planned(created_at=START, request_hash="v1:2"), CAPS)).job
    await ledger.save(going, carried(going, JobState.SUBMITTING))
    return ledger, FleetConductor(ledger, CAPS, clock, sandbox=False)


async def test_the_gauges_are_those_of_the_ledger(tmp_path: Path) -> None:
    clock = FakeClock()
    ledger, conductor = await opened_fleet(tmp_path, clock)
    clock.advance(30)
    found = {(metric, labels): value for metric, labels, value in await conductor.gauges()}
    assert found[metrics.FLEET_JOBS, ("planned", "real")] == 1
    assert found[metrics.FLEET_JOBS, ("submitting", "real")] == 1
    assert found[metrics.FLEET_QUEUE_DEPTH, ("real",)] == 1
    assert found[metrics.FLEET_QUEUE_AGE, ("real",)] == 30
    assert found[metrics.FLEET_PROCESSES, ("serve",)] == 1
    assert found[metrics.FLEET_USD_CAP, ("day", "real")] == 5
    assert found[metrics.FLEET_USD_RESERVED, ("day", "real")] == found[metrics.FLEET_USD, ("day", "real")] > 0.25
    assert (metrics.FLEET_USD_CAP, ("month", "real")) not in found, "none is set"
    await ledger.aclose()


async def test_many_who_ask_are_told_the_same_for_a_moment(tmp_path: Path) -> None:
    clock = FakeClock()
    ledger, conductor = await opened_fleet(tmp_path, clock)
    first = await conductor.look()
    assert await conductor.look() is first
    clock.advance(MAX_AGE_S)
    assert await conductor.look() is not first
    await ledger.aclose()


async def test_a_ledger_that_is_away_is_told_as_that(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ledger, conductor = await opened_fleet(tmp_path, FakeClock())
    await ledger.aclose()
    assert await conductor.gauges() == [(metrics.FLEET_READ, (), 0.0)]
    assert "the fleet cannot be counted" in caplog.text


async def test_a_role_that_nobody_knows_is_one_of_others(tmp_path: Path) -> None:
    ledger, conductor = await opened_fleet(tmp_path, FakeClock())
    fleet = await conductor.look()
    strangers = tuple(Process(role=f"role-{i}", place="x:1", since=START - timedelta(hours=1)) for i in range(50))
    found = {(metric, labels): value for metric, labels, value in list_gauges(replace(fleet, processes=strangers))}
    assert [labels for metric, labels in found if metric is metrics.FLEET_PROCESSES] == [(metrics.OTHER,)]
    await ledger.aclose()
