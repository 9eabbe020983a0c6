"""ring-image-create: arguments -> ImageRequest -> ImageConductor -> answer."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ring_mcp.conductors.image import ImageConductor
from ring_mcp.conductors.results import GenerateImageResult
from ring_mcp.domain import ImageRequest
from ring_mcp.domain.fields import Address, Name, Pieces, ShortText, Text, Whole, as_decimal
from ring_mcp.plans.image import ImageSettings
from ring_mcp.plans.rules import takers
from ring_mcp.presets import Presets
from ring_mcp.tools.choices import image_choices
from ring_mcp.tools.job_answers import Previews, make_or_quote
from ring_mcp.tools.paid import DryRun, IdempotencyKey, MaxUsd, PreviewSize, Wait, annotate_paid, call_notes
from ring_mcp.tools.provider_notes import count_by_taker, image_provider_notes, join, picture_usd
from ring_mcp.tools.tool import Answer, Arguments, Caller, Notes, Tool

DESCRIPTION = """\
Makes images from a prompt, stores them, and returns permanent URLs. It costs money: {usd} an image, on the \
operator's own provider key; dryRun: true tells the price.

After waitSeconds the answer is a jobId: call ring-job-get with it, not this tool again. An identical call joins a \
job under way and pays nothing; once delivered, it is paid anew."""


class ImageCreateArguments(Arguments):
    prompt: Text = Field(description="What to draw.")
    # Empty here and below: what there is to say depends on the registry and the operator (``image_descriptions``).
    provider: Name | None = Field(None, description="")
    model: Name | None = Field(None, description="")
    aspect_ratio: Name | None = Field(None, description="")
    resolution: Name | None = Field(None, description="1k is 1 megapixel, 2k is 4.")
    n: Annotated[Pieces | None, Field(description="How many.")] = None
    purpose: Name | None = Field(None, description="One word: a folder in storage.")
    ref_code: ShortText | None = Field(None, description="Your tracking id.")
    seed: Whole | None = Field(None, description="A hint.")
    quality: Name | None = Field(None, description="")
    reference_images: list[Address] | None = Field(
        None,
        description="To edit or combine; <IMAGE_0> in the prompt is the first. URLs, data URIs, file ids; each billed.",
    )
    dry_run: DryRun = False
    max_usd: MaxUsd = None
    idempotency_key: IdempotencyKey = None
    wait_seconds: Wait = None
    preview: PreviewSize = None

    def request(self) -> ImageRequest:
        return ImageRequest(
            prompt=self.prompt,
            provider=self.provider,
            model=self.model,
            aspect_ratio=self.aspect_ratio,
            resolution=self.resolution,
            n=self.n,
            purpose=self.purpose,
            ref_code=self.ref_code,
            seed=self.seed,
            quality=self.quality,
            reference_images=tuple(self.reference_images or ()),
            idempotency_key=self.idempotency_key,
            max_usd=as_decimal(self.max_usd),
        )


def image_notes(presets: Presets) -> Notes:
    """Notes on arguments that only some models take."""
    counts = takers(presets.image_models, lambda model: model.max_input_images)
    chosen = takers(presets.image_models, lambda model: model if model.qualities else None)
    qualities = (
        f"{name}; default {model.default_quality}"
        + (f", for edits {model.default_edit_quality}" if model.default_edit_quality else "")
        for name, model in chosen.items()
        if model is not None
    )
    return {
        "quality": f"Only {'; '.join(qualities)}." if chosen else None,
        "referenceImages": f"At most {count_by_taker(counts, presets.image_models)}." if counts else None,
    }


def image_descriptions(presets: Presets, settings: ImageSettings | None = None) -> Notes:
    """What presets.json and the operator's ``settings`` add to each argument's description."""
    return join(image_provider_notes(presets, settings), image_notes(presets))


def image_create_tool(
    images: ImageConductor,
    previews: Previews,
    inline_wait_s: float,
    presets: Presets,
    *,
    closed: bool = True,
    settings: ImageSettings | None = None,
) -> Tool[ImageCreateArguments]:
    """``closed`` False: an endpoint of the operator's own may have models that the registry does not have.

    ``settings``: the operator's own defaults, for the descriptions.
    """

    async def handle(arguments: ImageCreateArguments, caller: Caller) -> Answer:
        return await make_or_quote(images, arguments, caller, previews, inline_wait_s)

    return Tool(
        name="ring-image-create",
        title="Create images",
        # Not format: the example in it is JSON, and has braces of its own.
        description=DESCRIPTION.replace("{usd}", picture_usd(presets)),
        arguments=ImageCreateArguments,
        output=GenerateImageResult,
        annotations=annotate_paid(),
        handler=handle,
        notes=join(image_descriptions(presets, settings), call_notes(inline_wait_s, previews.default)),
        choices=image_choices(presets, closed=closed),
        is_long=True,
    )
