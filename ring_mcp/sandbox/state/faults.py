"""Which faults are armed, and which request the next one hits."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from ring_mcp.sandbox.state.fault_kinds import FAULT_KINDS, FaultKind, Option, Stage
from ring_mcp.sandbox.state.settings import SandboxRefusal

UNTIL_CLEARED = -1

_BESIDE = ("/xai/v1/api-key",)
"""What clients ask beside their work, whenever they like: only a fault that names the path hits it."""

_GOOGLE = ("google", "provider")
# The first that fits counts: what is narrow stands before what would swallow it.
_CLASSES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "POST",
        r"/xai/v1/images/(generations|edits)$",
        ("xai", "provider", "create", "job_create", "image_create", "image_result"),
    ),
    ("POST", r"/xai/v1/videos/(generations|edits|extensions)$", ("xai", "provider", "create", "job_create")),
    ("GET", r"/xai/v1/images/[^/]+$", ("xai", "provider", "poll", "image_result")),
    ("GET", r"/xai/v1/videos/[^/]+$", ("xai", "provider", "poll", "video_poll")),
    ("GET", r"/xai/", ("xai", "provider")),
    ("POST", r"/google/v1(beta)?/models/[^/]+:(generateContent|predict)$", (*_GOOGLE, "create", "google_image")),
    ("POST", r"/google/v1(beta)?/interactions$", (*_GOOGLE, "create", "job_create")),
    ("GET", r"/google/v1(beta)?/interactions/", (*_GOOGLE, "poll", "video_poll")),
    # Not "provider": faults of JSON answers have nothing to bend in a clip.
    ("GET", r"/google/v1(beta)?/files/", ("google", "media")),
    ("", r"/google/", _GOOGLE),
    ("GET", r"/media/|/ringbase/files/", ("media",)),
    ("POST", r"/ringbase/api/v1/upload$", ("ringbase", "upload")),
    ("", r"/ringbase/api/", ("ringbase",)),
)


def classify(method: str, path: str) -> frozenset[str]:
    """The classes a request belongs to. The sandbox's own switches belong to none, so no fault locks them out."""
    if path.startswith("/control"):
        return frozenset()
    for wanted, pattern, classes in _CLASSES:
        if wanted in ("", method) and re.match(pattern, path):
            return frozenset(("any", *classes))
    return frozenset(("any",))


@dataclass
class Fault:
    """A fault that is armed. ``times`` counts down, -1 stays; ``after`` lets that many matching requests pass."""

    kind: FaultKind
    id: int
    path: str = ""
    method: str | None = None
    times: int = 1
    after: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    hits: int = 0

    def __getitem__(self, option: str) -> Any:
        return self.options[option]

    @property
    def name(self) -> str:
        return self.kind.name

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "fault": self.name,
            "path": self.path,
            "method": self.method,
            "times": self.times,
            "after": self.after,
            "hits": self.hits,
            "options": self.options,
        }


class Faults:
    """The armed faults, in the order they were armed; the first that fits a request takes it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self._armed: list[Fault] = []

    def add(
        self, name: str, *, path: str = "", method: str | None = None, times: int = 1, after: int = 0, **options: Any
    ) -> Fault:
        """Arms a fault.

        Raises:
            SandboxRefusal: the name or an option is unknown, or a value has the wrong type.
        """
        kind = FAULT_KINDS.get(name)
        if kind is None:
            raise SandboxRefusal(f"unknown fault {name!r}; allowed: {', '.join(sorted(FAULT_KINDS))}")
        if times == 0 or times < UNTIL_CLEARED or after < 0:
            raise SandboxRefusal("times is 1 or more, or -1 until cleared; after is 0 or more")
        chosen = _options(kind, options)
        with self._lock:
            fault = Fault(kind, next(self._ids), path, method and method.upper(), times, after, chosen)
            self._armed.append(fault)
        return fault

    def take(self, stage: Stage, method: str, path: str, names: Collection[str] | None = None) -> Fault | None:
        """The fault that hits this request at this stage, used up by one."""
        classes = classify(method, path)
        with self._lock:
            for fault in self._armed:
                if fault.kind.stage != stage or fault.kind.where not in classes or fault.times == 0:
                    continue
                if names is not None and fault.name not in names:
                    continue
                if not fault.path and path in _BESIDE:
                    continue
                if fault.path not in path or fault.method not in (None, method):
                    continue
                # Counted here, after all the rest: only requests that it could have hit are let pass.
                if fault.after > 0:
                    fault.after -= 1
                    continue
                fault.hits += 1
                # Not below 0, for -1 stays until it is cleared.
                fault.times -= fault.times > 0
                return fault
        return None

    def give_back(self, fault: Fault) -> None:
        """Undoes ``take``: the answer turned out to be one that the fault does not apply to."""
        with self._lock:
            fault.hits -= 1
            fault.times += fault.times >= 0

    def list_armed(self) -> list[Fault]:
        """Every fault since the last clearing, the used-up ones (``times`` 0) as well."""
        with self._lock:
            return list(self._armed)

    def clear(self) -> None:
        with self._lock:
            self._armed.clear()


def _options(kind: FaultKind, given: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(given) - set(kind.options))
    if unknown:
        allowed = ", ".join(["path", "method", "times", "after", *sorted(kind.options)])
        raise SandboxRefusal(f"fault {kind.name} has no option {', '.join(unknown)}; allowed: {allowed}")
    for name, value in given.items():
        _check_type(kind, name, kind.options[name], value)
    return {name: given.get(name, option.default) for name, option in kind.options.items()}


def _check_type(kind: FaultKind, name: str, option: Option, value: object) -> None:
    if value is None and option.default is None:
        return
    fits = isinstance(value, option.types)
    # To Python a bool is an int.
    if isinstance(value, bool) and bool not in option.types and object not in option.types:
        fits = False
    if not fits:
        wanted = " or ".join(t.__name__ for t in option.types)
        raise SandboxRefusal(f"option {name} of fault {kind.name} is {wanted}, not {type(value).__name__}")
