"""A few kills for every run of the tests; ``-m kill`` has all of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.kill.kill_points import FRAME_POINTS, POINTS, Kind, Point
from tests.kill.kill_runs import kill_again_and_again
from tests.kill.kill_world import KILLS, LedgerKind, MakeWorld

BY_NAME = {point.name: point for point in [*POINTS, *FRAME_POINTS]}

FEW: list[tuple[LedgerKind, Kind, str, int]] = [
    ("sqlite", "image", "reply here, id not on disk", 0),
    ("sqlite", "video", "while polling", 1),
    ("sqlite", "frame", "still: done, clip knows nothing of it", 2),
    ("postgres", "image", "after the final commit", 0),
]


@pytest.mark.parametrize(
    ("ledger", "kind", "point", "repetition"),
    [
        pytest.param(
            ledger, kind, BY_NAME[name], number, marks=() if (ledger, kind) == ("sqlite", "image") else pytest.mark.long
        )
        for ledger, kind, name, number in FEW
    ],
    ids=[f"{ledger}, {kind}: {name}" for ledger, kind, name, _ in FEW],
)
async def test_a_killed_server_has_paid_once_and_lost_nothing(
    ledger: LedgerKind,
    kind: Kind,
    point: Point,
    repetition: int,
    make_world: MakeWorld,
    record_property: Callable[[str, object], None],
) -> None:
    record_property(KILLS, await kill_again_and_again(make_world, ledger, point, kind, [repetition]))
