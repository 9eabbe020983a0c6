"""Media that the emulated services refuse, as the real ones do; the registry says the same of each model."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ring_mcp.presets import ImageModel, VideoModel, load_presets
from ring_mcp.sandbox.google.catalogue import MAX_PROMPT_CHARACTERS as GOOGLE_MAX_PROMPT
from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.sandbox.xai.catalogue import MAX_PROMPT_CHARACTERS as XAI_MAX_PROMPT
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
    codecs = getattr(model, "video_codecs", ())
    assert set(codecs) == ({"h264", "h265", "av1"} if getattr(model, "edit", False) else set())


def test_a_prompt_above_the_length_is_refused_unbilled(
    xai: httpx2.Client, google: httpx2.Client, sandbox: SandboxServer
) -> None:
    long = xai.post("/images/generations", json={"prompt": "x" * (XAI_MAX_PROMPT + 1)})
    assert (long.status_code, str(XAI_MAX_PROMPT) in long.text) == (400, True)
    contents = [{"parts": [{"text": "x" * (GOOGLE_MAX_PROMPT + 1)}]}]
    long = google.post("/models/gemini-nano-banana-2.1:generateContent", json={"contents": contents})
    assert (long.status_code, str(GOOGLE_MAX_PROMPT) in long.text) == (400, True)
    assert not sandbox.state.books.charges()
