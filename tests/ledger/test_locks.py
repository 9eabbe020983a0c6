"""Who waits for whom in a database."""

from __future__ import annotations

import pytest

from ring_mcp.domain import Caps
from ring_mcp.ledger import locks
from tests.ledger_samples import planned


def test_the_same_request_is_the_same_lock_and_another_is_not() -> None:
    job = planned(request_hash="v1:a", actor_id="anna")
    same = planned(request_hash="v1:a", actor_id="anna")
    others = [
        planned(request_hash="v1:b", actor_id="anna"),
        planned(request_hash="v1:a", actor_id="bert"),
        planned(request_hash="v1:a", actor_id="anna", sandbox=True),
        planned(request_hash="v1:a", actor_id="anna", idempotency_key="mine"),
        planned(request_hash="v1:a", actor_id="anna\0v1:a"),
    ]
    assert locks.of_request(job) == locks.of_request(same)
    assert len({locks.of_request(each) for each in (job, *others)}) == 6
    keyed = [planned(request_hash=hash_, idempotency_key="mine") for hash_ in ("v1:a", "v1:b")]
    assert len({locks.of_request(each) for each in keyed}) == 1, "a key stands for one request"
    assert all(-(2**63) <= locks.of_request(each) < 2**63 for each in others)


def test_a_still_is_locked_by_its_key_and_by_what_is_asked() -> None:
    clip, other = planned(), planned()
    still = planned(request_hash="v1:still", idempotency_key="first-frame:1")
    again = planned(request_hash="v1:still", idempotency_key="first-frame:2")
    both = set(locks.of_opening(clip, still)) & set(locks.of_opening(other, again))
    assert len(both) == 1
    assert locks.of_opening(clip, still) == sorted(locks.of_opening(clip, still))
    assert len(locks.of_opening(clip, still)) == 3
    assert locks.of_opening(clip, None) == [locks.of_request(clip)]


@pytest.mark.parametrize(
    ("caps", "is_capped"),
    [
        (Caps(), False),
        (Caps(per_call_usd=planned().reserved_usd, max_usd=planned().reserved_usd), False),
        (Caps(per_day_usd=planned().reserved_usd), True),
        (Caps(per_month_usd=planned().reserved_usd), True),
    ],
)
def test_only_who_counts_what_others_spend_waits_for_them(caps: Caps, is_capped: bool) -> None:
    assert locks.is_capped(caps) is is_capped
    assert locks.of_spending(False) != locks.of_spending(True)


def test_every_kind_of_lock_is_another_one() -> None:
    """What has one name by chance, a key and a request and an actor, is not one thing."""
    job = planned(actor_id="anna", request_hash="same")
    keyed = planned(actor_id="anna", request_hash="same", idempotency_key="same")
    caps = Caps(per_day_usd=planned().reserved_usd)
    kinds = [
        locks.of_request(job),
        locks.of_request(keyed),
        locks.of_key("anna", "same", sandbox=True),
        *locks.of_money(caps, caps, "anna", sandbox=False),
        *locks.of_money(caps, caps, "anna", sandbox=True),
        locks.CLAIMS,
    ]
    assert len(set(kinds)) == 8
    assert locks.of_money(caps, Caps(), "anna", sandbox=False) == [locks.of_spending(False)]
    assert locks.of_money(caps, caps, "anna", sandbox=False)[1:] == [locks.of_spending(False)], "all money's last"
    assert locks.of_money(Caps(), caps, "anna", sandbox=False) == locks.of_money(caps, caps, "anna", sandbox=False)[:1]
    assert locks.of_money(Caps(), Caps(), "anna", sandbox=False) == []


def test_a_lock_is_the_same_in_every_version() -> None:
    """While servers are replaced one by one, old and new ones keep each other from paying twice."""
    job = planned(actor_id="anna", request_hash="v1:a")
    caps = Caps(per_day_usd=job.reserved_usd)
    assert [
        locks.of_request(job),
        locks.of_key("anna", "mine", sandbox=True),
        locks.of_spending(False),
        *locks.of_money(Caps(), caps, "anna", sandbox=False),
        locks.CLAIMS,
    ] == [
        1349482217898174832,
        -3114608651797596726,
        5914304556554280129,
        2403901874635780548,
        1919512167,
    ]


def test_any_text_of_a_caller_has_its_lock() -> None:
    assert locks.of_key("anna", "\ud800", sandbox=False) != locks.of_key("anna", "?", sandbox=False)
