"""What earlier runs have noted of the clips of a script. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from ring_mcp.domain import usd
from ring_mcp.scripted.base import Row
from ring_mcp.scripted.rows import list_superseded, row_mode

AGAIN = "it is made and paid for again"


class Known:
    """Attempts at clips, of whichever script; those of one clip are found by script and clip, or by what was asked."""

    def __init__(self, rows: Sequence[Row], request_id: str) -> None:
        self._request_id = request_id
        self._attempts = [attempt for row in rows for attempt in _attempts(row)]

    def of_key(self, key: str, clip_id: str) -> list[Row]:
        """Attempts at what this key stands for, or at a forced repetition of it: the clip's own first, newest first."""
        found = [row for row in reversed(self._attempts) if _base(row) == key]
        # sorted keeps what is equal in its order: the newest stays first among the clip's own, and among the others.
        return sorted(found, key=lambda row: not self._is_own(row, clip_id))

    def has_done(self, clip_id: str, mode: str) -> bool:
        return any(row_mode(row) == mode and row.get("status") == "done" for row in self.own(clip_id))

    def files(self, clip_id: str, mode: str) -> tuple[frozenset[str], frozenset[str]]:
        """Where takes of this clip in this mode were saved and no others, and where others were."""
        saved = [row for row in self._attempts if row.get("localPath")]
        others = {str(row["localPath"]) for row in saved if not self._is_own(row, clip_id) or row_mode(row) != mode}
        return frozenset(str(row["localPath"]) for row in saved) - others, frozenset(others)

    def own(self, clip_id: str) -> list[Row]:
        """Attempts at this clip of this script, oldest first."""
        return [row for row in self._attempts if self._is_own(row, clip_id)]

    def list_replaced(self, clip_id: str, mode: str, key: str, words: str) -> list[Row]:
        """Attempts at this clip that may be under way, and are not what it is asked for now."""
        return [
            row
            for row in self.own(clip_id)
            if row.get("status") == "pending"
            # Rows made from the ledger say so themselves; those of a manifest are looked up.
            and not row.get("settled")
            and row.get("idempotencyKey") not in (None, key)
            and (row_mode(row) == mode or row.get("wordsKey", words) != words)
        ]

    def find_paid_before(self, clip_id: str, mode: str, key: str) -> str | None:
        """What is said of a clip that is about to be paid for although there is one of its script, name and mode."""
        paid = [row for row in self.own(clip_id) if row_mode(row) == mode and _was_paid(row)]
        if not paid:
            return None
        row = paid[-1]
        if row.get("jobId") is None or _base(row) == key:
            return f"on record as {row['status']} ({row.get('url')}), and no job of this ledger: {AGAIN}"
        amounts = [row.get("billedCostUsd"), row.get("firstFrameBilledCostUsd")]
        billed_usd = sum((Decimal(str(amount)) for amount in amounts if amount is not None), Decimal(0))
        facts = [*([usd(billed_usd)] if billed_usd else []), f"job {row['jobId']}"]
        return f"paid for before ({', '.join(facts)}), and what is asked for has changed since: {AGAIN}"

    def _is_own(self, row: Row, clip_id: str) -> bool:
        # Rows of Ring's own tools need not say of which script they are.
        return row.get("id") == clip_id and row.get("pipelineRequestId") in (None, self._request_id)


def _attempts(row: Row) -> list[Row]:
    """A row and what it has superseded, each as a row of its own, oldest first."""
    identity: dict[str, Any] = {name: row.get(name) for name in ("id", "pipelineRequestId", "qualityMode")}
    return [*({**identity, **entry} for entry in list_superseded(row)), row]


def _base(row: Row) -> str:
    # --force puts a + and chance behind a key: what is before it still says which clip it is.
    return str(row.get("idempotencyKey", "")).split("+")[0]


def _was_paid(row: Row) -> bool:
    # Under way counts as paid: its money is reserved, and the provider may bill it.
    is_open = row.get("status") == "pending" and row.get("jobId") is not None
    return is_open or row.get("status") == "done" or bool(row.get("billedCostUsd"))
