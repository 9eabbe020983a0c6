"""What the table of actors is asked; what that does stands in ``tests/contracts/test_ledger_actors.py``."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from ring_mcp.domain import Caps, Member
from ring_mcp.errors import InvalidRequest, NotFound
from ring_mcp.ledger.actors import add_member, find_members, revoke_member
from ring_mcp.ledger.rows import Dialect

SQLITE, POSTGRES = Dialect(text_times=True), Dialect(text_times=False)
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(("dialect", "flag"), [(SQLITE, 1), (POSTGRES, True)])
def test_amounts_are_whole_ticks_and_none_stays_none(dialect: Dialect, flag: object) -> None:
    ann = Member(name="ann", caps=Caps(per_day_usd=Decimal("0.05")), created_at=NOW)
    values = next(add_member(ann, "ab", dialect)).parameters
    amounts = [values[f"per_{each}_usd_ticks"] for each in ("call", "day", "month")]
    assert amounts == [None, 500_000_000, None]
    assert (values["may_spend"], values["created_at"]) == (flag, dialect.time(NOW))


def test_a_name_that_is_taken_is_refused() -> None:
    adding = add_member(Member(name="ann", created_at=NOW), "ab", SQLITE)
    next(adding)
    with pytest.raises(InvalidRequest, match="ann has a token already") as refusal:
        adding.send([])
    assert refusal.value.next_action == "`ring-mcp tokens revoke ann` ends it; then add it again."


def test_who_revokes_nobody_is_told_where_the_names_are() -> None:
    revoking = revoke_member("bob", NOW, SQLITE)
    next(revoking)
    with pytest.raises(NotFound, match="no token has the name 'bob'") as refusal:
        revoking.send([])
    assert refusal.value.next_action == "`ring-mcp tokens list` has the names."


def test_any_number_of_tokens_is_one_text() -> None:
    one, many = next(find_members(["a"], POSTGRES)), next(find_members(["a", "b"], POSTGRES))
    assert one.sql == many.sql
    assert "revoked_at IS NULL" in one.sql


def test_who_is_revoked_stays_so_since_then() -> None:
    row = {"name": "ann", "may_spend": 1, "created_at": NOW.isoformat(), "revoked_at": NOW.isoformat()}
    row |= {f"per_{each}_usd_ticks": None for each in ("call", "day", "month")}
    revoking = revoke_member("ann", NOW.replace(year=2027), SQLITE)
    next(revoking)
    with pytest.raises(StopIteration) as stop:
        revoking.send([row])
    assert stop.value.value.revoked_at == NOW
