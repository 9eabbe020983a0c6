"""Types of settings: which variables they are read from, what their text may be, how it becomes a value. Pure."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, AliasChoices, AnyHttpUrl, BaseModel, BeforeValidator, Field, SecretStr

NAME_ALONE = re.compile(r"[A-Za-z0-9_.-]{0,13}=+")
"""``alice=``. A longer text that ends so is the padding of a token."""

_BACKEND_ALIASES = {"ring-filebase": "ringbase", "ring_filebase": "ringbase", "local_storage": "local"}


FilePath = Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]
"""The same file, whichever folder a process of ours stands in."""


def env(name: str, *more: str) -> Any:
    """A field filled from the first of these variables that is set."""
    return Field(validation_alias=AliasChoices(name, *more)) if more else Field(validation_alias=name)


def variables(model: type[BaseModel]) -> dict[str, tuple[str, ...]]:
    """The fields of ``model`` that variables fill, each with the names of these, the first that counts first."""
    found = {}
    for name, field in model.model_fields.items():
        alias = field.validation_alias
        if alias is not None:
            found[name] = tuple(map(str, alias.choices)) if isinstance(alias, AliasChoices) else (str(alias),)
    return found


def secret_variables(model: type[BaseModel]) -> Iterator[str]:
    """The variables of ``model`` whose values are secrets."""
    for name, names in variables(model).items():
        if SecretStr in _types_in(model.model_fields[name].annotation):
            yield from names


def _types_in(annotation: Any) -> Iterator[Any]:
    yield annotation
    for inner in get_args(annotation):
        yield from _types_in(inner)


def lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def backend(value: object) -> object:
    lowered = lower(value)
    return _BACKEND_ALIASES.get(lowered, lowered) if isinstance(lowered, str) else lowered


def plain_url(value: object) -> object:
    """Check that it is an http(s) URL and cut trailing slashes; an AnyHttpUrl would add one.

    A user or a password in it would be printed with it, and take the place of the key.
    """
    url = AnyHttpUrl(str(value))
    if url.username is not None or url.password is not None:
        raise ValueError("must not have a user or a password in it")
    return str(value).strip().rstrip("/")


def is_in_the_clear(url: str) -> bool:
    """Whether what goes to this address goes over a network unencrypted."""
    parts = urlsplit(url.strip())
    if parts.scheme.lower() != "http":
        return False
    host = (parts.hostname or "").rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True


def slashless(value: object) -> object:
    return value.strip().strip("/") if isinstance(value, str) else value


def folders(value: object) -> object:
    return [Path(part) for part in value.split(os.pathsep) if part.strip()] if isinstance(value, str) else value


def split_list(value: object) -> object:
    return [t.strip() for t in value.split(",") if t.strip()] if isinstance(value, str) else value


def header_value(value: object) -> object:
    """A key goes into a header: surrounding blanks are a slip of the paste, anything but ASCII is a mistake."""
    if not isinstance(value, str):
        return value
    if not value.strip().isascii() or not value.strip().isprintable():
        raise ValueError("must be plain ASCII text on one line")
    return value.strip()


Names = Annotated[tuple[str, ...], BeforeValidator(split_list)]
Key = Annotated[SecretStr, BeforeValidator(header_value)]
Url = Annotated[str, BeforeValidator(plain_url)]
Usd = Annotated[Decimal, Field(ge=0, le=1_000_000_000)]
"""Beyond it a figure is a slip, and would be "Infinity" where JSON has floating-point numbers."""
