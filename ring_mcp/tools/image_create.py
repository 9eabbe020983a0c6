"""ring-image-create: arguments -> ImageRequest -> ImageConductor -> answer."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ring_mcp.conductors.image import ImageConductor
from ring_mcp.conductors.results import GenerateImageResult
from ring_mcp.domain import ImageRequest
from ring_mcp.domain.fields import ShortText, Text, Whole, as_decimal
from ring_mcp.plans.rules import join_counts, takers
from ring_mcp.presets import Presets
from ring_mcp.tools.choices import image_choices
from ring_mcp.tools.job_answers import Previews, answer, report
from ring_mcp.tools.paid import DryRun, IdempotencyKey, MaxUsd, Wait, annotate_paid
from ring_mcp.tools.provider_notes import image_provider_notes, join, picture_usd
from ring_mcp.tools.tool import Answer, Arguments, Caller, Notes, Tool

DESCRIPTION = """\
Makes one or more images from a text prompt on the operator's own provider key, stores them, and returns permanent \
URLs. It costs money ({usd} per image; dryRun: true tells the price without spending).

The result's text starts with the URL of the first image; data.images has every image with size, type and record id. \
If it takes longer than waitSeconds, the answer has state and jobId instead: call ring-job-get with that jobId, and do \
not call this tool again. An identical call while one is under way attaches to it and pays nothing; once the result \
has been delivered, it is a new paid request.

Example: {"prompt": "a lighthouse at dusk, oil painting", "aspectRatio": "16:9", "purpose": "news-featured"}"""


class ImageCreateArguments(Arguments):
    prompt: Text = Field(description="What to draw, in plain language. Required.")
    provider: Text | None = Field(None, description="Who makes it.")
    model: Text | None = Field(None, description="The provider's model id.")
    aspect_ratio: Text | None = Field(None, description="Width to height.")
    resolution: Text | None = Field(None, description="Size tier: 1k is about 1 megapixel, 2k about 4.")
    n: Annotated[Whole | None, Field(description="How many images; one if it is left out.")] = None
    purpose: Text | None = Field(
        None, description="What it is for, one word; becomes a folder of the storage path.", examples=["og"]
    )
    ref_code: ShortText | None = Field(None, description="Your own tracking id, kept in the audit row.")
    seed: Whole | None = Field(None, description="Reproducibility hint, where the provider has one.")
    quality: Text | None = Field(None, description="How carefully it is drawn, at its own price.")
    reference_images: list[Text] | None = Field(
        None,
        description="Images to edit or combine as the prompt says (<IMAGE_0> is the first): http(s) URLs, URLs that "
        "this server returned, data URIs or the provider's file ids. Up to 10 MiB each; each is billed.",
    )
    dry_run: DryRun = False
    max_usd: MaxUsd = None
    idempotency_key: IdempotencyKey = None
    wait_seconds: Wait = None

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
    """What the models of the registry take beyond Ring's own arguments."""
    counts = takers(presets.image_models, lambda model: model.max_input_images)
    chosen = takers(presets.image_models, lambda model: model if model.qualities else None)
    qualities = (
        f"{' or '.join(model.qualities)} with {name}; default {model.default_quality}"
        + (f", for edits {model.default_edit_quality}" if model.default_edit_quality else "")
        for name, model in chosen.items()
        if model is not None
    )
    return {
        "quality": f"{'; '.join(qualities)}." if chosen else None,
        "referenceImages": f"At most {join_counts(counts)}." if counts else None,
    }


def image_descriptions(presets: Presets) -> Notes:
    """Everything that the registry adds to the descriptions of the arguments."""
    return join(image_provider_notes(presets), image_notes(presets))


def image_create_tool(
    images: ImageConductor, previews: Previews, inline_wait_s: float, presets: Presets, *, closed: bool = True
) -> Tool[ImageCreateArguments]:
    """``closed`` False: an endpoint of the operator's own may have models that the registry does not have."""

    async def handle(arguments: ImageCreateArguments, caller: Caller) -> Answer:
        if arguments.dry_run:
            return answer(await images.quote(arguments.request(), actor_id=caller.actor_id), previews)
        result = await images.generate(
            arguments.request(),
            actor_id=caller.actor_id,
            wait_s=inline_wait_s if arguments.wait_seconds is None else arguments.wait_seconds,
            on_progress=report(caller.progress),
        )
        return answer(result, previews)

    return Tool(
        name="ring-image-create",
        title="Create images",
        description=DESCRIPTION.replace("{usd}", picture_usd(presets)),
        arguments=ImageCreateArguments,
        output=GenerateImageResult,
        annotations=annotate_paid("Create images"),
        handler=handle,
        notes=image_descriptions(presets),
        choices=image_choices(presets, closed=closed),
    )
