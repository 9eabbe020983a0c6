"""How long and how large clips and stills of a script may be: by what models make, an operator's own included. Pure.

The limits come with the context of a reading, for a file knows of no registry; without them those of presets.json hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from ring_mcp.domain.choices import choose
from ring_mcp.domain.fields import Name, seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Makes:
    """What the models that can be called make at most. A clip is held to its own one when it is planned."""

    longest_s: int = 15
    image_sizes: tuple[str, ...] = ("1k", "1.5k", "2k")
    clip_sizes: tuple[str, ...] = ("360p", "480p", "720p", "1080p", "4k")


MAKES = Makes()
"""As presets.json is shipped; an operator's own file may have others."""


def _find_limits(info: ValidationInfo) -> Makes:
    found: Makes = (info.context or {}).get("makes", MAKES)
    return found


def _check_length(duration_s: int, info: ValidationInfo) -> int:
    if duration_s > (most_s := _find_limits(info).longest_s):
        raise ValueError(f"must be at most {most_s}")
    return duration_s


def _one_of(size: str, sizes: tuple[str, ...]) -> str:
    found = choose(size, sizes)
    if found is None:
        # As pydantic words it of the choices that are the same everywhere.
        *most, last = map(repr, sizes)
        raise ValueError(f"must be one of {', '.join(most)}{' or ' if most else ''}{last}")
    return found


Seconds = Annotated[
    int,
    Field(ge=1, json_schema_extra={"maximum": MAKES.longest_s}),
    BeforeValidator(seconds),
    AfterValidator(_check_length),
]
ImageResolution = Annotated[
    Name,
    AfterValidator(lambda size, info: _one_of(size, _find_limits(info).image_sizes)),
    Field(json_schema_extra={"enum": list(MAKES.image_sizes)}),
]
VideoResolution = Annotated[
    Name,
    AfterValidator(lambda size, info: _one_of(size, _find_limits(info).clip_sizes)),
    Field(json_schema_extra={"enum": list(MAKES.clip_sizes)}),
]
