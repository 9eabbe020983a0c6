"""Media that the emulated services refuse, as the real ones do; the registry says the same of each model."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ring_mcp.presets import ImageModel, VideoModel, load_presets
from ring_mcp.sandbox.google.catalogue import (
    GEMINI_IMAGE_MODELS,
    MAX_INPUT_IMAGES,
    MAX_REFERENCES,
    OMNI_MODELS,
)
from ring_mcp.sandbox.google.catalogue import MAX_IMAGE_BYTES as GOOGLE_MAX_IMAGE
from ring_mcp.sandbox.google.catalogue import MAX_PROMPT_CHARACTERS as GOOGLE_MAX_PROMPT
from ring_mcp.sandbox.google.clip_orders import LONGEST_S, SHORTEST_S
from ring_mcp.sandbox.google.interactions import LONGEST_EXTENDED_S, LONGEST_SOURCE_S
from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.sandbox.state.settings import Settings
from ring_mcp.sandbox.xai import video_orders
from ring_mcp.sandbox.xai.catalogue import MAX_PROMPT_CHARACTERS as XAI_MAX_PROMPT
from ring_mcp.sandbox.xai.catalogue import find_image_model, find_video_model
from ring_mcp.sandbox.xai.images import MAX_IMAGES
from ring_mcp.sandbox.xai.inputs import LIMIT_BYTES
from ring_mcp.sandbox.xai.videos import EDIT_LONGEST_S, EXTENSION_SOURCE_S
from tests.cases.given_media import make_media

PRESETS = load_presets()
MODELS: Mapping[str, ImageModel | VideoModel] = {**PRESETS.image_models, **PRESETS.video_models}
CALLABLE = {name: model for name, model in MODELS.items() if model.prices is not None}
PICTURES = {
    "plain.jpg": True,
    "plain.png": True,
    "plain.webp": True,
    "anim.gif": False,
    "photo.heic": False,
    "plain.bmp": False,
}
CLIPS = {
    "clip.mp4": True, "clip.mov": False, "clip.webm": False, "vp9.mp4": False, "mpeg4.mp4": False,
    "audio-only.mp4": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    make_media(folder)
    return folder


def inline(path: Path, kind: str) -> dict[str, str]:
    return {"url": f"data:{kind}/x;base64,{base64.b64encode(path.read_bytes()).decode()}"}


@pytest.mark.parametrize(("name", "is_taken"), PICTURES.items())
def test_xai_takes_jpeg_png_and_webp(
    xai: httpx2.Client, sandbox: SandboxServer, media: Path, name: str, is_taken: bool
) -> None:
    given = inline(media / name, "image")
    asked: dict[str, dict[str, Any]] = {
        "/images/edits": {"prompt": "x", "image": given},
        "/videos/generations": {"prompt": "x", "model": "grok-imagine-video", "duration": 1, "image": given},
    }
    for path, body in asked.items():
        answer = xai.post(path, json=body)
        assert (answer.status_code == 200) is is_taken, answer.text
        assert is_taken or "JPEG, PNG or WebP" in answer.text
    assert bool(sandbox.state.books.charges()) is is_taken


@pytest.mark.parametrize(("name", "is_taken"), CLIPS.items())
def test_xai_edits_and_extends_mp4_with_three_codecs(
    xai: httpx2.Client, sandbox: SandboxServer, media: Path, name: str, is_taken: bool
) -> None:
    body = {"prompt": "x", "model": "grok-imagine-video", "video": inline(media / name, "video"), "duration": 2}
    for endpoint in ("edits", "extensions"):
        answer = xai.post(f"/videos/{endpoint}", json=body)
        assert (answer.status_code == 200) is is_taken, answer.text
        assert is_taken or "H.264, H.265 or AV1" in answer.text
    assert bool(sandbox.state.books.charges()) is is_taken


@pytest.mark.parametrize(("name", "is_taken"), PICTURES.items())
def test_google_takes_the_same_pictures(
    google: httpx2.Client, sandbox: SandboxServer, media: Path, name: str, is_taken: bool
) -> None:
    data = base64.b64encode((media / name).read_bytes()).decode()
    picture = {"inlineData": {"mimeType": "image/jpeg", "data": data}}
    made = google.post(
        "/models/gemini-nano-banana-2.1:generateContent", json={"contents": [{"parts": [picture, {"text": "x"}]}]}
    )
    frame = {"type": "image", "mime_type": "image/jpeg", "data": data}
    clip = google.post(
        "/interactions",
        json={
            "model": "gemini-omni-1.2-flash",
            "background": True,
            "input": [frame, {"type": "text", "text": "x"}],
            "response_format": {"type": "video", "duration": "3s", "resolution": "360p", "delivery": "uri"},
        },
    )
    for answer in (made, clip):
        assert (answer.status_code == 200) is is_taken, answer.text
    assert bool(sandbox.state.books.charges()) is is_taken


@pytest.mark.parametrize("name", CALLABLE)
def test_the_registry_and_the_service_say_the_same_of_prompts_and_media(name: str) -> None:
    model = CALLABLE[name]
    assert model.max_prompt_chars == {"xai": XAI_MAX_PROMPT, "google": GOOGLE_MAX_PROMPT}[model.provider]
    assert set(model.image_types) <= {"image/jpeg", "image/png", "image/webp"}
    codecs = {"xai": {"h264", "h265", "av1"}, "google": {"h264", "h265"}}[model.provider]
    assert set(getattr(model, "video_codecs", ())) == (codecs if getattr(model, "edit", False) else set())


def test_the_registry_and_google_say_the_same_of_what_goes_along() -> None:
    pictures = {name: model for name, model in PRESETS.image_models.items() if name in GEMINI_IMAGE_MODELS}
    clips = {name: model for name, model in PRESETS.video_models.items() if name in OMNI_MODELS}
    assert set(pictures) == set(GEMINI_IMAGE_MODELS)
    assert set(clips) == set(OMNI_MODELS)
    for model in pictures.values():
        assert (model.max_input_images, model.count_calls(3)) == (MAX_INPUT_IMAGES, 3)
    for clip in clips.values():
        assert (clip.max_reference_images, clip.reference_resolutions) == (MAX_REFERENCES, clip.resolutions)
        assert (clip.min_duration_s, clip.max_duration_s) == (SHORTEST_S, LONGEST_S)
        assert (clip.min_extend_s, clip.max_extend_s, clip.max_reference_duration_s) == (
            SHORTEST_S,
            LONGEST_S,
            LONGEST_S,
        )
        assert clip.max_edit_input_s == clip.max_extend_input_s == LONGEST_SOURCE_S
        # Whatever is added, the whole stays within what the service makes.
        assert clip.max_follow_up_input_s == LONGEST_EXTENDED_S - clip.max_extend_s
    for each in (*pictures.values(), *clips.values()):
        assert each.max_inputs_bytes is not None
        assert each.max_inputs_bytes * 4 / 3 + 4 * each.max_prompt_chars < Settings().google_max_request_bytes


def ask_for_edit(google: httpx2.Client, part: dict[str, str], task: str = "edit") -> httpx2.Response:
    wanted = {"type": "video", "delivery": "uri"} | ({} if task == "edit" else {"duration": "3s"})
    return google.post(
        "/interactions",
        json={
            "model": "gemini-omni-1.2-flash",
            "background": True,
            "input": [part, {"type": "text", "text": "x"}],
            "response_format": wanted,
            "generation_config": {"video_config": {"task": task}},
        },
    )


@pytest.mark.parametrize(("name", "is_taken"), {**CLIPS, "long.mp4": False}.items())
def test_google_edits_and_extends_short_mp4_with_two_codecs(
    google: httpx2.Client, sandbox: SandboxServer, media: Path, name: str, is_taken: bool
) -> None:
    data = base64.b64encode((media / name).read_bytes()).decode()
    for task in ("edit", "extend"):
        answer = ask_for_edit(google, {"type": "video", "mime_type": "video/mp4", "data": data}, task)
        assert (answer.status_code == 200) is is_taken, answer.text
        assert is_taken or "nput video" in answer.text
    assert bool(sandbox.state.books.charges()) is is_taken


@pytest.mark.parametrize("kind", ["video", "document"])
def test_google_finds_out_late_that_a_clip_is_an_address(
    google: httpx2.Client, sandbox: SandboxServer, kind: str
) -> None:
    handle = ask_for_edit(google, {"type": kind, "uri": "https://example.com/a.mp4"}).json()["id"]
    looked = google.get(f"/interactions/{handle}").json()
    assert (looked["status"], looked["error"]["message"]) == (
        "failed",
        "HTTP video input is not supported by the model.",
    )
    assert sandbox.state.books.total_ticks == 0


def test_google_refuses_a_request_that_is_too_large(google: httpx2.Client, sandbox: SandboxServer) -> None:
    sandbox.state.configure(google_max_request_bytes=1000)
    picture = {"inlineData": {"mimeType": "image/jpeg", "data": "A" * 1000}}
    answer = google.post(
        "/models/gemini-nano-banana-2.1:generateContent", json={"contents": [{"parts": [picture, {"text": "x"}]}]}
    )
    assert (answer.status_code, "payload size exceeds the limit" in answer.text) == (400, True)
    assert not sandbox.state.books.charges()


def test_a_prompt_above_the_length_is_refused_unbilled(
    xai: httpx2.Client, google: httpx2.Client, sandbox: SandboxServer
) -> None:
    long = xai.post("/images/generations", json={"prompt": "x" * (XAI_MAX_PROMPT + 1)})
    assert (long.status_code, str(XAI_MAX_PROMPT) in long.text) == (400, True)
    contents = [{"parts": [{"text": "x" * (GOOGLE_MAX_PROMPT + 1)}]}]
    long = google.post("/models/gemini-nano-banana-2.1:generateContent", json={"contents": contents})
    assert (long.status_code, str(GOOGLE_MAX_PROMPT) in long.text) == (400, True)
    assert not sandbox.state.books.charges()


def test_the_registry_and_the_service_say_the_same_of_sizes() -> None:
    sizes = PRESETS.limits.input_bytes
    assert {"image": sizes["xai"].image, "video": sizes["xai"].video} == LIMIT_BYTES
    assert sizes["google"].image == GOOGLE_MAX_IMAGE


@pytest.mark.parametrize("name", [name for name, model in CALLABLE.items() if model.provider == "xai"])
def test_the_registry_and_xai_say_the_same_of_counts_and_lengths(name: str) -> None:
    model = CALLABLE[name]
    if isinstance(model, ImageModel):
        served = find_image_model(name)
        assert served is not None
        assert model.max_n == MAX_IMAGES
        assert model.max_input_images <= served.model.max_sources  # a retired name is served by its successor
        assert model.max_input_images == served.model.max_sources or served.model.id != name
        return
    found = find_video_model(name)
    assert found is not None
    references = (model.max_reference_images, model.max_reference_duration_s)
    assert references[0] == found.max_references
    assert references[0] == 0 or references[1] == found.max_reference_s
    assert (model.min_duration_s, model.max_duration_s) == (1, video_orders.LONGEST_S)
    assert (model.edit, model.extend, model.last_frame) == (found.edits, found.edits, found.has_keyframes)
    assert set(model.resolutions) == set(found.resolutions)
    if model.extend:
        added_s = (video_orders.EXTENSION_SHORTEST_S, video_orders.EXTENSION_LONGEST_S)
        assert (model.min_extend_s, model.max_extend_s) == added_s
        assert [float(s or 0) for s in (model.min_extend_input_s, model.max_extend_input_s)] == [*EXTENSION_SOURCE_S]
        assert float(model.max_edit_input_s or 0) == EDIT_LONGEST_S


@pytest.mark.parametrize("name", [name for name in CALLABLE if name.startswith("gemini-omni")])
def test_the_registry_and_google_say_the_same_of_lengths(name: str) -> None:
    model = PRESETS.video_models[name]
    assert (model.min_duration_s, model.max_duration_s) == (SHORTEST_S, LONGEST_S)


def test_a_picture_above_the_size_is_refused_unbilled(
    xai: httpx2.Client, google: httpx2.Client, sandbox: SandboxServer, media: Path, tmp_path: Path
) -> None:
    large = tmp_path / "large.jpg"
    large.write_bytes((media / "plain.jpg").read_bytes())
    with large.open("ab") as file:
        file.truncate(LIMIT_BYTES["image"] + 1)
    answer = xai.post("/images/edits", json={"prompt": "x", "image": inline(large, "image")})
    assert (answer.status_code, str(LIMIT_BYTES["image"]) in answer.text) == (400, True)
    picture = {"inlineData": {"mimeType": "image/jpeg", "data": base64.b64encode(large.read_bytes()).decode()}}
    contents = [{"parts": [picture, {"text": "x"}]}]
    answer = google.post("/models/gemini-nano-banana-2.1:generateContent", json={"contents": contents})
    assert (answer.status_code, str(GOOGLE_MAX_IMAGE) in answer.text) == (400, True)
    assert not sandbox.state.books.charges()
