"""The hint beside an unknown name: the right one or none, for a model acts upon it."""

from __future__ import annotations

import time

import pytest

from ring_mcp.domain.nearest import _ELSEWHERE, nearest
from ring_mcp.scripted.schema import Clip, ScriptRequest
from ring_mcp.tools.image_create import ImageCreateArguments
from ring_mcp.tools.job_get import JobGetArguments
from ring_mcp.tools.job_list import JobListArguments
from ring_mcp.tools.script_run import ScriptRunArguments
from ring_mcp.tools.tool import Arguments
from ring_mcp.tools.video_create import VideoCreateArguments

LIMIT_S = 5.0


def names(tool: type[Arguments] | type[Clip]) -> list[str]:
    return [str(field.alias) for field in tool.model_fields.values()]


@pytest.mark.parametrize(
    ("tool", "wrong", "right"),
    [
        (ImageCreateArguments, "promt", "prompt"),
        (ImageCreateArguments, "ASPECT-RATIO", "aspectRatio"),
        (ImageCreateArguments, "num_images", "n"),
        (ImageCreateArguments, "width", "aspectRatio or resolution"),
        (ImageCreateArguments, "image", "referenceImages"),
        (VideoCreateArguments, "image", "imageUrl"),
        (VideoCreateArguments, "video_url", "sourceVideoUrl"),
        (VideoCreateArguments, "thumbnail_text", "thumbnail"),
        (VideoCreateArguments, "promptImage", "imageUrl"),
        (VideoCreateArguments, "image_prompt", "firstFramePrompt"),
        (VideoCreateArguments, "client_request_id", "idempotencyKey"),
        (VideoCreateArguments, "preview_only", "dryRun"),
        (VideoCreateArguments, "cover", "thumbnail"),
        (ImageCreateArguments, "caption", "prompt"),
        (ImageCreateArguments, "variations", "n"),
        (ImageCreateArguments, "max_spend", "maxUsd"),
        (JobGetArguments, "id", "jobId"),
        (JobListArguments, "page", "cursor"),
        (ScriptRunArguments, "script", "request"),
    ],
)
def test_the_name_that_was_meant_is_told(tool: type[Arguments], wrong: str, right: str) -> None:
    assert nearest(wrong, names(tool)) == right


@pytest.mark.parametrize("wrong", ["reasoning", "userId", "toolAction", "", "_", "日本語", "x" * 1_000_000])
def test_where_nothing_is_near_nothing_is_told(wrong: str) -> None:
    began = time.thread_time()
    assert nearest(wrong, names(VideoCreateArguments)) is None
    assert time.thread_time() - began < LIMIT_S


def test_a_name_that_belongs_deeper_is_told_with_its_place() -> None:
    within = {"video": ("provider", "model"), "firstFrame": ("imageUrl",)}
    assert nearest("image_url", names(Clip), within) == "firstFrame.imageUrl"
    assert nearest("model", names(Clip), within) == "video.model"


def test_each_name_of_the_table_is_one_of_ours() -> None:
    tools = (ImageCreateArguments, VideoCreateArguments, JobGetArguments, JobListArguments, ScriptRunArguments)
    schema = ScriptRequest.model_json_schema(by_alias=True)
    inside = {name for part in schema["$defs"].values() for name in part.get("properties", {})}
    known = {name for tool in tools for name in names(tool)} | inside | {*schema["properties"]}
    assert {each for name in _ELSEWHERE for each in name.split(" or ")} <= known
