"""The choices of each argument, from presets.json: the enums of the input schemas."""

from __future__ import annotations

from ring_mcp.plans.rules import list_living, values
from ring_mcp.presets import Presets
from ring_mcp.tools.tool import Choice, Choices


def image_choices(presets: Presets, *, closed: bool = True) -> Choices:
    """``closed`` False: an endpoint of the operator's own may have other models."""
    models = presets.image_models
    return {
        "provider": Choice(presets.image_providers),
        # Without models that end soon: whatever is in an enum gets chosen, on its last day as well.
        "model": Choice(list_living(models), closed=closed),
        "aspectRatio": Choice(values(models, lambda model: model.aspect_ratios)),
        "resolution": Choice(values(models, lambda model: model.resolutions)),
        "quality": Choice(values(models, lambda model: model.qualities)),
    }


def video_choices(presets: Presets, *, closed: bool = True) -> Choices:
    """``closed`` False: an endpoint of the operator's own may have other models."""
    models, image = presets.video_models, image_choices(presets, closed=closed)
    return {
        "provider": Choice(presets.video_providers),
        "model": Choice(list_living(models), closed=closed),
        "aspectRatio": Choice(values(models, lambda model: model.aspect_ratios)),
        "resolution": Choice(values(models, lambda model: model.resolutions)),
        "imageProvider": image["provider"],
        "imageModel": image["model"],
        "imageResolution": image["resolution"],
    }


def model_choices(presets: Presets) -> Choices:
    """Choices of ring-model-list: no ``model``, since retired ones can be asked for too; no sizes, to save tokens."""
    makers = dict.fromkeys([*presets.image_providers, *presets.video_providers])
    return {"provider": Choice(tuple(makers)), "quality": image_choices(presets)["quality"]}
