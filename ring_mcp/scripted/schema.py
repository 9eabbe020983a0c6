"""A scripted request: many clips in one file, schema 1.0. Everything that is wrong with one is told at once.

Raises InvalidRequest only. Nothing here is compiled or spent: see ``compiler``.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ring_mcp.domain.choices import Spellings, as_ratio, strip_edges
from ring_mcp.domain.fields import (
    PROSE,
    Address,
    Key,
    Name,
    ShortText,
    Strict,
    Text,
    as_name,
    require_spelling,
    sendable,
    tidy,
)
from ring_mcp.domain.thumbnails import ThumbnailFields
from ring_mcp.errors import InvalidRequest
from ring_mcp.providers.vendors import VENDORS, ProviderName
from ring_mcp.scripted.makes import MAKES, ImageResolution, Makes, Seconds, VideoResolution
from ring_mcp.scripted.reading import json_object, read_limited, validate

KNOWN_VERSION = "1.0"
_AS_A_NUMBER = (1, "1")
PLACEHOLDER = re.compile(r"\{\{([^{}]*)\}\}")
"""Blanks in it are stripped where it is read: three ways to take a blank are a minute for ten thousand of them."""

_IN_SINGLE_BRACES = re.compile(r"(?<!\{)\{\s*([A-Za-z0-9_-]{1,60})\s*\}(?!\})")
_MAX_SHOWN_CHARS = 60
_MAX_SHOWN_IDS = 20
MAX_PLACEHOLDERS = 100
"""Of one text. Each is looked for in the whole cast, and stands for a whole description."""


def _in_cast(member: str, info: ValidationInfo) -> str:
    """The ids of the whole cast come with the context: only the file as a whole knows them."""
    cast = (info.context or {}).get("cast")
    # Read by itself, without its file. The compiler looks for the member again.
    if cast is None:
        return member
    found: str | None = cast.choose(member)
    if found is None:
        raise ValueError(f"{member[:_MAX_SHOWN_CHARS]!r} is not in the cast ({say_cast(cast)})")
    return found


def say_cast(cast: Spellings) -> str:
    """Its ids, as far as a text has room for them."""
    shown = ", ".join(islice(cast.allowed, _MAX_SHOWN_IDS))
    further = len(cast.allowed) - _MAX_SHOWN_IDS
    return f"{shown} and {further} more" if further > 0 else shown or "it is empty"


def _placeholders_in_cast(text: str, info: ValidationInfo) -> str:
    members = PLACEHOLDER.findall(text)
    if len(members) > MAX_PLACEHOLDERS:
        raise ValueError(f"may have {MAX_PLACEHOLDERS} placeholders at most, got {len(members)}")
    for member in members:
        _in_cast(member.strip(), info)
    if any(braces in part for part in PLACEHOLDER.split(text)[::2] for braces in ("{{", "}}")):
        raise ValueError("has {{ or }} that belong to no placeholder: write {{cast_id}}")
    cast = (info.context or {}).get("cast")
    for member in _IN_SINGLE_BRACES.findall(text):
        # It would be sent as it stands, and paid for; other words in braces are somebody's own.
        if cast is not None and cast.choose(member) is not None:
            raise ValueError(f"has {{{member}}} in single braces: write {{{{{member}}}}} for the one of the cast")
    return text


def _no_braces(text: str) -> str:
    if "{" in text or "}" in text:
        raise ValueError("must not contain { or }: it takes the place of a placeholder itself")
    return text


def _once(kind: str) -> Callable[[str, ValidationInfo], str]:
    """Ids that differ only in case are one: so are, on some disks, the files that are named after them."""

    def check(identifier: str, info: ValidationInfo) -> str:
        seen = (info.context or {}).get(kind, set())
        if identifier.lower() in seen:
            raise ValueError("is the id of an earlier one already")
        seen.add(identifier.lower())
        return identifier

    return check


Prose = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1), AfterValidator(sendable), PROSE]
Model = Annotated[Name, StringConstraints(strip_whitespace=True, min_length=1)]
Source = Annotated[Address, StringConstraints(strip_whitespace=True)]
"""A blank one, which Ring's own files have, is none."""

Directions = Annotated[Prose, AfterValidator(_placeholders_in_cast)]
CastId = Annotated[
    str,
    Field(max_length=_MAX_SHOWN_CHARS),
    AfterValidator(strip_edges),
    *require_spelling(
        r"^[a-z][a-z0-9_]*$", "must be small letters a to z, figures and _ only, and begin with a letter"
    ),
    BeforeValidator(as_name),
    AfterValidator(_once("cast ids")),
]
_NAMES_A_FILE = "names a file: letters A to Z, figures, -, _ and . only, 100 at most, and no . in front"
# No separator, and no dot in front, which hides a file.
ClipId = Annotated[
    str,
    AfterValidator(strip_edges),
    *require_spelling(r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$", _NAMES_A_FILE),
    BeforeValidator(as_name),
    AfterValidator(_once("clip ids")),
]
Ratio = Annotated[Name, AfterValidator(as_ratio)]
"""In its one spelling: it is part of what a clip is known by, and of the words of a first frame."""

QualityMode = Literal["draft", "draft_i2v", "production", "production_i2v"]


class Defaults(Strict):
    """What holds for every clip that does not say otherwise."""

    provider: ProviderName | None = Field(None, description="Who makes first frames, where imageProvider is not set.")
    quality_mode: QualityMode | None = Field(None, description="Default: draft.")
    aspect_ratio: Ratio | None = Field(None, description="Default: 16:9.")
    image_resolution: ImageResolution | None = Field(None, description="Of first frames. Default: 2k.")
    video_resolution: VideoResolution | None = Field(
        None, description="In place of the mode's own; a remaster is 720p whatever stands here."
    )
    image_provider: ProviderName | None = None
    video_provider: ProviderName | None = Field(None, description=f"Who makes the clips. Default: {VENDORS[0].name}.")
    duration: Seconds | None = Field(None, description="Of clips that do not say their own.")


class CastMember(Strict):
    """Somebody or something that looks the same in every clip: {{id}} stands for the description."""

    id: CastId
    description: Annotated[Prose, AfterValidator(_no_braces)]
    label: Prose | None = Field(None, description="Who speaks, in DIALOGUE. Default: the description's beginning.")


class FirstFrame(Strict):
    """The still that the clip starts from: a given one, or a prompt to make it from (a paid picture)."""

    image_prompt: Directions | None = None
    image_url: Source | None = Field(None, description="Wins over imagePrompt.")
    image_provider: ProviderName | None = None
    image_model: Model | None = None
    image_resolution: ImageResolution | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        made_with = self.image_provider or self.image_model or self.image_resolution
        # What it is made with alone makes none, and the clip would be paid for without it.
        if made_with and self.image_prompt is None and not self.image_url:
            raise ValueError("needs imagePrompt, or imageUrl: without either no first frame is made")
        return self


class Line(Strict):
    speaker: Annotated[str, AfterValidator(_in_cast)] = Field(description="An id of the cast.")
    line: Prose = Field(description="Spoken text, sent as it stands. Lip movement is best effort.")
    tone: Prose | None = None


class Scene(Strict):
    action: Directions | None = None
    camera: Directions | None = None
    dialogue: tuple[Line, ...] = ()


class ClipVideo(Strict):
    provider: ProviderName | None = None
    model: Model | None = None
    quality_mode: QualityMode | None = None
    resolution: VideoResolution | None = None


class ClipRemaster(Strict):
    """What a remaster run edits, where neither the command nor the manifest says so."""

    source_video_url: Source | None = None
    remaster_from_request_id: ShortText | None = None


class Clip(Strict):
    id: ClipId = Field(description="Names the clip in the manifest and its file.")
    duration: Seconds
    aspect_ratio: Ratio | None = None
    prompt: Prose | None = Field(None, description="Sent as it stands, in place of everything in scene and setting.")
    first_frame: FirstFrame | None = None
    scene: Scene | None = None
    video: ClipVideo | None = None
    thumbnail: ThumbnailFields | None = None
    remaster: ClipRemaster | None = None

    @model_validator(mode="after")
    def _shows_something(self) -> Self:
        scene = self.scene
        if self.prompt is None and not (scene and (scene.action or scene.camera or scene.dialogue)):
            raise ValueError(f"Clip {self.id}: scene or prompt is required")
        return self


class ScriptRequest(Strict):
    """A campaign of clips. ``requestId`` ties its rows together in the ledger and in the manifest."""

    json_schema: Text | None = Field(None, alias="$schema", description="For editors; not used.")
    schema_version: Literal["1.0"]
    request_id: Key
    project: Text | None = None
    purpose: ShortText | None = Field(None, description="One word; becomes a folder of the storage path.")
    ref_code: ShortText | None = Field(None, description="Your own tracking id. Default: requestId.")
    defaults: Defaults = Field(default_factory=Defaults)
    cast: tuple[CastMember, ...] = ()
    setting: Directions | None = Field(None, description="Where and when, at the head of every compiled prompt.")
    clips: tuple[Clip, ...] = Field(json_schema_extra={"minItems": 1})

    @functools.cached_property
    def cast_ids(self) -> Spellings:
        return Spellings(member.id for member in self.cast)

    @functools.cached_property
    def cast_by_id(self) -> Mapping[str, CastMember]:
        return {member.id: member for member in self.cast}

    @model_validator(mode="before")
    @classmethod
    def _clips_last_as_long_as_the_default(cls, data: Any) -> Any:
        defaults, clips = (data.get("defaults"), data.get("clips")) if isinstance(data, dict) else (None, None)
        if not isinstance(defaults, dict) or not isinstance(clips, list) or defaults.get("duration") is None:
            return data
        # Before the fields are looked at: each clip has to have its seconds, and a default is judged as the clip's own.
        given = {"duration": defaults["duration"]}
        return {**data, "clips": [{**given, **clip} if isinstance(clip, dict) else clip for clip in clips]}

    @field_validator("clips")
    @classmethod
    def _has_clips(cls, clips: tuple[Clip, ...]) -> tuple[Clip, ...]:
        # Not min_length: pydantic counts the good ones and would add this to every list of bad ones.
        if not clips:
            raise ValueError("needs at least one clip")
        return clips


def script_schema() -> dict[str, Any]:
    """The JSON Schema of a script file."""
    schema = tidy(ScriptRequest.model_json_schema(by_alias=True))
    schema["$defs"]["Clip"]["required"].remove("duration")  # where it is missing, defaults.duration stands for it
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Scripted video request", **schema}


def parse_script(content: str | bytes | Mapping[str, Any], makes: Makes = MAKES) -> ScriptRequest:
    """Raises InvalidRequest with a line for every problem and the path of its field."""
    data = content if isinstance(content, Mapping) else json_object(content, "the script")
    version = data.get("schemaVersion") or data.get("schema_version") or KNOWN_VERSION
    if version in _AS_A_NUMBER and not isinstance(version, bool):
        data = {**data, "schemaVersion": KNOWN_VERSION, "schema_version": None}
    elif not isinstance(version, str) or version.strip() != KNOWN_VERSION:
        raise InvalidRequest(f'schemaVersion must be "{KNOWN_VERSION}", the only one that is known here')
    return validate(ScriptRequest, data, lambda read: {"makes": makes, **_check_known(read)})


def _check_known(data: Mapping[str, Any]) -> dict[str, Any]:
    """The ids of the whole cast, and room for those of clips. None: what the cast is cannot be read, which is told of
    the cast itself and not of each place that names somebody."""
    cast = data.get("cast", [])
    members = cast if isinstance(cast, list) else [cast]
    ids = [member.get("id") if isinstance(member, dict) else None for member in members]
    # Too long an id has an error of its own, and would only fill the others, which list the cast.
    known = [i for i in dict.fromkeys(map(str, ids)) if len(i) <= _MAX_SHOWN_CHARS]
    return {"cast": None if None in ids else Spellings(known), "cast ids": set(), "clip ids": set()}


def read_script(path: Path, makes: Makes = MAKES, *, is_strangers: bool = False) -> ScriptRequest:
    """``parse_script`` of a file, which is not read if it is larger than a script can be; see ``read_limited``."""
    return parse_script(read_limited(path, "the script", is_strangers=is_strangers), makes)
