"""The emulated Google as a stranger meets it: keys, models, pictures, refusals, and what its books say."""

from __future__ import annotations

import base64
import io
from decimal import Decimal
from typing import Any

import httpx2
import pytest
from PIL import Image

from ring_mcp.sandbox.server import SandboxServer
from tests.sandbox.conftest import GOOGLE_KEY, PLAIN

MODEL = "gemini-nano-banana-2.1"
GENERATE = f"/models/{MODEL}:generateContent"


def body(prompt: str = "a lighthouse", **image: Any) -> dict[str, Any]:
    config = {"responseModalities": ["IMAGE"], "imageConfig": image}
    return {"contents": [{"role": "user", "parts": [{"text": prompt}]}], "generationConfig": config}


def error(reply: httpx2.Response, status: int, word: str) -> str:
    assert reply.status_code == status, reply.text
    told = reply.json()["error"]
    assert (told["code"], told["status"]) == (status, word)
    return str(told["message"])


def test_a_call_makes_one_real_picture_and_counts_its_tokens(google: httpx2.Client, sandbox: SandboxServer) -> None:
    reply = google.post(GENERATE, json=body(aspectRatio="16:9", imageSize="1K")).json()
    (candidate,) = reply["candidates"]
    (part,) = candidate["content"]["parts"]
    with Image.open(io.BytesIO(base64.b64decode(part["inlineData"]["data"]))) as picture:
        assert picture.format == "JPEG"
        assert picture.width > picture.height
    assert (candidate["finishReason"], reply["modelVersion"]) == ("STOP", MODEL)
    assert reply["usageMetadata"]["candidatesTokensDetails"] == [{"modality": "IMAGE", "tokenCount": 1120}]
    (charge,) = sandbox.state.books.charges()
    assert Decimal(charge.cost_ticks) / 10**10 == Decimal("0.0336045")
    assert (charge.endpoint, charge.model, charge.prompt, charge.state) == (GENERATE[1:], MODEL, "a lighthouse", "done")


def test_the_same_request_twice_is_two_charges_alike_by_seed(google: httpx2.Client, sandbox: SandboxServer) -> None:
    def drawn(**config: Any) -> str:
        asked = body()
        asked["generationConfig"] |= config
        parts = google.post(GENERATE, json=asked).json()["candidates"][0]["content"]["parts"]
        return str(parts[-1]["inlineData"]["data"])

    assert drawn() != drawn()
    assert drawn(seed=5) == drawn(seed=5) != drawn(seed=6)
    assert len(sandbox.state.books.charges()) == 5


def test_thoughts_and_a_remark_may_come_first_and_are_billed(google: httpx2.Client, sandbox: SandboxServer) -> None:
    sandbox.state.configure(google_thoughts=True)
    reply = google.post(GENERATE, json=body()).json()
    parts = reply["candidates"][0]["content"]["parts"]
    assert [part.get("thought", False) for part in parts] == [True, True, False, False]
    assert reply["usageMetadata"]["thoughtsTokenCount"] == 180
    assert sandbox.state.books.total_ticks > 10**10 * 0.035


def test_a_given_picture_is_drawn_on_and_counted(google: httpx2.Client, sandbox: SandboxServer) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, "PNG")
    asked = body()
    data = base64.b64encode(buffer.getvalue()).decode()
    asked["contents"][0]["parts"].append({"inlineData": {"mimeType": "image/png", "data": data}})
    assert google.post(GENERATE, json=asked).json()["usageMetadata"]["promptTokenCount"] == 1123
    asked["contents"][0]["parts"][-1]["inlineData"]["data"] = "!"
    assert "Unable to process input image" in error(google.post(GENERATE, json=asked), 400, "INVALID_ARGUMENT")


@pytest.mark.parametrize("where", ["header", "address", "wrong", "none"])
def test_a_key_is_taken_from_header_or_address(sandbox: SandboxServer, where: str) -> None:
    headers = {"header": {"x-goog-api-key": GOOGLE_KEY}, "wrong": {"x-goog-api-key": "no"}}.get(where, {})
    with httpx2.Client(base_url=sandbox.google_base_url, headers=headers, **PLAIN) as client:
        reply = client.get("/models", params={"key": GOOGLE_KEY} if where == "address" else {})
        if where == "wrong":
            assert error(reply, 400, "INVALID_ARGUMENT").startswith("API key not valid")
            assert reply.json()["error"]["details"][0]["reason"] == "API_KEY_INVALID"
        elif where == "none":
            assert "unregistered callers" in error(reply, 403, "PERMISSION_DENIED")
        else:
            assert reply.status_code == 200


def test_the_models_come_in_pages(google: httpx2.Client, sandbox: SandboxServer) -> None:
    sandbox.state.configure(google_imagen=True)
    names, token = [], ""
    while True:
        page = google.get("/models", params={"pageSize": 2, **({"pageToken": token} if token else {})}).json()
        assert len(page["models"]) <= 2
        names += [model["name"] for model in page["models"]]
        token = page.get("nextPageToken", "")
        if not token:
            break
    assert names == [model["name"] for model in google.get("/models").json()["models"]]
    assert google.get(f"/{names[0]}").json()["supportedGenerationMethods"] == ["generateContent"]
    assert "not found" in error(google.get("/models/nobody"), 404, "NOT_FOUND")
    assert "page" in error(google.get("/models", params={"pageToken": "%"}), 400, "INVALID_ARGUMENT")
    assert sandbox.state.books.charges() == []


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (body(aspectRatio="2:1"), "Aspect ratio '2:1' is not supported"),
        (body(imageSize="1k"), "Image size '1k' is not supported"),
        (body(personGeneration="x"), "Unknown name \"personGeneration\" at 'generation_config.imageConfig'"),
        (body(""), "contents.parts must not be empty"),
        ({}, "contents is not specified"),
        ({"contents": [{"parts": [{"text": "x"}]}], "generationConfig": 3}, "Invalid value at 'generationConfig'"),
        (body() | {"generationConfig": {"responseModalities": ["AUDIO"]}}, "response modalities"),
        (body() | {"generationConfig": {"seed": 2**31}}, "TYPE_INT32"),
        ([], "Root element must be a message"),
    ],
)
def test_a_wrong_request_is_refused_and_costs_nothing(
    google: httpx2.Client, sandbox: SandboxServer, asked: Any, text: str
) -> None:
    assert text in error(google.post(GENERATE, json=asked), 400, "INVALID_ARGUMENT")
    assert sandbox.state.books.charges() == []


@pytest.mark.parametrize(
    "path",
    [
        "imagen-4.0-generate-001:predict",
        "veo-3.1-generate-preview:predictLongRunning",
        "gemini-3.1-flash-image:generateContent",
    ],
)
def test_what_google_has_shut_down_is_not_found(google: httpx2.Client, path: str) -> None:
    message = error(google.post(f"/models/{path}", json={}), 404, "NOT_FOUND")
    assert f"is not supported for {path.partition(':')[2]}. Call ModelService.ListModels" in message


def test_imagen_answers_as_it_did_while_a_setting_says_so(google: httpx2.Client, sandbox: SandboxServer) -> None:
    sandbox.state.configure(google_imagen=True)
    asked = {"instances": [{"prompt": "x"}], "parameters": {"sampleCount": 2, "sampleImageSize": "1K"}}
    reply = google.post("/models/imagen-4.0-fast-generate-001:predict", json=asked).json()
    assert [each["mimeType"] for each in reply["predictions"]] == ["image/jpeg"] * 2
    assert Decimal(sandbox.state.books.total_ticks) / 10**10 == Decimal("0.04")
    for wrong in ({"sampleCount": 5}, {"aspectRatio": "2:1"}):
        assert google.post("/models/imagen-4.0-fast-generate-001:predict", json=asked | {"parameters": wrong}).is_error


def test_a_block_is_a_200_without_a_picture_and_may_be_billed(google: httpx2.Client, sandbox: SandboxServer) -> None:
    sandbox.state.faults.add("google_blocked", reason="NO_IMAGE")
    sandbox.state.faults.add("google_blocked", reason="SAFETY", in_prompt=True, billed=False)
    blocked = google.post(GENERATE, json=body()).json()
    assert blocked["candidates"][0]["finishReason"] == "NO_IMAGE"
    assert sandbox.state.books.total_ticks == 45000
    prompt = google.post(GENERATE, json=body()).json()
    assert prompt["promptFeedback"] == {"blockReason": "SAFETY"}
    assert not {"candidates", "usageMetadata"} & prompt.keys()
    assert [charge.state for charge in sandbox.state.books.charges()] == ["moderated", "moderated"]
    assert sandbox.state.books.total_ticks == 45000


def test_a_rate_limit_says_in_the_body_how_long_to_wait(google: httpx2.Client, sandbox: SandboxServer) -> None:
    sandbox.state.configure(rate_limit=True, image_rps=1)
    assert google.post(GENERATE, json=body()).status_code == 200
    reply = google.post(GENERATE, json=body())
    assert "exceeded your current quota" in error(reply, 429, "RESOURCE_EXHAUSTED")
    assert reply.json()["error"]["details"][-1]["retryDelay"] == "41s"
    assert "retry-after" not in reply.headers
    sandbox.state.faults.add("rate_limited", retry_after=3)
    assert google.get("/models").json()["error"]["details"][-1]["retryDelay"] == "3s"


def test_errors_come_in_an_array_while_a_setting_says_so(google: httpx2.Client, sandbox: SandboxServer) -> None:
    sandbox.state.configure(google_error_array=True)
    sandbox.state.faults.add("google_error", status=400)
    (told,) = google.get("/models").json()
    assert told["error"]["status"] == "FAILED_PRECONDITION"
    (told,) = google.post(GENERATE, json={}).json()
    assert told["error"]["code"] == 400


def test_the_real_price_can_drift_from_the_list(google: httpx2.Client, sandbox: SandboxServer) -> None:
    sandbox.state.configure(price_factor=2)
    usage = google.post(GENERATE, json=body()).json()["usageMetadata"]
    assert (usage["candidatesTokenCount"], usage["promptTokenCount"]) == (2240, 6)
    assert Decimal(sandbox.state.books.total_ticks) / 10**10 == Decimal("0.067209")
