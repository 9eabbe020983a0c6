"""The knobs of the sandbox: how slow, how strict and how it spells things."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

DEFAULT_XAI_KEY = "sandbox-xai-key"
DEFAULT_GOOGLE_KEY = "sandbox-google-key"
DEFAULT_RINGBASE_TOKEN = "sandbox-ringbase-token"  # noqa: S105 - it opens nothing but this emulator

Seconds = Annotated[float, Field(ge=0)]


class SandboxRefusal(ValueError):
    """The sandbox's own switches were used wrongly; the text lists what is allowed."""


class Settings(BaseModel):
    """Everything that ``/control/settings`` shows and changes.

    Times are read when a poll or a download comes, so lowering ``render_s`` finishes what is in flight.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    render_s: Seconds = 0.0
    """How long a video job stays pending."""
    deferred_s: Seconds = 0.0
    """How long a deferred image job stays pending."""
    pending_polls: int = Field(default=0, ge=0)
    """How many polls of a job answer 202 at least, however short its time."""
    image_delay_s: Seconds = 0.0
    """How long a synchronous image call takes."""
    retention_s: Seconds = 86400.0
    """How long a job can be asked for; afterwards 404."""
    unknown_jobs: Literal["refused", "failed"] = "refused"
    """What a look at a job that this sandbox never had hears: that it failed, where each process has a sandbox of its
    own. As with the real services nobody would believe in "no such job" for hours."""
    url_ttl_s: Seconds | None = None
    """How long a media URL works; None is an hour for images and a day for clips."""
    expired_status: Literal[403, 404, 410] = 404
    """What a media URL answers after that."""
    xai_keys: tuple[str, ...] = (DEFAULT_XAI_KEY,)
    xai_teams: Mapping[str, str] = {}
    """Keys of other teams, by key: a team's jobs are known to its own keys alone. All others are of one team."""
    google_keys: tuple[str, ...] = (DEFAULT_GOOGLE_KEY,)
    ringbase_tokens: tuple[str, ...] = (DEFAULT_RINGBASE_TOKEN,)
    code_style: Literal["new", "old"] = "new"
    """Spelling of error codes: ``invalid-argument`` or ``Client specified an invalid argument``."""
    rate_limit: bool = False
    # The tables of the documents have changed more than once: provider reference 1.7.
    image_rps: float = Field(default=5.0, gt=0)
    video_rps: float = Field(default=2.0, gt=0)
    retry_after: Literal["none", "seconds", "date"] = "none"
    """Which ``Retry-After`` a 429 of the rate limit carries; the real one carries none that is documented."""
    moderation_rate: float = Field(default=0.0, ge=0, le=1)
    """Share of create calls that are refused by moderation, drawn per call, billed."""
    price_factor: float = Field(default=1.0, ge=0)
    """Multiplies every bill: makes the real price drift from the list."""
    zdr: bool = False
    """The team has zero data retention: videos and deferred images need an upload URL."""
    team_blocked: bool = False
    capability_refusal: Literal["create", "poll"] = "create"
    """Where an edit or extension with a model that has none is refused."""
    promptless_i2v: Literal["accept", "poll_400"] = "accept"
    """What becomes of a picture without a prompt: seen both ways in the field."""
    require_mp4_extension: bool = False
    """Refuses source clips whose URL does not end in ``.mp4``: the specification says so, nobody has seen it."""
    report_model: bool = False
    """Adds ``model`` to image answers: a migration guide promises it, the specification lacks it."""
    google_error_array: bool = False
    """Google's errors inside a one-element array, as its front end sends them."""
    google_thoughts: bool = False
    """Google's pictures come after a thought and a remark, both billed."""
    google_takes_uploads: bool = True
    """False: Google neither edits nor extends clips that it is given, as in Europe, and calls the prompt the reason."""
    google_clips_inside: bool = False
    """A look has its clip inside, whatever delivery was asked for: so it is documented, and was seen otherwise."""
    google_max_request_bytes: int = Field(default=100 * 1024 * 1024, gt=0)
    """The largest request that Google takes, with everything inside; since January 2026."""
    google_imagen: bool = False
    """``imagen-*`` names answer on ``:predict`` as before August 2026; the public service says 404."""
    unprocessable_as_json: bool = False
    """422 as JSON in place of bare text."""
    fetch_inputs: bool = True
    """False: foreign ``http(s)`` inputs are taken as given and never fetched."""
    show_prompt: bool = True
    """False: pictures and clips leave the prompt out, so that a load test renders each size once."""

    def change(self, changes: Mapping[str, object]) -> Settings:
        """A copy with some settings replaced.

        Raises:
            SandboxRefusal: a name is unknown or a value is not allowed.
        """
        unknown = sorted(set(changes) - set(Settings.model_fields))
        if unknown:
            allowed = ", ".join(sorted(Settings.model_fields))
            raise SandboxRefusal(f"unknown setting {', '.join(unknown)}; allowed: {allowed}")
        try:
            # Checked anew as a whole: a plain copy of the model would take any value.
            return Settings.model_validate({**self.model_dump(), **changes})
        except ValidationError as exc:
            faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in exc.errors())
            raise SandboxRefusal(f"setting refused: {faults}") from exc
