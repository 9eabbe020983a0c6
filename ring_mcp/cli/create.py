"""``ring-mcp image`` and ``ring-mcp video``: the create tools for a person, with their arguments as options."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ring_mcp.cli.backend import gateway_option
from ring_mcp.cli.spelled import WAIT, HintingCommand
from ring_mcp.domain import MediaKind
from ring_mcp.providers.vendors import VENDORS

if TYPE_CHECKING:
    from ring_mcp.tools.tool import Arguments

F = TypeVar("F", bound=Callable[..., Any])
Given = str | float | bool | tuple[str, ...] | None


class RegistryOption(click.Option):
    """An option whose help ends with what can be chosen. The registry is read only when help is asked for."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        from pydantic.alias_generators import to_camel

        from ring_mcp.config import load_config
        from ring_mcp.errors import ConfigError
        from ring_mcp.presets import load_presets
        from ring_mcp.tools.choices import image_choices, video_choices

        record = super().get_help_record(ctx)
        try:
            presets = load_presets(overlay=load_config().presets_file)
        except ConfigError:  # a command that runs tells it
            return record
        choices = image_choices(presets) if ctx.command.name == "image" else video_choices(presets)
        choice = choices.get(to_camel(self.name or ""))
        return record and (record[0], f"{record[1]} {', '.join(choice.values)}." if choice else record[1])


def _makers(kind: MediaKind) -> str:
    return " or ".join(vendor.name for vendor in VENDORS if kind in vendor.makers) + "."


def _add_shared_options(command: F) -> F:
    # The last decorator is applied first: reversed, the options stand in --help as they do here.
    for option in reversed(
        (
            click.option("--purpose", help="What it is for, one word; becomes a folder of the storage path."),
            click.option("--ref-code", help="Your own tracking id, kept in the audit row."),
            click.option("--dry-run", is_flag=True, help="Only say what would be made and what it would cost."),
            click.option("--idempotency-key", help="Names this one paid request; repeat it to repeat safely."),
            click.option("--max-usd", metavar="USD", help="Start nothing if it could cost more than this."),
            click.option("--yes", is_flag=True, help="Where RING_CONFIRM asks before spending: the answer."),
            click.option("--wait-s", type=WAIT, help="Seconds to wait; default: as long as it may take."),
            click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout and nothing else."),
            click.option("--open", "opened", is_flag=True, help="Show the result in the platform's viewer."),
            gateway_option,
        )
    ):
        command = option(command)
    return command


@click.command(cls=HintingCommand)
@click.argument("prompt")
@click.option("--provider", help=_makers("image"))
@click.option("--model", help="The provider's model id; `ring-mcp presets` lists them.")
@click.option("--aspect-ratio", cls=RegistryOption, help="Width to height:")
@click.option("--resolution", cls=RegistryOption, help="Size, as far as the model has it:")
# No type of click's: the tool's own model reads numbers, and refuses them in the same words for everybody.
@click.option("--n", metavar="INTEGER", help="How many pictures.")
@click.option("--seed", metavar="INTEGER", help="Reproducibility hint, where the provider has one.")
@click.option("--quality", cls=RegistryOption, help="Where the model has the choice:")
@click.option("--reference-images", multiple=True, help="Edit or combine this: a URL, a file, an id. Repeatable.")
@_add_shared_options
def image(
    wait_s: float | None, as_json: bool, opened: bool, gateway: str | None, yes: bool, **arguments: Given
) -> None:
    """Make pictures from PROMPT. It costs money; --dry-run tells the price first.

    Exit status: 0 done, 1 failed, 2 wrong usage or configuration, 3 still under way (its job is printed).
    """
    _create("image", arguments, wait_s, as_json, opened, gateway, yes=yes)


@click.command(cls=HintingCommand)
@click.argument("prompt")
@click.option("--provider", help=_makers("video"))
@click.option("--quality-mode", help="draft, draft_i2v, production or production_i2v.")
@click.option(
    "--duration", metavar="INTEGER", help="Whole seconds; `ring-mcp presets` tells how many each model makes."
)
@click.option("--aspect-ratio", cls=RegistryOption, help="Width to height:")
@click.option("--resolution", cls=RegistryOption, help="In place of the mode's own, as far as the model has it:")
@click.option("--model", help="The provider's model id in place of the mode's own.")
@click.option("--image-url", help="First frame: an http(s) URL, or a file that the server may read.")
@click.option("--first-frame-prompt", help="Make the first frame from this prompt first (a paid picture).")
@click.option("--image-provider", help="Who makes the first frame; as --provider of `ring-mcp image`.")
@click.option("--image-model", help="The first frame's model.")
@click.option("--image-resolution", cls=RegistryOption, help="The first frame's size:")
@click.option("--reference-images", multiple=True, help="To appear in the clip: a URL, a file, an id. Repeatable.")
@click.option("--last-frame-url", help="The picture that the clip ends on, given like a first frame.")
@click.option("--source-video-url", help="With --remaster: the clip to edit; with --extend: the one to make longer.")
@click.option("--extend", metavar="INTEGER", help="Whole seconds to add to the clip of --source-video-url.")
@click.option("--remaster-from-video-url", help="Another name for --source-video-url.")
@click.option("--remaster", is_flag=True, help="Make it again at 720p; with --source-video-url: edit that clip.")
@click.option("--remaster-from-request-id", help="The requestId of the draft, kept in the audit row.")
@click.option("--clip-id", help="Your id of this clip, kept in the audit row.")
@click.option("--pipeline-request-id", help="Your id of the campaign, kept in the audit row.")
@click.option(
    "--persist-to-filebase/--no-persist-to-filebase",
    default=True,
    help="--no-…: no copy and no audit row, only the provider's address, which expires.",
)
@click.option("--thumbnail", metavar="TITLE", help="Make a thumbnail with these words; it costs nothing.")
@click.option("--thumbnail-template", help="With --thumbnail: default, title_card or cta_bar.")
@_add_shared_options
def video(
    wait_s: float | None,
    as_json: bool,
    opened: bool,
    gateway: str | None,
    thumbnail: str | None,
    thumbnail_template: str | None,
    yes: bool,
    **arguments: Any,
) -> None:
    """Make a clip from PROMPT. It costs money; --dry-run tells the price first.

    It usually takes one to five minutes. Ctrl-C leaves it: the job stays on record, `ring-mcp jobs resume` fetches it.
    Exit status: 0 done, 1 failed, 2 wrong usage or configuration, 3 still under way (its job is printed).
    """
    if thumbnail_template and thumbnail is None:
        raise click.UsageError("--thumbnail-template goes with --thumbnail")
    if thumbnail is not None:
        arguments["thumbnail"] = _thumbnail(thumbnail, thumbnail_template)
    _create("video", arguments, wait_s, as_json, opened, gateway, yes=yes)


def _thumbnail(title: str, template: str | None) -> dict[str, Any]:
    """The argument of the tool: the words as a title, in the middle of a title card and at the bottom otherwise."""
    overlay = {"text": title, "role": "title", **({"position": "center"} if template == "title_card" else {})}
    return {"enabled": True, "overlays": [overlay], **({"template": template} if template else {})}


def _create(
    kind: MediaKind,
    given: dict[str, Any],
    wait_s: float | None,
    as_json: bool,
    opened: bool,
    gateway: str | None,
    *,
    yes: bool,
) -> None:
    from ring_mcp.cli.asking import follow_asked
    from ring_mcp.cli.backend import limit_s, load_config_with
    from ring_mcp.cli.progress import fail, finish
    from ring_mcp.errors import RingError

    try:
        arguments = _arguments(kind, given)
        config = load_config_with(gateway)
        wait_at_most_s = limit_s(config, kind) if wait_s is None else wait_s
        data = follow_asked(config, kind, arguments, wait_at_most_s, yes=yes)
    except RingError as exc:
        fail(exc, as_json=as_json, gateway=gateway)
    finish(data, as_json=as_json, gateway=gateway, opened=opened)


def _arguments(kind: MediaKind, given: dict[str, Any]) -> dict[str, Any]:
    """The tool's arguments, checked here so that wrong usage is told before anything is reached."""
    from ring_mcp.tools.image_create import ImageCreateArguments
    from ring_mcp.tools.video_create import VideoCreateArguments

    model: type[Arguments] = ImageCreateArguments if kind == "image" else VideoCreateArguments
    fields = model.model_fields
    # What equals a default is left out: whoever does the work has its own, and Ring's gateways do not know all of ours.
    named = {
        str(fields[name].alias): value[0] if isinstance(value, tuple) and len(value) == 1 else value
        for name, value in given.items()
        if value not in (fields[name].default, ())
    }
    # For its complaints alone: what was typed is sent as it is, and read by whoever does the work.
    model.parse(named)
    return named
