"""Rules that every plan shares: what a prompt and a purpose may be, which model lives, which values it takes. Pure."""

from __future__ import annotations

import hashlib
import itertools
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import TypeVar

from ring_mcp.domain import PriceLine
from ring_mcp.domain.choices import as_ratio, choose
from ring_mcp.errors import InvalidRequest, ModelRetired
from ring_mcp.presets import Model
from ring_mcp.presets_prices import TokenKind
from ring_mcp.providers.vendors import ProviderName

M = TypeVar("M", bound=Model)
V = TypeVar("V")

Variables = Mapping[str, Mapping[str, str]]
"""By provider and setting: the variable that an operator sets it with."""

MAX_PURPOSE_CHARS = 100
MAX_SHOWN_CHARS = 60


def check_prompt(prompt: str, field: str = "prompt") -> str:
    """The prompt without surrounding blanks. Raises InvalidRequest if nothing is left."""
    prompt = prompt.strip()
    if not prompt:
        raise InvalidRequest(f"{field} is required")
    return prompt


def check_length(prompt: str, name: str, model: Model, field: str = "prompt") -> None:
    """Raises InvalidRequest for a prompt that is longer than the model takes."""
    if len(prompt) > model.max_prompt_chars:
        raise InvalidRequest(
            f"{field} may have {model.max_prompt_chars} characters at most for {name}, got {len(prompt)}"
        )


def check_purpose(purpose: str | None, default: str, warnings: list[str]) -> str:
    """``purpose`` as one safe path segment.

    Anything that looks like a path is refused. Other characters outside A-Z a-z 0-9 _ - become ``_`` or lose their
    accents, with a warning; where letters of other scripts went, a hash keeps what is left apart from other purposes.
    """
    if purpose is None or not purpose.strip():
        return default
    purpose = purpose.strip()
    # Refused and not mended: whoever writes a path would look for the file there.
    if "/" in purpose or "\\" in purpose or ".." in purpose or len(purpose) > MAX_PURPOSE_CHARS:
        raise InvalidRequest(
            f"purpose must be one path segment of at most {MAX_PURPOSE_CHARS} letters, digits, '_' and '-', like 'og'"
        )
    plain = "".join(c for c in unicodedata.normalize("NFKD", purpose) if not unicodedata.combining(c))
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in plain)
    if any(c.isalnum() and not c.isascii() for c in plain):
        left = re.sub(r"__+", "_", safe).strip("_-")
        safe = f"{left or default}-{hashlib.sha256(purpose.encode()).hexdigest()[:8]}"
    if safe != purpose:
        warnings.append(f"purpose is stored as {safe!r}")
    return safe


def choose_model(
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
    named = model_named(requested, models)
    if named is None or models[named].provider != provider:
        # Not offered: the next call would be refused with it, or be served by another model.
        gone = {name for name, m in models.items() if m.is_retired(today) or m.is_redirected(today)}
        by_provider: dict[ProviderName, list[str]] = {provider: []}
        for name, m in models.items():
            if name not in gone:
                by_provider.setdefault(m.provider, []).append(name)
        # Those of the others as well: a provider follows from its model's name.
        offers = [f"{join_names(living)} for provider {who}" for who, living in by_provider.items() if living]
        raise InvalidRequest(f"{field} must be one of {', or '.join(offers)}, got {show(requested)}")
    requested, model = named, models[named]
    if not model.is_retired(today) and not model.is_redirected(today):
        return requested, model, []
    if own_endpoint and model.own_endpoint:
        warning = f"{requested} was retired by its provider on {model.retires_on}: your own endpoint is asked for it"
        return requested, model, [warning]
    assert model.replaced_by is not None, "presets.json is checked for this"
    if not model.redirect:
        named = "model" if field in ("model", "imageModel") else f"{field}: model"
        raise ModelRetired(
            f"{named} {requested} was retired by its provider on {model.retires_on}; use {model.replaced_by} instead"
        )
    goes = "was retired" if model.is_retired(today) else "will be retired"
    warning = f"{requested} {goes} on {model.retires_on}: {model.replaced_by} serves it now"
    return model.replaced_by, models[model.replaced_by], [warning]


def doubt(model: Model, *facts: str) -> str:
    """What a refusal adds that rests on facts of ``model`` which nobody has confirmed; nothing otherwise."""
    return " (this bound is unsure: see unsure in presets.json)" if model.is_unsure(*facts) else ""


def choice(field: str, value: str, allowed: Iterable[str], model: str) -> str:
    """What ``value`` spells of what the model takes. Raises InvalidRequest with all of that."""
    allowed = tuple(allowed)
    found = choose(value, allowed)
    if found is None:
        raise InvalidRequest(f"{field} must be one of {join_names(allowed)} for {model}, got {show(value)}")
    return found


def ratio(value: str, allowed: Iterable[str], model: str, field: str = "aspectRatio") -> str:
    """An aspect ratio that the model takes. Raises InvalidRequest with what it takes, the nearest ones first named."""
    allowed, value = tuple(allowed), as_ratio(value)
    try:
        return choice(field, value, allowed, model)
    except InvalidRequest as exc:
        wanted = ratio_of(value)
        if wanted is None:
            raise
        known = {each: shape for each in allowed if (shape := ratio_of(each)) is not None}
        # Of a size in pixels, mostly, which is not taken for a shape: it would come out in another size.
        if same := [each for each in known if math.isclose(known[each], wanted)]:
            raise InvalidRequest(f"{exc.message}, which is {same[0]}") from None
        # By factor and not by difference: 1:2 is as far from square as 2:1 is.
        nearest = sorted(known, key=lambda each: abs(math.log(known[each] / wanted)))[:2]
        raise InvalidRequest(f"{exc.message}; the nearest are {' and '.join(nearest)}") from None


def ratio_of(value: str) -> float | None:
    """``16:9``, in any spelling, as a number; None for what is no ratio."""
    found = re.fullmatch(r"(\d{1,4}(?:\.\d{1,4})?):(\d{1,4}(?:\.\d{1,4})?)", as_ratio(value), re.ASCII)
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
    # Too many rather than too few: it is reserved, and what is billed sets it right.
    tokens = len(prompt.encode()) * calls
    return [PriceLine(what="prompt, token at most", unit_usd=usd / 10**6, count=Decimal(tokens), as_of=as_of)]


def provider_named(wanted: str, known: Iterable[ProviderName], field: str = "provider") -> ProviderName:
    """The provider of that name. Raises InvalidRequest with the names there are."""
    known = tuple(known)
    found = choose(wanted, known)
    for provider in known:
        if provider == found:
            return provider
    raise InvalidRequest(f"{field} must be one of {join_names(known)}, got {show(wanted)}")


def model_named(wanted: str, models: Mapping[str, M]) -> str | None:
    """The model that ``wanted`` spells, also behind its provider's name, its family's as routers write it
    (``gemini/gemini-3-pro-image``), or the prefix ``models/``."""
    *_, whose, name = ["", *wanted.rsplit("/", 2)]
    found = choose(name, models)
    if found is None or not whose:
        return found
    return found if choose(whose, (models[found].provider, "models", found.split("-")[0])) else None


def provider_of(wanted: str | None, models: Mapping[str, M]) -> ProviderName | None:
    """Whose the model of that name is; None for none and for one that nobody has."""
    found = model_named(wanted or "", models)
    return None if found is None else models[found].provider


def whose(provider: ProviderName, model: str, field: str = "provider") -> str:
    """The warning for a provider that only a model's name has said: another one than usual is another bill."""
    return f"{field} is {provider}, whose model {model} is"


def show(value: str) -> str:
    """A rejected choice as a text may repeat it."""
    value = value.strip()
    return repr(value if len(value) <= MAX_SHOWN_CHARS else f"{value[:MAX_SHOWN_CHARS]}…")


def takers(models: Mapping[str, M], feature: Callable[[M], V]) -> dict[str, V]:
    """The models here to stay that have ``feature``, with its value: what descriptions and refusals name."""
    found = {name: feature(model) for name, model in models.items() if model.retires_on is None}
    return {name: value for name, value in found.items() if value}


def list_living(models: Mapping[str, M]) -> tuple[str, ...]:
    """The models here to stay."""
    return tuple(takers(models, lambda model: True))


def values(models: Mapping[str, M], feature: Callable[[M], Iterable[str]]) -> tuple[str, ...]:
    """What any of the models here to stay takes, each once."""
    return tuple(dict.fromkeys(each for found in takers(models, feature).values() for each in found))


def join_names(names: Iterable[str]) -> str:
    return ", ".join(names)


def any_of(names: Iterable[str]) -> str:
    """``a``, ``a or b``, ``a, b or c``."""
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def join_counts(most: Mapping[str, int]) -> str:
    """``5 with one-model, 3 with another``; ``14 with one or another`` where they agree."""
    # Neighbours alone: sorted, the list would lose the order of the registry.
    by_count = itertools.groupby(most, most.__getitem__)
    return ", ".join(f"{count} with {any_of(names)}" for count, names in by_count)
