"""What fits below the caps: in the order of the script, and without what costs nothing."""

from __future__ import annotations

from decimal import Decimal

from ring_mcp.scripted.budget import refusal, without_room
from ring_mcp.scripted.clips import ClipRun


def clip(name: str, usd: str | None, **facts: object) -> ClipRun:
    made = ClipRun(id=name, duration_s=1, arguments={}, key=name, mode="draft")
    made.quoted_usd = None if usd is None else Decimal(usd)
    for fact, value in facts.items():
        setattr(made, fact, value)
    return made


CLIPS = [clip("a", "0.05"), clip("b", "0.20"), clip("c", "0.05"), clip("d", "0.05")]


def refused(cap_left_usd: dict[str, float], clips: list[ClipRun] = CLIPS) -> list[str]:
    return [each.id for each in without_room(clips, cap_left_usd)]


def test_without_caps_everything_fits() -> None:
    assert refused({}) == []
    assert refusal(CLIPS, {}, "") is None


def test_the_narrowest_window_decides_to_the_cent() -> None:
    assert refused({"today": 0.35, "thisMonth": 0.35}) == []
    assert refused({"today": 0.35, "thisMonth": 0.34}) == ["d"]
    assert refused({"today": 0.14, "thisMonth": 9.0}) == ["b", "d"]


def test_the_cap_of_a_call_is_no_sum() -> None:
    assert refused({"perCall": 0.05}) == ["b"]
    assert refused({"perCall": 0.19, "today": 0.10}) == ["b", "d"]


def test_what_stands_is_under_way_or_has_no_price_needs_no_room() -> None:
    free = [clip("e", "0", status="done"), clip("f", "0.05", status="open"), clip("g", None, status="error")]
    assert refused({"today": 0.0}, free) == []


def test_the_refusal_says_the_sum_what_is_left_and_what_fits() -> None:
    told = refusal(CLIPS, {"today": 0.12}, "say --partial")
    assert told is not None
    assert "$0.35" in told.message
    assert "the cap per day leaves $0.12" in told.message
    assert told.next_action == "2 of 4 fit: a, c. Name those alone, or say --partial."
    nothing = refusal(CLIPS, {"today": 0.01}, "say --partial")
    assert nothing is not None
    assert nothing.next_action.startswith("None of them fits")
