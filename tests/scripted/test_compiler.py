"""What a clip of a script becomes: golden arguments, and what holds for any script."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ring_mcp.errors import InvalidRequest
from ring_mcp.scripted.compiler import CLOSING, Remaster, compile_clip, scene_prompt
from ring_mcp.scripted.schema import ScriptRequest
from ring_mcp.tools.video_create import VideoCreateArguments
from tests.scripted.scripts import WHOLE, requests, script

ANNA = "a tall woman in a red coat, forty years old"
SAILOR = "a weathered sailor with a white beard. He limps"
PROMPT = (
    f"A harbour in Odesa at dawn. CAMERA: slow dolly towards {ANNA} ACTION: {SAILOR} coils a rope "
    'DIALOGUE: Anna (urgent) says: "Де корабель?" a weathered sailor with a white beard says: "He said: "never"." '
    "Realistic lip movement, speaking over ambient sound, no burned-in subtitles."
)
IDS = {"purpose": "campaign", "refCode": "harbour-2026", "pipelineRequestId": "harbour-2026"}
FIRST: dict[str, Any] = {
    "prompt": PROMPT,
    "qualityMode": "draft",
    "duration": 6,
    "aspectRatio": "16:9",
    "resolution": "480p",
    "firstFramePrompt": f"{ANNA} faces {SAILOR} Setting: A harbour in Odesa at dawn. "
    "Aspect ratio 16:9, cinematic still frame, photorealistic, no text overlays, no watermarks.",
    "imageProvider": "xai",
    "imageResolution": "1k",
    **IDS,
    "clipId": "clip-01_scene",
    "thumbnail": {"enabled": True, "overlays": [{"text": "Гавань", "role": "title"}]},
    "persistToFilebase": True,
}
SECOND: dict[str, Any] = {
    "prompt": "The sea, {{as it is}}.",
    "qualityMode": "production_i2v",
    "duration": 15,
    "aspectRatio": "9:16",
    "resolution": "1080p",
    "model": "grok-imagine-video-1.5",
    "imageUrl": "https://cdn.example/sea.jpg",
    **IDS,
    "clipId": "clip-02",
    "persistToFilebase": True,
}
EDIT = {
    "prompt": PROMPT,
    "qualityMode": "draft",
    **IDS,
    "clipId": "clip-01_scene",
    "thumbnail": {"enabled": True, "overlays": [{"text": "Гавань", "role": "title"}]},
    "persistToFilebase": True,
    "remaster": True,
}

at_any_speed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def compiled(request: ScriptRequest, number: int, remaster: Remaster | None = None) -> dict[str, Any]:
    return compile_clip(request, request.clips[number], remaster=remaster)


def test_a_clip_becomes_the_arguments_of_the_tool() -> None:
    request = script()

    assert compiled(request, 0) == FIRST
    assert compiled(request, 1) == SECOND


def test_a_remaster_without_a_source_drops_the_drafts_resolution() -> None:
    again = {name: value for name, value in SECOND.items() if name != "resolution"}

    assert compiled(script(), 1, Remaster()) == {**again, "remaster": True}


@pytest.mark.parametrize(
    ("given_by_command", "source", "draft"),
    [
        (Remaster(), "https://cdn.example/own.mp4", "own"),
        (Remaster(source_url="https://cdn.example/d.mp4", from_request_id="d"), "https://cdn.example/d.mp4", "d"),
        (Remaster(source_url="https://cdn.example/d.mp4"), "https://cdn.example/d.mp4", "own"),
    ],
)
def test_a_remaster_with_a_source_is_an_edit_that_shapes_nothing(
    given_by_command: Remaster, source: str, draft: str
) -> None:
    edit = {**EDIT, "sourceVideoUrl": source, "remasterFromRequestId": draft}

    assert compiled(script(), 0, given_by_command) == edit
    assert compiled(script(), 0, replace(given_by_command, editor="google")) == {**edit, "provider": "google"}


@pytest.mark.parametrize(
    ("member", "label"),
    [
        ({"description": "a dog, brown", "label": "Rex"}, "Rex"),
        ({"description": "a dog, brown"}, "a dog"),
        ({"description": "a dog. Brown"}, "a dog"),
        ({"description": "d" * 79}, "d" * 79),
        ({"description": "d" * 80}, "the dog"),
        ({"description": ", brown"}, "the dog"),
    ],
)
def test_a_line_is_labelled_by_label_else_description_else_id(member: dict[str, Any], label: str) -> None:
    scene = {"dialogue": [{"speaker": "the_dog", "line": "Bark."}]}
    request = script(
        cast=[{"id": "the_dog", **member}], setting=None, clips=[{"id": "a", "duration": 1, "scene": scene}]
    )

    assert compiled(request, 0)["prompt"] == f'DIALOGUE: {label} says: "Bark." {CLOSING}'


def test_without_an_own_aspect_ratio_the_still_gets_no_style() -> None:
    clip = {**WHOLE["clips"][0], "aspectRatio": None}
    [compiled_clip] = [compiled(script(clips=[clip]), 0)]

    assert compiled_clip["firstFramePrompt"].endswith("Setting: A harbour in Odesa at dawn.")
    assert compiled_clip["aspectRatio"] == "9:16"


@pytest.mark.parametrize("field", ["action", "dialogue"])
def test_somebody_not_in_the_cast_is_refused_even_unparsed(field: str) -> None:
    value = "{{nobody}}" if field == "action" else [{"speaker": "nobody", "line": "x"}]
    clip = {"id": "a", "duration": 1, "scene": {field: value}}
    request = ScriptRequest.model_validate({"schemaVersion": "1.0", "requestId": "r", "clips": [clip]})

    with pytest.raises(InvalidRequest, match=rf"{field}: 'nobody' is not in the cast \(it is empty\)"):
        compiled(request, 0)


def test_a_text_is_not_made_that_is_longer_than_any_prompt() -> None:
    request = ScriptRequest.model_validate(
        {
            "schemaVersion": "1.0",
            "requestId": "r",
            "cast": [{"id": "c", "description": "d" * 10_000}],
            "clips": [{"id": "a", "duration": 6, "scene": {"action": "{{c}}" * 100}}],
        }
    )
    with pytest.raises(InvalidRequest, match="action has 1,000,500 characters with the descriptions of its cast"):
        compiled(request, 0)


@at_any_speed
@given(requests)
def test_no_placeholder_is_left_and_ones_own_prompt_wins(request: ScriptRequest) -> None:
    for clip in request.clips:
        prompt = scene_prompt(request, clip)
        if clip.prompt is not None:
            assert prompt == clip.prompt
        else:
            assert clip.scene is not None
            spoken = "".join(line.line + (line.tone or "") for line in clip.scene.dialogue)
            assert "{{" in spoken or "{{" not in prompt


@at_any_speed
@given(requests)
def test_every_line_is_in_the_prompt_in_order(request: ScriptRequest) -> None:
    for clip in request.clips:
        if clip.prompt is None and clip.scene is not None:
            prompt, at = scene_prompt(request, clip), 0
            for line in clip.scene.dialogue:
                at = prompt.index(f'says: "{line.line}"', at) + len(line.line)


remasters = st.one_of(
    st.none(),
    st.builds(Remaster, source_url=st.none() | st.just("https://cdn.example/a.mp4"), from_request_id=st.none()),
)


@at_any_speed
@given(requests, remasters)
def test_the_tool_takes_whatever_is_compiled(request: ScriptRequest, remaster: Remaster | None) -> None:
    for clip in request.clips:
        arguments = compile_clip(request, clip, remaster=remaster)
        video = VideoCreateArguments.parse(arguments).request()

        assert (video.clip_id, video.pipeline_request_id) == (clip.id, request.request_id)
        assert video.remaster is (remaster is not None)
        assert not (video.image_url and video.first_frame_prompt)
        assert remaster is None or video.resolution is None
