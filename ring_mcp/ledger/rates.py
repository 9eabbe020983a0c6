"""Rate limits of provider accounts: token buckets in the database, shared by all processes.

A bucket is one row of times: until when its second and its minute are used up. One statement takes requests and returns
when they may leave. Only the near future is reserved, so that a process that dies takes little with it. The time is the
database's own if several machines share it.

A bucket follows a clock that is set back: if the time is earlier than when the bucket was last asked, all its times are
moved back by as much. So it is as full as before, and nobody waits for times that a clock ahead has written.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from ring_mcp.domain import Given, RateBucket, RateState, Spacing
from ring_mcp.domain.rates import LONGEST_PAUSE_S, MOST_SLOWED, RECOVERS_IN_S
from ring_mcp.ledger.rows import Dialect, encode
from ring_mcp.ledger.statements import Statement, Transaction

# Bounds by how much one statement may move a bucket on, and so how far ahead a correct one can be (``bound``).
MOST_AT_ONCE = 16
_ONE_REFUSAL_S = 2.0
"""Refusals so close together count as one: their requests were in flight at the same time."""

CLOCKS_DIFFER_S = 10.0
"""A clock that is behind by less was not set back: it was read before another process wrote the row."""


def take(
    bucket: RateBucket, spacing: Spacing, count: int, horizon_s: float, now: datetime, dialect: Dialect
) -> Transaction[Given]:
    """Take ``count`` requests, if they may leave within ``horizon_s``. ``now``: this machine's time, see ``_clock``."""
    least, most = _words(dialect)
    slowed = _slowness(dialect)
    second_s = f"(:second_s * {slowed} + :unknown_s * ({slowed} - 1))"
    minute_s = f"(:minute_s * {slowed})"

    def bound(name: str, most_s: str) -> str:
        """The time, cut to what correct clocks can have made of it: a time beyond was left by a wrong clock."""
        return f"{least}({_go_back(name)}, excluded.asked_at + {most_s})"

    second_at = bound("second_at", f":horizon_s + :second_slack_s * {slowed} + {second_s} * {MOST_AT_ONCE}")
    minute_at = bound("minute_at", f":horizon_s + :minute_slack_s * {slowed} + {minute_s} * {MOST_AT_ONCE}")
    paused_until = bound("paused_until", f"{LONGEST_PAUSE_S}")
    start_at = (
        f"{most}(excluded.asked_at, {paused_until}, {second_at} - :second_slack_s * {slowed},"
        f" {minute_at} - :minute_slack_s * {slowed})"
    )
    is_near = f"{start_at} - excluded.asked_at <= :horizon_s"
    rows = yield Statement(
        "INSERT INTO provider_rates AS rate"  # noqa: S608
        " (sandbox, account, model, asking, asked_at, start_at, second_at, minute_at, paused_until, slowed, slowed_at)"
        # The clock is read once, since clock_timestamp() advances within a statement. Without WHERE, SQLite parses
        # ON CONFLICT as the ON of a join.
        f" SELECT :sandbox, :account, :model, :asking, now_s, now_s, now_s + :second_s * :count,"
        f" now_s + :minute_s * :count, now_s, 1.0, now_s FROM (SELECT {_clock(dialect)} AS now_s) AS clock WHERE true"
        " ON CONFLICT (sandbox, account, model, asking) DO UPDATE SET asked_at = excluded.asked_at,"
        # A column only so that it can be returned: RETURNING has only the new values.
        f" start_at = {start_at},"
        f" second_at = CASE WHEN {is_near} THEN {most}({start_at}, {second_at}) + {second_s} * :count"
        f" ELSE {second_at} END,"
        f" minute_at = CASE WHEN {is_near} THEN {most}({start_at}, {minute_at}) + {minute_s} * :count"
        f" ELSE {minute_at} END,"
        # All times are written as bounded: a bound that is computed anew at each later moment would move on with it.
        f" paused_until = {paused_until}, slowed_at = {_go_back('slowed_at')}"
        " RETURNING start_at - asked_at AS wait_s",
        {
            **_name(bucket, dialect),
            "now": now.timestamp(),
            "count": float(min(count, MOST_AT_ONCE)),
            "horizon_s": horizon_s,
            "second_s": spacing.second_s,
            "second_slack_s": spacing.second_slack_s,
            "minute_s": spacing.minute_s,
            "minute_slack_s": spacing.minute_slack_s,
            "unknown_s": spacing.unknown_s,
        },
    )
    wait_s = max(0.0, float(rows[0]["wait_s"]))
    return Given(wait_s=wait_s, taken=wait_s <= horizon_s)


def slow_down(bucket: RateBucket, pause_s: float, now: datetime, dialect: Dialect) -> Transaction[None]:
    """The provider has refused a request with 429: no request for ``pause_s``, then half as many.

    ``pause_s`` is at most LONGEST_PAUSE_S.
    """
    least, most = _words(dialect)
    # In a bucket that was never slowed, ``slowed_at`` is the time of its first request, which is no refusal.
    slowed_at = _go_back("slowed_at")
    is_the_same = f"abs(excluded.asked_at - {slowed_at}) < {_ONE_REFUSAL_S} AND rate.slowed > 1"
    yield Statement(
        "INSERT INTO provider_rates AS rate"  # noqa: S608
        " (sandbox, account, model, asking, asked_at, start_at, second_at, minute_at, paused_until, slowed, slowed_at)"
        " SELECT :sandbox, :account, :model, :asking, now_s, now_s, now_s, now_s, now_s + :pause_s, 2.0, now_s"
        f" FROM (SELECT {_clock(dialect)} AS now_s) AS clock WHERE true"
        " ON CONFLICT (sandbox, account, model, asking) DO UPDATE SET asked_at = excluded.asked_at,"
        f" second_at = {_go_back('second_at')}, minute_at = {_go_back('minute_at')},"
        f" paused_until = {most}({_go_back('paused_until')}, excluded.paused_until),"
        f" slowed = CASE WHEN {is_the_same} THEN rate.slowed"
        f" ELSE {least}({MOST_SLOWED}, 2 * {_slowness(dialect)}) END,"
        f" slowed_at = CASE WHEN {is_the_same} THEN {slowed_at} ELSE excluded.asked_at END",
        {**_name(bucket, dialect), "now": now.timestamp(), "pause_s": pause_s},
    )


def select_rates(
    accounts: Collection[str] | None, sandbox: bool, now: datetime, dialect: Dialect
) -> Transaction[list[RateState]]:
    """The buckets of these accounts, or of all, as they are now."""
    of_these = "" if accounts is None else f" AND account {dialect.is_any_of('accounts')}"
    times = ", ".join(f"{_go_back(name, 'now_s')} AS {name}" for name in ("second_at", "minute_at", "paused_until"))
    rows = yield Statement(
        "SELECT account, model, asking, second_at - now_s AS second_ahead_s,"  # noqa: S608
        " minute_at - now_s AS minute_ahead_s, paused_until - now_s AS paused_s, slowed FROM"
        f" (SELECT account, model, asking, now_s, {times}, {_slowness(dialect, 'now_s')} AS slowed FROM provider_rates"
        f" AS rate, (SELECT {_clock(dialect)} AS now_s) AS clock WHERE sandbox = :sandbox{of_these}) AS bucket"
        " ORDER BY account, model, asking",
        {
            "sandbox": encode("sandbox", sandbox, dialect),
            "now": now.timestamp(),
            **({} if accounts is None else {"accounts": dialect.any_of(accounts)}),
        },
    )
    return [
        RateState(
            bucket=RateBucket(sandbox=sandbox, account=row["account"], model=row["model"], asking=row["asking"]),
            second_ahead_s=max(0.0, float(row["second_ahead_s"])),
            minute_ahead_s=max(0.0, float(row["minute_ahead_s"])),
            slowed=float(row["slowed"]),
            paused_s=max(0.0, float(row["paused_s"])),
        )
        for row in rows
    ]


def _name(bucket: RateBucket, dialect: Dialect) -> dict[str, object]:
    return {
        "sandbox": encode("sandbox", bucket.sandbox, dialect),
        "account": bucket.account,
        "model": bucket.model,
        "asking": bucket.asking,
    }


def _clock(dialect: Dialect) -> str:
    """SQL for seconds since 1970: of this machine if the ledger is its file, else of the database."""
    # Not now(), which is when the transaction began, before it waited for the row.
    return ":now" if dialect.text_times else "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"


def _words(dialect: Dialect) -> tuple[str, str]:
    return ("min", "max") if dialect.text_times else ("LEAST", "GREATEST")


def _go_back(name: str, now_s: str = "excluded.asked_at") -> str:
    """SQL for a time of the row ``rate``, moved back with a clock that was set back."""
    ahead_s = f"rate.asked_at - {now_s}"
    return f"(rate.{name} - CASE WHEN {ahead_s} > {CLOCKS_DIFFER_S} THEN {ahead_s} ELSE 0 END)"


def _slowness(dialect: Dialect, now_s: str = "excluded.asked_at") -> str:
    """SQL for how many times slower than its limits the row ``rate`` is now: one less with every RECOVERS_IN_S."""
    least, most = _words(dialect)
    # ``abs``: an older version has left buckets in which a clock ahead has dated only the refusals.
    quiet_s = f"abs({now_s} - {_go_back('slowed_at', now_s)})"
    return f"{most}(1.0, {least}({MOST_SLOWED}, rate.slowed - {quiet_s} / {RECOVERS_IN_S}))"
