"""kill -9 at moments that nobody chose, with ten jobs in flight; the ledger is PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.kill.kill_world import KILLS, MakeWorld
from tests.kill.random_kills import RandomKills


@pytest.mark.kill
async def test_after_fifty_random_kills_no_job_is_lost_or_paid_twice(
    make_world: MakeWorld, record_property: Callable[[str, object], None]
) -> None:
    record_property(KILLS, [await RandomKills(await make_world("postgres"), seed=20261122).run(50)])
