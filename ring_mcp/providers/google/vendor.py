"""Google, as the rest of the product knows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator

from ring_mcp.config_types import Key, Url, env, lower
from ring_mcp.providers.base import Connection, MediaProvider, Vendor, VendorSettings

if TYPE_CHECKING:
    from ring_mcp.providers.google.models import GoogleModels


class GoogleSettings(VendorSettings):
    # The first is a name of this product (provider reference 3.3): whoever set it meant it. The others are for other
    # tools as well.
    key: Annotated[Key | None, env("GOOGLE_GENAI_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY")] = None
    base_url: Annotated[Url, env("GOOGLE_GENAI_BASE_URL")] = "https://generativelanguage.googleapis.com/v1beta"
    image_model: Annotated[str | None, env("GOOGLE_IMAGE_MODEL")] = None
    image_resolution: Annotated[str | None, BeforeValidator(lower), env("GOOGLE_IMAGE_SIZE")] = None
    image_aspect_ratio: Annotated[str | None, env("GOOGLE_IMAGE_ASPECT_RATIO")] = None


def headers(key: str) -> Mapping[str, str]:
    return {"x-goog-api-key": key}


def open_images(connection: Connection) -> MediaProvider:
    from ring_mcp.providers.google.images import GoogleImages

    return GoogleImages(
        connection.http, has_key=connection.has_key, token_prices=connection.token_prices, clock=connection.clock
    )


def open_videos(connection: Connection) -> MediaProvider:
    from ring_mcp.providers.google.videos import GoogleVideos

    return GoogleVideos(
        connection.http, has_key=connection.has_key, token_prices=connection.token_prices, clock=connection.clock
    )


def open_models(connection: Connection) -> GoogleModels:
    from ring_mcp.providers.google.models import GoogleModels

    return GoogleModels(connection.http, connection.clock)


GOOGLE = Vendor(
    name="google",
    title="Google",
    settings=GoogleSettings,
    headers=headers,
    makers={"image": open_images, "video": open_videos},
    models=open_models,
    price_map="gemini",
    gen_ai_name="gcp.gemini",
    key=open_models,
)
