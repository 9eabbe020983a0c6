"""Scripts under kill -9, and two of them on one manifest at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from tests.kill.kill_world import KILLS, MakeWorld
from tests.kill.script_kills import DONE, ScriptKills, ScriptRuns


@pytest.mark.kill
async def test_after_twenty_kills_every_clip_is_there_and_paid_once(
    make_world: MakeWorld, record_property: Callable[[str, object], None]
) -> None:
    record_property(KILLS, [await ScriptKills(await make_world("sqlite"), seed=20261121).run(20)])


@pytest.mark.kill
async def test_two_runs_on_one_manifest_at_once_lose_nothing_and_pay_once(make_world: MakeWorld) -> None:
    """They share some clips; each has others that are its own."""
    world = await make_world("sqlite")
    world.sandbox.state.configure(render_s=0.5, deferred_s=0.3)
    runs = ScriptRuns(world)
    runs.write("first.json", range(6))
    runs.write("second.json", range(3, 9))
    with runs.watched() as seen:
        started = [await runs.start(name) for name in ("first.json", "second.json")]
        ended = await asyncio.gather(*(runs.ended(process) for process in started))
    assert seen["bad"] == 0, seen
    for status, told in ended:
        assert (status, Counter(clip["status"] for clip in told.values())) == (DONE, {"done": 6})
    assert Counter(row["status"] for row in runs.rows().values()) == {"done": 9}
    assert set(Counter(charge.prompt for charge in world.charges()).values()) == {1}
    assert len(world.charges()) == 9 + 4, "nine clips, four of them with a still"
    verdict = await world.judge()
    assert not verdict.problems, verdict.problems
