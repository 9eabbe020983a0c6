"""When the token was made by which the call came that is answered: of one name, no two tokens have the same moment.

A token is believed for a moment after it was looked up (``conductors.team``), and a call may wait for a person. The
transaction that spends compares this with the token that stands then, so that an old one spends nothing once its name
has a new one.
"""

from __future__ import annotations

from contextvars import ContextVar
from datetime import datetime

_CURRENT: ContextVar[datetime | None] = ContextVar("ring_mcp_token_mark", default=None)


def mark_token(made_at: datetime | None) -> None:
    """From here on, and in all tasks that are begun from here, calls are by this token; None: by none of the ledger."""
    _CURRENT.set(made_at)


def current_token_mark() -> datetime | None:
    return _CURRENT.get()
