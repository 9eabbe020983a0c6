"""Whether files that machines share can be removed again: a warning in ``ring-health`` if they cannot."""

from __future__ import annotations

import asyncio

from ring_mcp.conductors.report import Check
from ring_mcp.errors import StorageError, StorageRefused
from ring_mcp.storage.base import Storage


async def check_sharing(storage: Storage, limit_s: float) -> list[Check]:
    """A warning and no error, since jobs go on and only their shared files stay. A storage that is away is reported by
    its own check."""
    if storage.shared is None:
        return []
    try:
        async with asyncio.timeout(limit_s):
            await storage.shared.ping()
    except StorageRefused as exc:
        return [Check(name="shared files", status="warning", detail=exc.message, fix=exc.next_action or None)]
    except (StorageError, TimeoutError):
        pass
    return []
