"""Ring's legacy jobs file as a script."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.errors import InvalidRequest
from ring_mcp.scripted.compiler import compile_clip
from ring_mcp.scripted.direct import read_jobs

CLIP: dict[str, Any] = {"id": "01", "duration": 10, "aspect_ratio": "9:16", "imageUrl": "", "prompt": "a boat"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.json"


def put(path: Path, **content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_a_file_of_ring_compiles_as_the_legacy_tool_does(path: Path) -> None:
    put(path, project="p", created="2026-06-18", workflow="x", modes={"draft": {"model": "m"}}, clips=[CLIP])
    script = read_jobs(path, None)

    assert compile_clip(script, script.clips[0]) == {
        "prompt": "a boat",
        "qualityMode": "draft",
        "duration": 10,
        "aspectRatio": "9:16",
        "refCode": "p",
        "clipId": "01",
        "pipelineRequestId": "p",
        "persistToFilebase": True,
    }


def test_the_mode_is_the_commands_else_the_files(path: Path) -> None:
    put(path, defaultQualityMode="production", clips=[CLIP])

    assert read_jobs(path, None).defaults.quality_mode == "production"
    assert read_jobs(path, "draft_i2v").defaults.quality_mode == "draft_i2v"


def test_every_problem_of_the_file_is_told(path: Path) -> None:
    put(path, clips=[{**CLIP, "duration": 0, "aspectRatio": "1:1"}, {**CLIP, "id": "../x", "prompt": ""}, CLIP])

    with pytest.raises(InvalidRequest) as caught:
        read_jobs(path, None)

    assert str(caught.value).splitlines() == [
        "clips[0].duration: must be at least 1",
        "clips[1].id: names a file: letters A to Z, figures, -, _ and . only, 100 at most, and no . in front",
        "clips[1].prompt is required",
        "clips[2].id: is the id of an earlier one already",
        "unknown field 'clips[0].aspectRatio', did you mean aspect_ratio? "
        "(allowed: id, duration, aspect_ratio, imageUrl, prompt, model, resolution)",
    ]
