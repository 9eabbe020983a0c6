"""The list of vendors. The first is the default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias

from ring_mcp.providers.base import Vendor
from ring_mcp.providers.google.vendor import GOOGLE
from ring_mcp.providers.xai.vendor import XAI

VENDORS: tuple[Vendor, ...] = (
    XAI,
    GOOGLE,
)

BY_NAME: Mapping[str, Vendor] = {vendor.name: vendor for vendor in VENDORS}

# Type checkers do not take a Literal that is made from a value; pydantic does.
if TYPE_CHECKING:
    ProviderName: TypeAlias = str
else:
    ProviderName = Literal[tuple(BY_NAME)]
"""The name of a vendor, as a type that pydantic checks and writes into schemas."""


def title_of(name: str) -> str:
    """A vendor's name as people write it. A row may name a vendor that is no longer listed."""
    return BY_NAME[name].title if name in BY_NAME else name


def is_anybodys_file_id(reference: str) -> bool:
    """Whether ``reference`` means a file that lies with a vendor, whoever it is."""
    return any(is_file_id(name, reference) for name in BY_NAME)


def is_file_id(name: str, reference: str) -> bool:
    """Whether ``reference`` means a file that lies with the vendor of that name already."""
    pattern = BY_NAME[name].file_id if name in BY_NAME else None
    return pattern is not None and pattern.fullmatch(reference) is not None
