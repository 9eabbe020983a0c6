"""Arguments that only some models take: described from the registry, refused with what it has, and made through MCP."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.package_data import data_path
from ring_mcp.presets import Presets, load_presets
from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.tools.choices import image_choices, video_choices
from ring_mcp.tools.image_create import ImageCreateArguments, image_descriptions
from ring_mcp.tools.video_create import VideoCreateArguments, video_descriptions
from tests.server.wire import RingProcess, environment

SHIPPED: dict[str, Any] = json.loads(data_path("presets.json").read_text())
OURS = {"quality", "referenceImages"}, {"referenceImages", "lastFrameUrl", "extend"}


def registry(folder: Path, **changes: Any) -> Presets:
    """The shipped registry with these facts in every model that is still served."""
    raw = copy.deepcopy(SHIPPED)
    for table in ("imageModels", "videoModels"):
        for model in raw[table].values():
            if "prices" in model:
                model.update({name: value for name, value in changes.items() if name in model})
    path = folder / "presets.json"
    path.write_text(json.dumps(raw))
    return load_presets(path)


def schemas(presets: Presets) -> tuple[dict[str, Any], dict[str, Any]]:
    image = ImageCreateArguments.input_schema(image_descriptions(presets), image_choices(presets))
    video = VideoCreateArguments.input_schema(video_descriptions(presets), video_choices(presets))
    return image["properties"], video["properties"]


def test_an_argument_names_the_models_that_take_it() -> None:
    image, video = schemas(load_presets())
    assert "Only grok-imagine-image-2.0; default low, for edits medium" in image["quality"]["description"]
    assert "5 with grok-imagine-image-2.0, 3 with grok-imagine-image" in image["referenceImages"]["description"]
    assert "7 with grok-imagine-video, 14 with grok-imagine-video-1.5" in video["referenceImages"]["description"]
    assert video["lastFrameUrl"]["description"].endswith("Only with grok-imagine-video-1.5 or Google.")
    assert "2 to 10 with grok-imagine-video" in video["extend"]["description"]
    assert "1080p with grok-imagine-video-1.5, grok-imagine-video-1.5-lite" in video["resolution"]["description"]


def test_what_can_be_chosen_is_what_the_registry_has() -> None:
    presets = load_presets()
    image, video = schemas(presets)
    pictures = [name for name, model in presets.image_models.items() if model.retires_on is None]
    clips = [name for name, model in presets.video_models.items() if model.retires_on is None]
    assert image["model"]["enum"] == pictures
    assert video["imageModel"]["enum"] == pictures
    assert video["model"]["enum"] == clips
    for arguments, models, named in ((image, presets.image_models, pictures), (video, presets.video_models, clips)):
        assert set(arguments["provider"]["enum"]) == {"xai", "google"}
        for name in named:
            assert set(models[name].aspect_ratios) <= set(arguments["aspectRatio"]["enum"])
            assert set(models[name].resolutions) <= set(arguments["resolution"]["enum"])
    assert image["quality"]["enum"] == ["low", "medium"]
    assert video["qualityMode"]["enum"] == list(presets.modes)
    assert video["imageResolution"]["enum"] == image["resolution"]["enum"]


@pytest.mark.parametrize("variable", ["XAI_API_BASE_URL", "GOOGLE_GENAI_BASE_URL"])
def test_an_endpoint_of_ones_own_may_have_models_that_the_registry_lacks(tmp_path: Path, variable: str) -> None:
    own = {variable: "https://models.example.org/v1", "XAI_API_KEY": "k" * 20, "RING_STATE_DIR": str(tmp_path)}
    with RingProcess(environment(tmp_path, **own), tmp_path) as ring:
        for tool in ring.request("tools/list")["tools"][:2]:
            arguments = tool["inputSchema"]["properties"]
            assert "enum" not in arguments["model"]
            assert arguments["model"]["examples"]
            assert arguments["provider"]["enum"] == ["xai", "google"]


def test_a_new_fact_of_the_registry_is_told_without_new_code(tmp_path: Path) -> None:
    image, video = schemas(registry(tmp_path, maxInputImages=9, maxExtendS=12))
    assert "At most 9 with xAI or Google." in image["referenceImages"]["description"]
    assert "2 to 12 with grok-imagine-video" in video["extend"]["description"]


def test_an_argument_that_no_model_takes_is_not_in_the_schema(tmp_path: Path) -> None:
    nothing = {
        "maxInputImages": 0, "qualities": [], "defaultQuality": None, "defaultEditQuality": None,
        "maxReferenceImages": 0, "lastFrame": False,
    }  # fmt: skip
    raw = copy.deepcopy(SHIPPED)
    raw["imageModels"]["grok-imagine-image-2.0"]["prices"]["imageUsd"]["standard"] = {"1k": 1, "1.5k": 1, "2k": 1}
    for table in ("imageModels", "videoModels"):
        for model in raw[table].values():
            model.update({name: value for name, value in nothing.items() if name in model})
    path = tmp_path / "presets.json"
    path.write_text(json.dumps(raw))
    image, video = schemas(load_presets(path))
    assert not OURS[0] & image.keys()
    assert (OURS[1] & video.keys(), "resolution" in video) == ({"extend"}, True)


def test_a_model_that_is_going_away_is_not_advertised(tmp_path: Path) -> None:
    raw = copy.deepcopy(SHIPPED)
    leaving = {"retiresOn": "2999-01-01", "replacedBy": "grok-imagine-image-2.0"}
    raw["imageModels"]["grok-imagine-image"].update(leaving)
    path = tmp_path / "presets.json"
    path.write_text(json.dumps(raw))
    assert (
        schemas(load_presets(path))[0]["referenceImages"]["description"]
        .partition("At most ")[2]
        .startswith("5 with xAI, 14 with Google.")
    )


def test_the_price_of_an_edit_is_told_before_it_is_made(ring: RingProcess, sandbox: SandboxServer) -> None:
    first = ring.create(prompt="a boat", resolution="1k").data
    asked = {"prompt": "at night", "referenceImages": [first["url"]], "quality": "low", "resolution": "1k"}
    quote = ring.create(**asked, dryRun=True).data
    assert [(line["what"], line["totalUsd"]) for line in quote["prices"]] == [
        ("image, grok-imagine-image-2.0 low 1k", 0.04),
        ("reference image given to the model", 0.01),
    ]
    made = ring.create(**asked).data
    assert (made["state"], made["billedCostUsd"], made["estimatedCostUsd"]) == ("done", 0.05, 0.05)


def test_a_clip_is_made_longer_over_mcp(ring: RingProcess, sandbox: SandboxServer) -> None:
    draft = ring.call("ring-video-create", {"prompt": "a boat", "duration": 2}).data
    longer = ring.call(
        "ring-video-create", {"prompt": "it sails on", "sourceVideoUrl": draft["video"]["url"], "extend": 2}
    ).data
    assert (longer["generationKind"], longer["duration"], longer["video"]["duration"]) == ("extend", 2, 4.0)
    assert longer["remasterFromVideoUrl"] == draft["video"]["url"]


@pytest.mark.parametrize(
    ("tool", "arguments", "begins"),
    [
        ("image", {"referenceImages": {"name": "a.jpg"}}, "referenceImages: must be a list"),
        ("image", {"referenceImages": "a.jpg"}, "referenceImages[0] must be an http(s) address"),
        ("image", {"referenceImages": "[a.jpg"}, "referenceImages: is text that begins like JSON and is none"),
        ("image", {"referenceImages": [5]}, "referenceImages[0]: must be text"),
        ("image", {"referenceImages": ["a\0b"]}, "referenceImages[0]: must not contain a NUL character"),
        (
            "image",
            {"referenceImages": ["https://example.com/a.jpg"] * 6},
            "model grok-imagine-image-2.0 takes at most 5",
        ),
        ("image", {"quality": "high"}, "quality must be one of low, medium for grok-imagine-image-2.0, got 'high'"),
        ("video", {"extend": 4}, "extend needs sourceVideoUrl"),
        ("video", {"extend": True}, "extend: must be a number"),
        ("video", {"extend": 11, "sourceVideoUrl": "https://example.com/a.mp4"}, "extend must be a whole number"),
        ("video", {"lastFrameUrl": "https://example.com/a.jpg"}, "model grok-imagine-video takes no last frame"),
        ("video", {"resolution": "1080p"}, "resolution must be one of 480p, 720p for grok-imagine-video"),
    ],
)
def test_a_wrong_one_is_refused_before_anything_is_asked_of_the_provider(
    ring: RingProcess, sandbox: SandboxServer, tool: str, arguments: dict[str, Any], begins: str
) -> None:
    reply = ring.call(f"ring-{tool}-create", {"prompt": "x", **arguments})
    assert reply.is_error
    assert reply.content["error"].startswith(begins)
    assert (reply.content["code"], reply.content["billed"]) == ("invalid_request", "no")
    assert not sandbox.state.requests
