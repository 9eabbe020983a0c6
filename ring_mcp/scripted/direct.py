"""The jobs file of Ring's legacy tool, as the script that it is: clips with nothing but a prompt and an image. Pure."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from ring_mcp.domain.fields import Key, Name, Strict
from ring_mcp.scripted.makes import Seconds, VideoResolution
from ring_mcp.scripted.reading import json_object, read_limited, validate
from ring_mcp.scripted.schema import (
    Clip,
    ClipId,
    ClipVideo,
    Defaults,
    FirstFrame,
    Model,
    Prose,
    QualityMode,
    ScriptRequest,
    Source,
)


class JobsClip(Strict):
    id: ClipId
    duration: Seconds
    # The one key of Ring's file that is not in camelCase.
    aspect_ratio: Name | None = Field(None, alias="aspect_ratio")
    image_url: Source | None = None
    prompt: Prose
    model: Model | None = None
    resolution: VideoResolution | None = None


class JobsFile(Strict):
    """``created``, ``workflow``, ``modes`` and whatever else stands beside the clips is not used."""

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", frozen=True)

    project: Key | None = None
    default_quality_mode: QualityMode | None = None
    clips: tuple[JobsClip, ...]


def read_jobs(path: Path, quality_mode: QualityMode | None) -> ScriptRequest:
    """The file as a script, in ``quality_mode`` or else its own. Raises InvalidRequest with a line per problem."""
    data = json_object(read_limited(path, "the jobs file"), "the jobs file")
    jobs = validate(JobsFile, data, lambda _: {"clip ids": set()})
    return ScriptRequest(
        schemaVersion="1.0",
        requestId=jobs.project or _own_name(path),
        defaults=Defaults(qualityMode=quality_mode or jobs.default_quality_mode),
        clips=tuple(_as_clip(clip) for clip in jobs.clips),
    )


def _own_name(path: Path) -> str:
    """Two files without a project, with clips of one name, are not one project."""
    # surrogateescape: a path need not be UTF-8.
    return f"direct-{hashlib.sha256(str(path.resolve()).encode('utf-8', 'surrogateescape')).hexdigest()[:12]}"


def _as_clip(clip: JobsClip) -> Clip:
    return Clip(
        id=clip.id,
        duration=clip.duration,
        aspectRatio=clip.aspect_ratio,
        prompt=clip.prompt,
        firstFrame=FirstFrame(imageUrl=clip.image_url),
        video=ClipVideo(model=clip.model, resolution=clip.resolution),
    )
