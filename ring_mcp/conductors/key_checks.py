"""Free checks of the providers for health: does each key work, and are the configured models still served?

An answer is reused for a minute, so that frequent health checks do not become frequent requests to providers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ring_mcp.clock import Clock
from ring_mcp.conductors.report import Check, Status
from ring_mcp.errors import ProviderAuthError, ProviderError
from ring_mcp.providers.base import ChecksKey, ListsModels

REMEMBER_S = 60.0
ASK_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A provider whose key is configured. ``variable`` has the key; ``models``: those of it that are in use."""

    provider: str
    title: str
    variable: str
    own_endpoint: bool
    key: ChecksKey | None
    list: ListsModels | None
    models: Sequence[str] = ()


class KeyChecks:
    def __init__(self, asked: Sequence[Asked], clock: Clock) -> None:
        self._asked = asked
        self._clock = clock
        self._turn = asyncio.Lock()
        self._known: tuple[float, Mapping[str, Sequence[Check]]] | None = None

    async def ask(self) -> Mapping[str, Sequence[Check]]:
        """Checks by provider: its key, and models that it no longer serves. Each takes a few seconds at most."""
        # Concurrent callers wait for one check and share its answer.
        async with self._turn:
            if self._known is None or self._clock.monotonic() - self._known[0] >= REMEMBER_S:
                found = await asyncio.gather(*(_ask(each) for each in self._asked))
                checks = {each.provider: found for each, found in zip(self._asked, found, strict=True)}
                self._known = self._clock.monotonic(), checks
            return self._known[1]


def tell_missing_key(provider: str, why: str, status: Status, others: Sequence[str]) -> Check:
    """The check of a provider without a key. ``why``: the error that says so. ``status``: "ok" if the provider is not
    in use. ``others``: providers that have a key."""
    name = f"provider {provider}"
    if status == "ok":
        return Check(name=name, status=status, detail=f"not in use: {why}")
    fix = "Put the key into the server's environment or .env.local and restart it."
    if status == "error" and others:
        # An operator with one key needs no other one: that provider can be asked for everything.
        who = others[0]
        fix += f" Or have {who} asked: IMAGE_GEN_PROVIDER={who} for pictures, provider {who} in calls of clips."
    return Check(name=name, status=status, detail=why, fix=fix)


async def _ask(asked: Asked) -> list[Check]:
    name = f"provider {asked.provider}"
    if asked.key is None:
        return [Check(name=name, status="ok", detail="a key is configured")]
    try:
        async with asyncio.timeout(ASK_TIMEOUT_S):
            await asked.key.check_key()
    except ProviderAuthError as exc:
        fix = f"Put a key that works into {asked.variable}, in the server's environment or .env.local, and restart it."
        return [Check(name=name, status="error", detail=f"the key is refused: {exc.message}", fix=fix)]
    except (ProviderError, TimeoutError) as exc:
        reason = exc.message if isinstance(exc, ProviderError) else f"no answer within {ASK_TIMEOUT_S:.0f} s"
        if asked.own_endpoint:
            # Many endpoints of operators serve nothing but the models, which is no reason for a warning.
            return [
                Check(name=name, status="ok", detail=f"a key is configured; your endpoint tells no more ({reason})")
            ]
        detail = f"a key is configured; whether it works is not known: {reason}"
        return [Check(name=name, status="warning", detail=detail, fix=f"See that {asked.title} can be reached.")]
    return [Check(name=name, status="ok", detail="the key works"), *await _look_for_models(asked)]


async def _look_for_models(asked: Asked) -> list[Check]:
    """Warnings for configured models that the provider does not list; none if it gives no list: the key works."""
    if asked.list is None or asked.own_endpoint or not asked.models:
        return []
    try:
        async with asyncio.timeout(ASK_TIMEOUT_S):
            listed = await asked.list.list_models()
    except (ProviderError, TimeoutError):
        return []
    names = {name for model in listed for name in (model.name, *model.aliases)}
    return [
        Check(
            name="model",
            status="warning",
            detail=f"{asked.title} does not list {name}, which this configuration uses",
            fix="`ring-mcp presets check --live` compares all of them; configure another model.",
        )
        for name in asked.models
        # An empty list tells nothing.
        if names and name not in names
    ]
