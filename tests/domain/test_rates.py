"""Numbers of a provider become pauses that keep to them in every window."""

from __future__ import annotations

import pytest

from ring_mcp.domain import RateBucket, RateLimit, RateState, Spacing, space_out

BUCKET = RateBucket(sandbox=False, account="xai/one", model="a model", asking="submit")


def starts(spacing: Spacing, count: int) -> list[float]:
    """When so many requests leave that all wait from the beginning, as the buckets of the ledger give them."""
    second_at = minute_at = 0.0
    found = []
    for _ in range(count):
        start = max(0.0, second_at - spacing.second_slack_s, minute_at - spacing.minute_slack_s)
        second_at = max(start, second_at) + spacing.second_s
        minute_at = max(start, minute_at) + spacing.minute_s
        found.append(start)
    return found


@pytest.mark.parametrize(
    ("per_second", "per_minute"),
    [(2, None), (5, 300), (50, None), (1, None), (0.5, None), (None, 60), (None, 1), (3, 20)],
)
def test_no_window_has_more_requests_than_the_numbers_say(per_second: float | None, per_minute: float | None) -> None:
    found = starts(space_out(RateLimit(per_second=per_second, per_minute=per_minute)), 500)
    used = []
    for most, window_s in ((per_second, 1.0), (per_minute, 60.0)):
        if most is not None:
            in_windows = [sum(begin <= at < begin + window_s for at in found) for begin in found]
            assert max(in_windows) <= max(1, most)
            used.append(max(in_windows) / most)
    assert max(used) >= 0.85, "and hardly fewer"


def test_without_numbers_nothing_is_spaced_out_before_a_refusal() -> None:
    spacing = space_out(RateLimit())
    assert (spacing.step_s, starts(spacing, 3)) == (0.0, [0.0, 0.0, 0.0])
    assert spacing.unknown_s > 0


@pytest.mark.parametrize(
    ("ahead_s", "slowed", "paused_s", "fullness"),
    [(0.0, 1.0, 0.0, 0.0), (0.25, 1.0, 0.0, 0.5), (9.0, 1.0, 0.0, 1.0), (0.5, 2.0, 0.0, 0.5), (0.0, 1.0, 3.0, 1.0)],
)
def test_fullness_is_a_part_of_what_may_be_asked_at_once(
    ahead_s: float, slowed: float, paused_s: float, fullness: float
) -> None:
    state = RateState(bucket=BUCKET, second_ahead_s=ahead_s, minute_ahead_s=0.0, slowed=slowed, paused_s=paused_s)
    assert state.fullness(Spacing(second_s=0.5)) == fullness
