"""A sample of ``tests.jobs.mutated_results``: damaged results, each delivered as it came."""

from __future__ import annotations

from pathlib import Path

from tests.jobs.mutated_results import run


async def test_no_damage_keeps_a_result_from_its_owner(tmp_path: Path) -> None:
    tally = await run(60, 1, tmp_path)
    assert tally.kept_from_owner == []
    assert sum(tally.endings.values()) == 60
    assert min(tally.endings["image: as it should be"], tally.endings["video: as it should be"]) > 5
    assert len(tally.endings) > 4
