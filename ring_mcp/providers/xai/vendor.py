"""xAI as one entry of the list of vendors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, Field

from ring_mcp.config_types import Key, Url, env, lower
from ring_mcp.providers.base import Connection, ListsModels, MediaProvider, Vendor, VendorSettings

if TYPE_CHECKING:
    from ring_mcp.providers.xai.account import XaiTeam

FILE_ID = re.compile(r"file[_-][A-Za-z0-9_-]+")


class XaiSettings(VendorSettings):
    key: Annotated[Key | None, env("XAI_API_KEY")] = None
    base_url: Annotated[Url, env("XAI_API_BASE_URL")] = "https://api.x.ai/v1"
    image_model: Annotated[str | None, env("XAI_IMAGE_MODEL")] = None
    image_resolution: Annotated[str | None, BeforeValidator(lower), env("XAI_IMAGE_RESOLUTION")] = None
    image_aspect_ratio: Annotated[str | None, env("XAI_IMAGE_ASPECT_RATIO")] = None
    video_model: Annotated[str | None, env("XAI_VIDEO_MODEL")] = None
    video_duration_s: Annotated[int | None, Field(ge=1, le=15), env("XAI_VIDEO_DEFAULT_DURATION")] = None
    video_aspect_ratio: Annotated[str | None, env("XAI_VIDEO_ASPECT_RATIO")] = None


def headers(key: str) -> Mapping[str, str]:
    return {"Authorization": f"Bearer {key}"}


def open_images(connection: Connection) -> MediaProvider:
    from ring_mcp.providers.xai.images import XaiImages

    return XaiImages(connection.http, has_key=connection.has_key, clock=connection.clock)


def open_videos(connection: Connection) -> MediaProvider:
    from ring_mcp.providers.xai.videos import XaiVideos

    return XaiVideos(connection.http, has_key=connection.has_key, clock=connection.clock)


def open_models(connection: Connection) -> ListsModels:
    from ring_mcp.providers.xai.models import XaiModels

    return XaiModels(connection.http, connection.clock)


def open_account(connection: Connection) -> XaiTeam:
    from ring_mcp.providers.xai.account import XaiTeam

    return XaiTeam(connection.http, connection.clock)


XAI = Vendor(
    name="xai",
    title="xAI",
    settings=XaiSettings,
    headers=headers,
    makers={"image": open_images, "video": open_videos},
    models=open_models,
    price_map="xai",
    gen_ai_name="x_ai",
    account=open_account,
    key=open_account,
    file_id=FILE_ID,
)
