"""What met which job where: counted for a whole run, over all of its worlds."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.kill.kill_world import World
from tests.weather.relay import Request

NO_JOB = "none"
AWAY = "unread"
"""Where a job stood when the ledger could not be read just then."""


@dataclass(frozen=True, kw_only=True)
class Logbook:
    """``faults`` counts by kind of request, name, and state of the job whose request it was; ``storms`` by name, and
    state of the jobs that were met."""

    faults: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    storms: Counter[tuple[str, str]] = field(default_factory=Counter)


def state_of(world: World, request: Request) -> str:
    """Where the job of this request stands by its ledger. Blocks while it is read."""
    try:
        rows = world.query(
            "SELECT id, state, provider_request_id, plan, CAST(outputs AS TEXT) AS outputs FROM media_jobs"
            " WHERE finished_at IS NULL AND state <> 'unknown'"
        )
    except Exception:  # of either database, which may be away, or not made yet
        return AWAY
    found = next((row["state"] for row in rows if _is_of(row, request)), None)
    if found is None and request.kind == "media":  # what a look has found is written when it is stored, or cannot be
        found = next((row["state"] for row in rows if row["state"] == "rendering"), None)
    return found or NO_JOB


def _is_of(row: dict[str, Any], request: Request) -> bool:
    match request.kind:
        case "paid":
            plan = row["plan"] if isinstance(row["plan"], dict) else json.loads(row["plan"])
            return bool(plan["prompt"] == request.prompt)
        case "look":
            return row["provider_request_id"] is not None and request.path.endswith(row["provider_request_id"])
        case "media":
            return request.path in row["outputs"]
        case "upload":
            return row["id"].encode() in request.body
        case _:
            return False
