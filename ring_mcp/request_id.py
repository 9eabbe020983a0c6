"""The id of the HTTP request that is being answered, the caller's own where it is a sound one: for rows and logs."""

from __future__ import annotations

import re
import uuid
from contextvars import ContextVar

_CURRENT: ContextVar[str | None] = ContextVar("ring_mcp_request_id", default=None)
# It stands in log lines and rows: nothing in it may break a line or be of any length.
_SOUND = re.compile(r"[A-Za-z0-9._:-]{1,64}")


def begin_request(given: str) -> str:
    """From here on, and in all tasks that are begun from here, the request has this id: ``given``, or a new one."""
    request_id = given if _SOUND.fullmatch(given) else uuid.uuid4().hex[:12]
    _CURRENT.set(request_id)
    return request_id


def current_request_id() -> str | None:
    return _CURRENT.get()
