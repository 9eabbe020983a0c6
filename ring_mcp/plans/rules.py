"""Rules that every plan shares: what a prompt and a purpose may be, which model lives, which values it takes. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import TypeVar

from ring_mcp.domain import PriceLine
from ring_mcp.errors import InvalidRequest, ModelRetired
from ring_mcp.presets import Model, TokenKind
from ring_mcp.providers.vendors import ProviderName

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
    requested: str,
    models: Mapping[str, M],
    provider: ProviderName,
    today: date,
    *,
    field: str = "model",
    own_endpoint: bool = False,
) -> tuple[str, M, list[str]]:
    """The model that will really be asked, its facts, and a warning if that is the successor of one that goes.

    ``own_endpoint``: the operator has pointed this provider to an endpoint of their own.

    Raises InvalidRequest for an unknown name, ModelRetired for a retired one that presets.json does not redirect.
    """
    model = models.get(requested)
    if model is None or model.provider != provider:
        gone = {name for name, m in models.items() if m.is_retired(today) or m.is_redirected(today)}
        living = [name for name, m in models.items() if m.provider == provider and name not in gone]
        raise InvalidRequest(f"{field} must be one of {listed(living)} for provider {provider}, got {requested!r}")
    if not model.is_retired(today) and not model.is_redirected(today):
        return requested, model, []
    if own_endpoint and model.own_endpoint:
        warning = f"{requested} was retired by its provider on {model.retires_on}: your own endpoint is asked for it"
        return requested, model, [warning]
    assert model.replaced_by is not None, "presets.json is checked for this"
    if not model.redirect:
        raise ModelRetired(
            f"model {requested} was retired by its provider on {model.retires_on}; use {model.replaced_by} instead"
        )
    goes = "was retired" if model.is_retired(today) else "will be retired"
    warning = f"{requested} {goes} on {model.retires_on}: {model.replaced_by} serves it now"
    return model.replaced_by, models[model.replaced_by], [warning]


def choice(field: str, value: str, allowed: Iterable[str], model: str) -> str:
    """``value`` if the model takes it. Raises InvalidRequest with what it takes."""
    value, allowed = value.strip(), tuple(allowed)
    if value not in allowed:
        raise InvalidRequest(f"{field} must be one of {listed(allowed)} for {model}, got {value!r}")
    return value


def ratio(value: str, allowed: Iterable[str], model: str) -> str:
    """An aspect ratio that the model takes. Raises InvalidRequest with what it takes, the nearest ones first named."""
    allowed = tuple(allowed)
    try:
        return choice("aspectRatio", value, allowed, model)
    except InvalidRequest as exc:
        wanted = _width_to_height(value)
        if wanted is None:
            raise
        known = {each: shape for each in allowed if (shape := _width_to_height(each)) is not None}
        nearest = sorted(known, key=lambda each: abs(math.log(known[each] / wanted)))[:2]
        raise InvalidRequest(f"{exc.message}; the nearest are {' and '.join(nearest)}") from None


def _width_to_height(value: str) -> float | None:
    """``16:9`` as a number; None for what is no ratio."""
    found = re.fullmatch(r"\s*(\d{1,4}(?:\.\d{1,4})?):(\d{1,4}(?:\.\d{1,4})?)\s*", value, re.ASCII)
    if found is None or not float(found[1]) or not float(found[2]):
        return None
    return float(found[1]) / float(found[2])


def prompt_price(
    prompt: str, million_tokens_usd: Mapping[TokenKind, Decimal], calls: int, as_of: str
) -> list[PriceLine]:
    """What a provider that bills tokens takes for the prompt, at most; nothing for others.

    No token is shorter than a byte; digits and rare signs have one token each.
    """
    usd = million_tokens_usd.get("input")
    if not usd:
        return []
    tokens = len(prompt.encode()) * calls
    return [PriceLine(what="prompt, token at most", unit_usd=usd / 10**6, count=Decimal(tokens), as_of=as_of)]


def provider_named(wanted: str, known: Iterable[ProviderName]) -> ProviderName:
    """The provider of that name. Raises InvalidRequest with the names there are."""
    known = tuple(known)
    for provider in known:
        if provider == wanted.strip().lower():
            return provider
    raise InvalidRequest(f"provider must be one of {listed(known)}, got {wanted!r}")


def listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def any_of(names: Iterable[str]) -> str:
    """``a``, ``a or b``, ``a, b or c``."""
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def counted(most: Mapping[str, int]) -> str:
    """``5 with one-model, 3 with another``."""
    return ", ".join(f"{count} with {name}" for name, count in most.items())
