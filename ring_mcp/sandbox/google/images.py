"""``POST /models/{model}:generateContent`` for pictures, and ``:predict`` as it was for Imagen."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ring_mcp.sandbox.drawing import pictures
from ring_mcp.sandbox.drawing.pictures import PictureSpec
from ring_mcp.sandbox.drawing.studio import Studio
from ring_mcp.sandbox.google import calls
from ring_mcp.sandbox.google.catalogue import (
    GEMINI_IMAGE_MODELS,
    IMAGEN_PRICES,
    IMAGEN_RATIOS,
    MAX_IMAGE_BYTES,
    MAX_INPUT_IMAGES,
    GeminiImageModel,
)
from ring_mcp.sandbox.google.replies import invalid, model_unknown
from ring_mcp.sandbox.media_files import picture_type
from ring_mcp.sandbox.state.books import Charge
from ring_mcp.sandbox.state.state import SandboxState

# Any numbers will do: a client has to count them as text and not as picture.
THOUGHT_TOKENS, REMARK_TOKENS = 180, 8
MAX_IMAGEN = 4
UNREADABLE = "Unable to process input image. Please retry or report in the developer forum."


@dataclass(frozen=True)
class Order:
    """A valid request for one picture. ``aspect_ratio`` "auto" is that of the first given picture."""

    model: GeminiImageModel
    prompt: str
    inputs: tuple[bytes, ...]
    aspect_ratio: str
    size: str
    seed: int | None
    wants_text: bool


def read_order(model: GeminiImageModel, body: Mapping[str, Any]) -> Order:
    """The order that a body means; refuses what the real service refuses."""
    contents = body.get("contents")
    if not isinstance(contents, list) or not contents:
        raise invalid("* GenerateContentRequest.contents: contents is not specified\n")
    parts = [
        part
        for content in contents
        if isinstance(content, dict)
        for part in content.get("parts") or []
        if isinstance(part, dict)
    ]
    prompt = "\n".join(part["text"] for part in parts if isinstance(part.get("text"), str))
    if not prompt:
        raise invalid("* GenerateContentRequest.contents[0].parts: contents.parts must not be empty.\n")
    calls.check_length(prompt)
    config = calls.child(body, "generationConfig")
    image = calls.child(config, "imageConfig", "generation_config", ("aspectRatio", "imageSize"))
    # Both by default, so that a remark may come along with the picture.
    modalities = config.get("responseModalities") or ["TEXT", "IMAGE"]
    if "IMAGE" not in modalities:
        raise invalid("The requested combination of response modalities is not supported by the model.")
    seed = config.get("seed")
    # A seed is an int32 of protobuf: a larger one is refused and not cut.
    if seed is not None and (not isinstance(seed, int) or not -(2**31) <= seed < 2**31):
        raise invalid("Invalid value at 'generation_config.seed' (TYPE_INT32)")
    inputs = tuple(map(decode_image, (part["inlineData"] for part in parts if "inlineData" in part)))
    if len(inputs) > MAX_INPUT_IMAGES:
        raise invalid(f"Too many input images: {len(inputs)}. The maximum is {MAX_INPUT_IMAGES}.")
    return Order(
        model=model,
        prompt=prompt,
        inputs=inputs,
        aspect_ratio=calls.choice(image.get("aspectRatio"), model.ratios, "auto" if inputs else "1:1", "Aspect ratio"),
        size=calls.choice(image.get("imageSize"), model.sizes, "1K", "Image size"),
        seed=seed,
        wants_text="TEXT" in modalities,
    )


def decode(data: Any) -> bytes:
    """What lies inside a request as base64."""
    try:
        return base64.b64decode(data["data"], validate=True)
    except (binascii.Error, KeyError, TypeError, ValueError) as exc:
        raise invalid(UNREADABLE) from exc


def decode_image(data: Any) -> bytes:
    content = decode(data)
    if picture_type(content[:16]) is None:
        raise invalid(UNREADABLE)
    if len(content) > MAX_IMAGE_BYTES:
        raise invalid(f"The image is larger than {MAX_IMAGE_BYTES} bytes.")
    return content


def keep_input(state: SandboxState, content: bytes) -> Path:
    folder = state.folder / "inputs"
    folder.mkdir(exist_ok=True)
    path = folder / hashlib.sha256(content).hexdigest()
    # By content: the studio knows a source by its path, and draws each edit of the same one once.
    path.write_bytes(content)
    return path


class GoogleImages:
    """The image endpoints of one API version."""

    def __init__(self, state: SandboxState, studio: Studio, version: str) -> None:
        self._state = state
        self._studio = studio
        self._version = version

    def routes(self) -> list[Route]:
        return [
            Route("/models/{model}:generateContent", self.generate, methods=["POST"]),
            Route("/models/{model}:predict", self.predict, methods=["POST"]),
        ]

    async def generate(self, request: Request) -> Response:
        state, name = self._state, request.path_params["model"]
        body = await calls.read_paid_call(request, state, name)
        model = GEMINI_IMAGE_MODELS.get(name)
        if model is None:
            raise model_unknown(name, self._version, "generateContent")
        order = read_order(model, body)
        tokens = self._tokens(order)
        # Before the block: what is refused afterwards may have been billed (provider reference 3.2).
        charge = state.books.add(self._charge(request, name, order.prompt, 1, model.price.cost_ticks(**tokens)))
        facts = {"modelVersion": name, "responseId": uuid.uuid4().hex[:22]}
        block = calls.find_block(request, state, charge)
        if block is not None:
            return JSONResponse(self._refuse(block, order, charge) | facts)
        await state.pause(state.settings.image_delay_s)
        picture = await self._picture(order.prompt, order.aspect_ratio, order.size, order.inputs, order.seed, charge)
        charge.state = "done"
        inline = {"inlineData": {"mimeType": "image/jpeg", "data": picture}}
        content = {"role": "model", "parts": [*self._remarks(order), inline]}
        candidate = {"content": content, "finishReason": "STOP", "index": 0}
        return JSONResponse({"candidates": [candidate], "usageMetadata": self._usage(order, tokens), **facts})

    def _remarks(self, order: Order) -> list[dict[str, Any]]:
        """What stands before the picture: a thought, with a draft picture in it, and a remark."""
        if not self._state.settings.google_thoughts:
            return []
        # A draft inside a thought is no result: whoever takes the first picture has this one (provider reference 3.2).
        draft = {"inlineData": {"mimeType": "image/jpeg", "data": "ZHJhZnQ="}, "thought": True}
        return [{"text": "Thinking of the light.", "thought": True}, draft, {"text": f"Here is {order.prompt[:40]}."}]

    def _tokens(self, order: Order) -> dict[str, int]:
        text = THOUGHT_TOKENS + REMARK_TOKENS if self._state.settings.google_thoughts else 0
        given = calls.prompt_tokens(order.prompt, order.model.input_image_tokens * len(order.inputs))
        counted = {"input": given, "text": text, "made": order.model.sizes[order.size]}
        return {kind: calls.scale_tokens(tokens, self._state) for kind, tokens in counted.items()}

    def _usage(self, order: Order, tokens: Mapping[str, int]) -> dict[str, Any]:
        thoughts = calls.scale_tokens(THOUGHT_TOKENS, self._state) if tokens["text"] else 0
        made = tokens["made"] + tokens["text"] - thoughts
        usage: dict[str, Any] = {
            "promptTokenCount": tokens["input"],
            "candidatesTokenCount": made,
            "totalTokenCount": tokens["input"] + made + thoughts,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tokens["input"]}],
            "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": tokens["made"]}],
        }
        return usage | ({"thoughtsTokenCount": thoughts} if thoughts else {})

    def _refuse(self, block: Mapping[str, Any], order: Order, charge: Charge) -> dict[str, Any]:
        """HTTP 200 without a picture. What was made and filtered is billed; a prompt that was never run, as input."""
        tokens = self._tokens(order)
        tokens["made"] = tokens["text"] = 0
        charge.cost_ticks = order.model.price.cost_ticks(**tokens) if block["billed"] else 0
        usage = {"promptTokenCount": tokens["input"], "totalTokenCount": tokens["input"]}
        metadata = {"usageMetadata": usage} if block["billed"] else {}
        if block["in_prompt"]:
            return {"promptFeedback": {"blockReason": block["reason"]}, **metadata}
        message = "Unable to show the generated image. The image may violate the policies."
        candidate = {"content": {}, "finishReason": block["reason"], "finishMessage": message, "index": 0}
        return {"candidates": [candidate], **metadata}

    async def predict(self, request: Request) -> Response:
        state, name = self._state, request.path_params["model"]
        body = await calls.read_paid_call(request, state, name)
        if name not in IMAGEN_PRICES or not state.settings.google_imagen:
            raise model_unknown(name, self._version, "predict")
        instances = body.get("instances")
        prompt = instances[0].get("prompt") if isinstance(instances, list) and instances else None
        if not isinstance(prompt, str) or not prompt:
            raise invalid("instances[0].prompt is required.")
        calls.check_length(prompt)
        wanted = calls.child(body, "parameters")
        count = wanted.get("sampleCount", MAX_IMAGEN)
        if not isinstance(count, int) or not 1 <= count <= MAX_IMAGEN:
            raise invalid(f"sampleCount must be between 1 and {MAX_IMAGEN}.")
        ratio = calls.choice(wanted.get("aspectRatio"), IMAGEN_RATIOS, "1:1", "Aspect ratio")
        size = calls.choice(wanted.get("sampleImageSize"), ("1K", "2K"), "1K", "Image size")
        cost_ticks = int(IMAGEN_PRICES[name] * count * state.settings.price_factor)
        charge = state.books.add(self._charge(request, name, prompt, count, cost_ticks))
        block = calls.find_block(request, state, charge)
        charge.state = charge.state if block else "done"
        made = await asyncio.gather(*(self._picture(prompt, ratio, size, (), i, charge) for i in range(count)))
        predictions = [{"bytesBase64Encoded": each, "mimeType": "image/jpeg"} for each in made]
        if block is not None:
            predictions[0] = {"raiFilteredReason": "Unable to show generated images. Support codes: 39322892"}
        return JSONResponse({"predictions": predictions})

    def _charge(self, request: Request, model: str, prompt: str, count: int, cost_ticks: int) -> Charge:
        return Charge(
            kind="image",
            endpoint=request.url.path.partition(f"/google/{self._version}/")[2],
            model=model,
            served_model=model,
            prompt=prompt,
            n=count,
            cost_ticks=cost_ticks,
        )

    async def _picture(
        self, prompt: str, ratio: str, size: str, inputs: tuple[bytes, ...], seed: int | None, charge: Charge
    ) -> str:
        """One JPEG as base64. Without a seed every call draws another one, unless a load test wants them all alike."""
        background = await asyncio.to_thread(keep_input, self._state, inputs[0]) if inputs else None
        given = pictures.measure(background) if background and ratio == "auto" else None
        shape = given[0] / given[1] if given else pictures.ratio_of(ratio)
        width_px, height_px = pictures.size_for(shape, size.lower())
        shows = self._state.settings.show_prompt
        drawn = seed if seed is not None else charge.id if shows else 0
        spec = PictureSpec(
            prompt=prompt if shows else "",
            width_px=width_px,
            height_px=height_px,
            facts=f"{charge.model} · {ratio} · {size}",
            seed=f"{prompt if shows else ''}\n{drawn}",
            background=background,
        )
        path = await self._studio.picture(spec)
        return base64.b64encode(await asyncio.to_thread(path.read_bytes)).decode()
