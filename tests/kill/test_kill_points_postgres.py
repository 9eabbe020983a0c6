"""kill -9 at every arrow of the state machine; the ledger is PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.kill.kill_points import FRAME_POINTS, IMAGE_POINTS, POINTS, Kind, Point
from tests.kill.kill_runs import kill_again_and_again
from tests.kill.kill_world import KILLS, MakeWorld

CASES = [
    *(("image", point) for point in IMAGE_POINTS),
    *(("video", point) for point in POINTS),
    *(("frame", point) for point in FRAME_POINTS),
]


@pytest.mark.kill
@pytest.mark.parametrize(("kind", "point"), CASES, ids=[f"{kind}: {point.name}" for kind, point in CASES])
async def test_a_server_killed_here_has_paid_once_and_lost_nothing(
    kind: Kind, point: Point, make_world: MakeWorld, record_property: Callable[[str, object], None]
) -> None:
    record_property(KILLS, await kill_again_and_again(make_world, "postgres", point, kind))
