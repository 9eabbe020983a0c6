"""Whether what machines share goes again: a line of ``ring-health`` where it does not."""

from __future__ import annotations

import asyncio

from ring_mcp.conductors.report import Check
from ring_mcp.errors import StorageError, StorageRefused
from ring_mcp.storage.base import Storage


async def check_sharing(storage: Storage, limit_s: float) -> list[Check]:
    """A warning, and no error: jobs go on, and what they share stays behind. Of a storage that is away the check of the
    storage tells."""
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
