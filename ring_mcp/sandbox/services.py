"""Which services are played: one for every folder beside this that has a ``service.py``."""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ring_mcp.sandbox.drawing.studio import Studio
from ring_mcp.sandbox.state.state import SandboxState

Answer = Callable[[Request, Any], Awaitable[Response]]


@dataclass(frozen=True, kw_only=True)
class Service:
    """``path`` is where it answers, in its current version, and ``key`` what it takes for a key unless told otherwise.

    ``routes`` are all of its routes, from the root of the sandbox; ``refusals`` say how it answers its own errors.
    """

    name: str
    path: str
    key: str
    routes: Callable[[SandboxState, Studio], list[BaseRoute]]
    refusals: Mapping[type[Exception], Answer] = field(default_factory=dict)


def _services() -> dict[str, Service]:
    # Found and not listed: a service that is added is a folder, and nothing else changes.
    folders = sorted(path.parent.name for path in Path(__file__).parent.glob("*/service.py"))
    found = (importlib.import_module(f"{__package__}.{folder}.service").SERVICE for folder in folders)
    return {service.name: service for service in found}


SERVICES: Mapping[str, Service] = _services()
