"""Types of settings: what a variable's text may be, and how it becomes a value. Pure."""

from __future__ import annotations

import os
import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated

from pydantic import AnyHttpUrl, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

NAME_ALONE = re.compile(r"[A-Za-z0-9_.-]{0,13}=+")
"""``alice=``. A longer text that ends so is the padding of a token."""

_BACKEND_ALIASES = {"ring-filebase": "ringbase", "ring_filebase": "ringbase", "local_storage": "local"}


def lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def backend(value: object) -> object:
    lowered = lower(value)
    return _BACKEND_ALIASES.get(lowered, lowered) if isinstance(lowered, str) else lowered


def plain_url(value: object) -> object:
    """Check that it is an http(s) URL and cut trailing slashes; an AnyHttpUrl would add one."""
    AnyHttpUrl(str(value))
    return str(value).strip().rstrip("/")


def slashless(value: object) -> object:
    return value.strip().strip("/") if isinstance(value, str) else value


def folders(value: object) -> object:
    return [Path(part) for part in value.split(os.pathsep) if part.strip()] if isinstance(value, str) else value


def listed(value: object) -> object:
    return [t.strip() for t in value.split(",") if t.strip()] if isinstance(value, str) else value


def header_value(value: object) -> object:
    """A key goes into a header: surrounding blanks are a slip of the paste, anything but ASCII is a mistake."""
    if not isinstance(value, str):
        return value
    if not value.strip().isascii() or not value.strip().isprintable():
        raise ValueError("must be plain ASCII text on one line")
    return value.strip()


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(listed)]
Key = Annotated[SecretStr, BeforeValidator(header_value)]
Url = Annotated[str, BeforeValidator(plain_url)]
Usd = Annotated[Decimal, Field(ge=0, le=1_000_000_000)]
"""Beyond it a figure is a slip, and would be "Infinity" where JSON has floating-point numbers."""
