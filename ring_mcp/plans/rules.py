"""Rules that every plan shares: what a prompt and a purpose may be, which model lives, which values it takes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import TypeVar

from ring_mcp.errors import InvalidRequest, ModelRetired
from ring_mcp.presets import Model, ProviderName

M = TypeVar("M", bound=Model)

MAX_PURPOSE_CHARS = 100


def checked_prompt(prompt: str, max_chars: int, field: str = "prompt") -> str:
    """The prompt without surrounding blanks. Raises InvalidRequest if nothing is left or it is too long."""
    prompt = prompt.strip()
    if not prompt:
        raise InvalidRequest(f"{field} is required")
    if len(prompt) > max_chars:
        raise InvalidRequest(f"{field} may have {max_chars} characters at most, got {len(prompt)}")
    return prompt


def checked_purpose(purpose: str | None, default: str, warnings: list[str]) -> str:
    """``purpose`` as one safe path segment.

    Anything that looks like a path is refused; other characters outside A-Z a-z 0-9 _ - become ``_``, with a warning.
    """
    if purpose is None or not purpose.strip():
        return default
    if "/" in purpose or "\\" in purpose or ".." in purpose or len(purpose) > MAX_PURPOSE_CHARS:
        raise InvalidRequest(
            f"purpose must be one path segment of at most {MAX_PURPOSE_CHARS} letters, digits, '_' and '-', like 'og'"
        )
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in purpose.strip())
    if safe != purpose:
        warnings.append(f"purpose is stored as {safe!r}")
    return safe


def living_model(
    requested: str, models: Mapping[str, M], provider: ProviderName, today: date, field: str = "model"
) -> tuple[str, M, list[str]]:
    """The model that will really be asked, its facts, and a warning if that is the successor of a retired one.

    Raises InvalidRequest for an unknown name, ModelRetired for a retired one that presets.json does not redirect.
    """
    model = models.get(requested)
    if model is None or model.provider != provider:
        living = [name for name, m in models.items() if m.provider == provider and not m.is_retired(today)]
        raise InvalidRequest(f"{field} must be one of {listed(living)} for provider {provider}, got {requested!r}")
    if not model.is_retired(today):
        return requested, model, []
    assert model.replaced_by is not None, "presets.json is checked for this"
    if not model.redirect:
        raise ModelRetired(
            f"model {requested} was retired by its provider on {model.retires_on}; use {model.replaced_by} instead"
        )
    warning = f"{requested} was retired on {model.retires_on}: {model.replaced_by} serves it now"
    return model.replaced_by, models[model.replaced_by], [warning]


def choice(field: str, value: str, allowed: Iterable[str], model: str) -> str:
    """``value`` if the model takes it. Raises InvalidRequest with what it takes."""
    value, allowed = value.strip(), tuple(allowed)
    if value not in allowed:
        raise InvalidRequest(f"{field} must be one of {listed(allowed)} for {model}, got {value!r}")
    return value


def listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def counted(most: Mapping[str, int]) -> str:
    """``5 with grok-imagine-image-2.0, 3 with grok-imagine-image``."""
    return ", ".join(f"{count} with {name}" for name, count in most.items())
