"""The team in the ledger: who may call, by the hash of a token, and what each may spend."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from typing import Any

from ring_mcp.domain import Caps, Member
from ring_mcp.errors import InvalidRequest, NotFound
from ring_mcp.ledger.rows import Dialect, ticks_to_usd, usd_to_ticks
from ring_mcp.ledger.statements import Row, Statement, Transaction

ACTORS_CHANNEL = "ring_mcp_actors"
"""Where PostgreSQL tells that this table was written."""


def find_member(name: str, dialect: Dialect, *, hold: bool = False) -> Transaction[Member | None]:
    """The member of that name, revoked or not; None if there is none. ``hold``: a revocation waits until this
    transaction has ended."""
    lock = " FOR SHARE" if hold and not dialect.text_times else ""  # in SQLite a writer is alone anyway
    rows = yield Statement(f"SELECT * FROM ring_mcp_actors WHERE name = :name{lock}", {"name": name})  # noqa: S608
    return _read(rows[0], dialect) if rows else None


def find_members(token_hashes: Collection[str], dialect: Dialect) -> Transaction[dict[str, Member]]:
    """The members by the hashes of their tokens. Unknown and revoked tokens are left out."""
    rows = yield Statement(
        f"SELECT * FROM ring_mcp_actors WHERE token_sha256 {dialect.is_any_of('hashes')} AND revoked_at IS NULL",  # noqa: S608
        {"hashes": dialect.any_of(token_hashes)},
    )
    return {str(row["token_sha256"]): _read(row, dialect) for row in rows}


def has_members() -> Transaction[bool]:
    rows = yield Statement("SELECT name FROM ring_mcp_actors LIMIT 1")
    return bool(rows)


def list_members(dialect: Dialect) -> Transaction[list[Member]]:
    rows = yield Statement("SELECT * FROM ring_mcp_actors ORDER BY name")
    return [_read(row, dialect) for row in rows]


def add_member(member: Member, token_hash: str, dialect: Dialect) -> Transaction[None]:
    """Add a member, or a revoked one again with new values. Raises InvalidRequest if the name has a valid token."""
    values = {
        "name": member.name,
        "token_sha256": token_hash,
        "may_spend": int(member.may_spend) if dialect.text_times else member.may_spend,
        "per_call_usd_ticks": usd_to_ticks(member.caps.per_call_usd),
        "per_day_usd_ticks": usd_to_ticks(member.caps.per_day_usd),
        "per_month_usd_ticks": usd_to_ticks(member.caps.per_month_usd),
        "created_at": dialect.time(member.created_at),
    }
    sets = ", ".join(f"{name} = excluded.{name}" for name in values)
    rows = yield Statement(
        f"INSERT INTO ring_mcp_actors ({', '.join(values)}) VALUES ({', '.join(f':{name}' for name in values)})"  # noqa: S608
        # In the statement itself: if two add one name at once, one is refused, and no valid token is overwritten.
        f" ON CONFLICT (name) DO UPDATE SET {sets}, revoked_at = NULL"
        " WHERE ring_mcp_actors.revoked_at IS NOT NULL RETURNING name",
        values,
    )
    if not rows:
        raise InvalidRequest(
            f"{member.name} has a token already",
            next_action=f"`ring-mcp tokens revoke {member.name}` ends it; then add it again.",
        )


def revoke_member(name: str, at: datetime, dialect: Dialect) -> Transaction[Member]:
    """Revoke a token; doing it twice changes nothing. Raises NotFound if nobody has that name."""
    member = yield from find_member(name, dialect)
    if member is None:
        raise NotFound(f"no token has the name {name!r}", next_action="`ring-mcp tokens list` has the names.")
    # The first time stays: it says since when nothing more was spent.
    if member.revoked_at is not None:
        return member
    yield Statement(
        "UPDATE ring_mcp_actors SET revoked_at = :at WHERE name = :name AND revoked_at IS NULL",
        {"name": name, "at": dialect.time(at)},
    )
    return replace(member, revoked_at=at)


def _read(row: Row, dialect: Dialect) -> Member:
    def usd(name: str) -> Any:
        return ticks_to_usd(row[f"{name}_usd_ticks"])

    created_at = dialect.read_time(row["created_at"])
    assert created_at is not None, "the column is NOT NULL"
    return Member(
        name=str(row["name"]),
        may_spend=bool(row["may_spend"]),
        caps=Caps(per_call_usd=usd("per_call"), per_day_usd=usd("per_day"), per_month_usd=usd("per_month")),
        created_at=created_at,
        revoked_at=dialect.read_time(row["revoked_at"]),
    )
