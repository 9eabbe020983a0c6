"""Google's own client for Python, unchanged but for address and key, against the sandbox."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from ring_mcp.sandbox.server import SandboxServer
from tests.sandbox.conftest import GOOGLE_KEY

MODEL = "gemini-nano-banana-2.1"


@pytest.fixture(params=["v1", "v1beta"])
def client(sandbox: SandboxServer, request: pytest.FixtureRequest) -> Iterator[Any]:
    from google import genai

    options = {"base_url": f"{sandbox.url}/google", "api_version": request.param, "timeout": 20_000}
    with genai.Client(api_key=GOOGLE_KEY, http_options=options) as opened:  # type: ignore[arg-type]
        yield opened


def test_it_gets_a_picture(client: Any, sandbox: SandboxServer) -> None:
    from google.genai import types

    sandbox.state.configure(google_thoughts=True)
    config = types.GenerateContentConfig(
        response_modalities=["IMAGE"], image_config=types.ImageConfig(aspect_ratio="16:9", image_size="1K"), seed=3
    )
    answer = client.models.generate_content(model=MODEL, contents="a lighthouse", config=config)
    (picture,) = [part.inline_data for part in answer.parts if part.inline_data and not part.thought]
    with Image.open(io.BytesIO(picture.data)) as image:
        assert image.width > image.height
    assert answer.usage_metadata.candidates_tokens_details[0].token_count == 1120
    assert len(sandbox.state.books.charges()) == 1


def test_it_lists_the_models_page_by_page(client: Any) -> None:
    names = [model.name for model in client.models.list(config={"page_size": 2})]
    assert f"models/{MODEL}" in names
    assert len(names) > 2
    assert client.models.get(model=MODEL).supported_actions == ["generateContent"]


def test_it_understands_a_block_and_every_error(client: Any, sandbox: SandboxServer) -> None:
    from google.genai import errors, types

    sandbox.state.faults.add("google_blocked", reason="IMAGE_SAFETY")
    answer = client.models.generate_content(model=MODEL, contents="x")
    assert answer.candidates[0].finish_reason is types.FinishReason.IMAGE_SAFETY
    sandbox.state.faults.add("google_blocked", reason="PROHIBITED_CONTENT", in_prompt=True)
    answer = client.models.generate_content(model=MODEL, contents="x")
    assert answer.prompt_feedback.block_reason is types.BlockedReason.PROHIBITED_CONTENT
    for array in (False, True):
        sandbox.state.configure(google_error_array=array)
        sandbox.state.faults.add("rate_limited")
        with pytest.raises(errors.ClientError) as caught:
            client.models.generate_content(model=MODEL, contents="x")
        assert (caught.value.code, caught.value.status) == (429, "RESOURCE_EXHAUSTED")
        sandbox.state.faults.add("google_error", status=503)
        with pytest.raises(errors.ServerError):
            client.models.generate_content(model=MODEL, contents="x")
        with pytest.raises(errors.ClientError, match="API key not valid"):
            client.models.generate_content(model=MODEL, contents="x", config=_with_key("wrong"))


def _with_key(key: str) -> dict[str, Any]:
    return {"http_options": {"headers": {"x-goog-api-key": key}}}


def test_it_makes_a_clip_in_the_background_and_can_cancel_one(client: Any, sandbox: SandboxServer) -> None:
    import httpx2

    wanted = {"type": "video", "delivery": "uri", "resolution": "360p", "duration": "3s", "aspect_ratio": "9:16"}
    asked = {"model": "gemini-omni-1.2-flash", "input": "a boat", "background": True, "response_format": wanted}
    sandbox.state.configure(pending_polls=1)
    started = client.interactions.create(**asked)
    assert started.status == "in_progress"
    assert client.interactions.get(started.id).status == "in_progress"
    done = client.interactions.get(started.id)
    assert done.status == "completed"
    assert done.usage.total_output_tokens == 5793
    (video,) = [content for step in done.steps if step.type == "model_output" for content in step.content]
    clip = httpx2.get(video.uri, headers={"x-goog-api-key": "sandbox-google-key"}, verify=False, trust_env=False)
    assert clip.content[4:8] == b"ftyp"
    other = client.interactions.create(**asked)
    assert client.interactions.cancel(other.id).status == "cancelled"
    with pytest.raises(Exception, match="Invalid interaction name"):
        client.interactions.get("nobody")
