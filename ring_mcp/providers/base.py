"""The provider contract: who makes the media. One suite of tests runs over every provider."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol, runtime_checkable
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict

from ring_mcp.clock import Clock
from ring_mcp.config_types import Key, Url, lower
from ring_mcp.domain import MediaKind, Output, Plan
from ring_mcp.errors import RateLimited

if TYPE_CHECKING:
    from ring_mcp.providers.http import ProviderHttp

MOST_PAUSES_S = 60.0
"""How long after its first sending a paid request may at most be sent again: a submit ends within its ``deadline_s``
and this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The provider took the job and gave a handle: from here any process can finish it."""

    provider_request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """Not done yet. ``progress`` is the provider's own 0 to 100, None if it says nothing."""

    progress: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """Made. ``billed_usd`` is the provider's own figure, ``served_model`` the model that it says has served."""

    outputs: tuple[Output, ...]
    billed_usd: Decimal | None = None
    served_model: str | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Downloaded:
    """A file that was written completely."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Media that goes along with a request, as the provider can read it: a public URL, a data URI or a file id."""

    image_url: str | None = None
    last_frame_url: str | None = None
    reference_images: tuple[str, ...] = ()
    video_url: str | None = None


class MediaProvider(Protocol):
    """Makes media through one vendor. Methods raise ProviderError (or a subclass) and nothing else."""

    name: str

    fetches_inputs: bool
    """Whether it reads inputs from public addresses by itself; otherwise they go along as data URIs."""

    answers_with_result: bool
    """Whether the answer to the paid request is the result itself, so that it takes as long as the making does."""

    def check_ready(self) -> None:
        """Raises ProviderAuthError if no key is configured. Does no I/O."""

    async def submit(self, plan: Plan, inputs: Inputs, *, spool: Path, deadline_s: float) -> Accepted | Finished:
        """The one paid request.

        It is sent again only after a rate-limit answer or when no connection was made, and not later than
        MOST_PAUSES_S after the first time. ``deadline_s`` aborts each sending. What the provider has refused at once
        and unbilled may be asked for in another form.
        Bytes that come with the answer itself go to files beside ``spool`` whose names begin with its own, which is
        the job's: they are cleaned up with it. An error's ``billed`` tells what is known.

        Raises OutcomeUnknown whenever nothing tells what became of the request, and ProviderUnavailable only where it
        is certain that nothing was billed.
        """

    async def check(self, plan: Plan, provider_request_id: str) -> Running | Finished:
        """One look at the job; does not wait.

        ContentRefused and GenerationFailed are final. JobExpired is the provider's own word that it has no such job:
        final when it is repeated for long enough. Every other error means "ask again later".
        """

    async def download(self, output: Output, path: Path) -> Downloaded:
        """Stream an output to ``path``, size-capped.

        Raises MediaGone if its address serves it no more (``check`` may tell another), LocalPolicy if a rule of ours
        keeps it away, ProviderBadReply or ProviderUnavailable for what may pass. An OSError of ``path`` itself is
        passed on: the disk is the caller's.
        """

    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedModel:
    """A model as its provider lists it. ``prices``: dollars a picture by quality and resolution, as far as told.

    ``max_prompt_chars``: how long a prompt may be, where that is told.
    """

    kind: MediaKind
    name: str
    aliases: tuple[str, ...] = ()
    prices: Mapping[tuple[str, str], Decimal] = field(default_factory=dict)
    max_prompt_chars: int | None = None


@runtime_checkable
class CancelsJobs(Protocol):
    """A MediaProvider that can also cancel a job which it has accepted. Free, and repeatable."""

    async def cancel(self, plan: Plan, provider_request_id: str) -> Running | Finished:
        """Ask for it, and answer as ``check`` does: GenerationFailed, with its bill, says that the job was given up,
        Finished that it was done before."""


class ListsModels(Protocol):
    """What a provider may offer beside: to say which models it serves. Free; raises ProviderError."""

    async def list_models(self) -> Sequence[ListedModel]: ...


class ChecksKey(Protocol):
    """What a provider may offer beside: to say whether its key works. Free."""

    async def check_key(self) -> None:
        """Raises ProviderAuthError for a key that is wrong, blocked or disabled, another ProviderError where nothing
        is known."""


class TellsAccount(Protocol):
    """What a provider may offer beside: to say whose its key is. Free; raises ProviderError."""

    async def account_id(self) -> str:
        """The provider's own id of the account, the same for all its keys."""


Providers = Mapping[tuple[MediaKind, str], MediaProvider]
"""Who makes what: by kind of media and name of the provider."""


HearRefusal = Callable[[str, str, RateLimited], None]
"""Told at once, by provider and model, of a refusal for the rate after which a request is about to be sent again."""

TokenPrices = Mapping[str, Mapping[str, Decimal]]
"""By model and kind of token ("input", "text", "image", "video"): US dollars for a million."""


class VendorSettings(BaseModel):
    """What an operator can say of a vendor; what is not said stands in presets.json.

    The vendor's own class gives every setting that it has a variable (``config_types.env``), and ``base_url`` the
    address of its public service.
    """

    # Deferred: each vendor's own class is read with, and never this one.
    model_config = ConfigDict(frozen=True, populate_by_name=True, defer_build=True)

    key: Key | None = None
    base_url: Url
    image_model: str | None = None
    image_resolution: Annotated[str | None, BeforeValidator(lower)] = None
    image_aspect_ratio: str | None = None
    video_model: str | None = None
    video_duration_s: int | None = None
    video_aspect_ratio: str | None = None

    @property
    def is_own_endpoint(self) -> bool:
        """Whether the operator has pointed the vendor to another host than that of its public service."""
        public = str(type(self).model_fields["base_url"].default)
        return urlsplit(self.base_url).hostname != urlsplit(public).hostname


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """What a vendor's adapters work with. ``http`` carries the key, if there is one; makers get ``token_prices``."""

    http: ProviderHttp
    has_key: bool
    clock: Clock
    token_prices: TokenPrices = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """A provider, as everything outside its own folder knows it. Its adapters are imported when they are opened.

    ``name`` stands in requests, rows and presets.json, ``title`` in texts for people. ``headers`` carry a key.
    ``makers`` are what it makes; ``models`` says what it serves, ``account`` whose a key is, ``key`` whether it works.
    ``file_id``: what it calls a file that its owner has uploaded there, which stands for the file in place of an
    address. ``price_map``: its name in price maps of litellm's format; ``gen_ai_name``: in OpenTelemetry's conventions.
    """

    name: str
    title: str
    settings: type[VendorSettings]
    headers: Callable[[str], Mapping[str, str]]
    makers: Mapping[MediaKind, Callable[[Connection], MediaProvider]]
    models: Callable[[Connection], ListsModels] | None = None
    account: Callable[[Connection], TellsAccount] | None = None
    key: Callable[[Connection], ChecksKey] | None = None
    file_id: re.Pattern[str] | None = None
    price_map: str | None = None
    gen_ai_name: str | None = None
