"""``ring-mcp health`` and ``ring-mcp presets``: how everything is, and what can be asked for. Neither spends."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import click

from ring_mcp.cli.backend import gateway_option
from ring_mcp.cli.show import dollars, field, health_lines, paragraph, print_json, print_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from ring_mcp.presets import ImageModel, Model, Presets, VideoModel


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@gateway_option
def health(as_json: bool, gateway: str | None) -> None:
    """Check ledger, storage, key, prices, models and spending; each problem comes with its fix.

    Exit status 1 if anything is an error.
    """
    from ring_mcp.cli.backend import leave_settings_to_health, load_config_with, open_backend

    async def ask() -> dict[str, Any]:
        async with open_backend(load_config_with(gateway)) as backend:
            return await backend.health()

    with leave_settings_to_health():
        tell_report(ask, as_json=as_json, gateway=gateway)


def tell_report(ask: Callable[[], Coroutine[Any, Any, dict[str, Any]]], *, as_json: bool, gateway: str | None) -> None:
    """Print what ``ask`` finds, and end with its status."""
    from ring_mcp.cli.progress import fail
    from ring_mcp.errors import RingError

    try:
        report = asyncio.run(ask())
    except RingError as exc:
        fail(exc, as_json=as_json, gateway=gateway)
    if as_json:
        print_json(report)
    else:
        print_lines(health_lines(report))
    sys.exit(1 if report.get("status") == "error" else 0)


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, as in presets.json.")
@click.pass_context
def presets(ctx: click.Context, as_json: bool) -> None:
    """The models with sizes, ratios, list prices and retirement, and the quality modes of clips, of this version."""
    from ring_mcp.config import load_config
    from ring_mcp.presets import load_presets

    if ctx.invoked_subcommand is not None:
        return
    found = load_presets(overlay=load_config().presets_file)
    if as_json:
        shown = found.model_dump(mode="json", by_alias=True, exclude_none=True)
        print_json(shown)
        return
    today = datetime.now(UTC).date()
    lines = _mode_lines(found)
    for heading, models in (("IMAGE MODELS", found.image_models), ("VIDEO MODELS", found.video_models)):
        lines += ["", heading, *_model_lines(models, today)]
    print_lines(lines)


def _mode_lines(presets: Presets) -> list[str]:
    lines = ["QUALITY MODES (estimate per second)"]
    for name, mode in presets.modes.items():
        image = ", needs an image" if mode.requires_image_url else ""
        default = ", the default" if name == presets.defaults.video.quality_mode else ""
        price = dollars(mode.estimated_usd_per_second)
        lines += [name, *paragraph("  ", f"{mode.model}, {mode.resolution}, {price}{image}{default}")]
        for provider, choice in mode.providers.items():
            price = dollars(choice.estimated_usd_per_second)
            lines += paragraph("  ", f"with {provider}: {choice.model}, {choice.resolution}, {price}")
    return lines


def _model_lines(models: Mapping[str, ImageModel] | Mapping[str, VideoModel], today: date) -> list[str]:
    lines: list[str] = []
    gone: list[str] = []
    for name, model in models.items():
        if model.is_retired(today) or model.is_redirected(today):
            served = "is served by" if model.redirect else "use"
            word = "retired" if model.is_retired(today) else "retires"
            gone += field(word, f"{name} ({model.retires_on}): {served} {model.replaced_by}")
            continue
        lines.append(f"{name} ({model.provider})")
        lines += _facts(model)
        if model.unsure:
            lines += field("unsure", ", ".join(model.unsure))
        if model.retires_on is not None:
            lines += field("retires", f"{model.retires_on}; then {model.replaced_by}")
    return lines + gone  # last: nobody chooses among them


def _facts(model: Model) -> list[str]:
    from ring_mcp.presets import ImageModel, VideoModel

    lines = field("ratios", " ".join(model.aspect_ratios))
    if isinstance(model, ImageModel) and model.prices is not None:
        for quality, prices in model.prices.image_usd.items():
            sizes = ", ".join(f"{size} {dollars(price)}" for size, price in prices.items())
            lines += field("a picture", sizes if quality == "standard" else f"{sizes} ({quality})")
        lines += field("at a time", f"up to {model.max_n}")
        if model.max_input_images:
            lines += field(
                "edits", f"up to {model.max_input_images} images, {dollars(model.prices.input_image_usd)} each"
            )
        lines += field("prices of", model.prices.as_of)
    if isinstance(model, VideoModel) and model.prices is not None:
        lines += field("a second", ", ".join(f"{size} {dollars(p)}" for size, p in model.prices.second_usd.items()))
        can = {
            "from text": model.text_to_video,
            "from an image": model.image_to_video,
            "to a last frame": model.last_frame,
        }
        can |= {f"from up to {model.max_reference_images} references": bool(model.max_reference_images)}
        can |= {"edits": model.edit, "extensions": model.extend}
        lengths = f"{model.min_duration_s} to {model.max_duration_s} s"
        lines += field("makes", ", ".join([lengths, *(what for what, yes in can.items() if yes)]))
        lines += field("prices of", model.prices.as_of)
    return lines
