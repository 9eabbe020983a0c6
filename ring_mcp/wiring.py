"""Config -> the providers, connected: app.py's part that knows who makes the media, and the sandbox in their place."""

from __future__ import annotations

import contextlib

from ring_mcp.clock import Clock
from ring_mcp.config import Config
from ring_mcp.presets import Presets
from ring_mcp.providers.base import Providers
from ring_mcp.providers.google.images import GoogleImages
from ring_mcp.providers.google.videos import GoogleVideos
from ring_mcp.providers.http import ProviderHttp
from ring_mcp.providers.xai.images import XaiImages
from ring_mcp.providers.xai.videos import XaiVideos


def open_providers(
    config: Config, presets: Presets, clock: Clock, stack: contextlib.AsyncExitStack
) -> tuple[Providers, ProviderHttp]:
    """Every provider, with a key or without, and the connections that fetch what callers give along."""
    xai_key = config.xai_api_key.get_secret_value() if config.xai_api_key else ""
    google_key = config.google_api_key.get_secret_value() if config.google_api_key else ""
    xai = ProviderHttp(
        provider="xai",
        base_url=config.xai_api_base_url,
        headers={"Authorization": f"Bearer {xai_key}"} if xai_key else {},
        clock=clock,
        max_media_bytes=config.max_media_bytes,
    )
    google = ProviderHttp(
        provider="google",
        base_url=config.google_base_url,
        headers={"x-goog-api-key": google_key} if google_key else {},
        clock=clock,
        max_media_bytes=config.max_media_bytes,
    )
    for http in (xai, google):
        stack.push_async_callback(http.aclose)
    tokens = presets.token_prices()
    providers: Providers = {
        ("image", "xai"): XaiImages(xai, has_key=bool(xai_key), clock=clock),
        ("video", "xai"): XaiVideos(xai, has_key=bool(xai_key), clock=clock),
        ("image", "google"): GoogleImages(google, has_key=bool(google_key), token_prices=tokens, clock=clock),
        ("video", "google"): GoogleVideos(google, has_key=bool(google_key), token_prices=tokens, clock=clock),
    }
    return providers, xai


def with_sandbox(config: Config, stack: contextlib.AsyncExitStack) -> Config:
    """In sandbox mode every outside service is the sandbox: its own, or the one whose address was given."""
    if not config.sandbox:
        return config
    from pydantic import SecretStr

    from ring_mcp.sandbox.app import GOOGLE_PATH, RINGBASE_PATH, XAI_PATH
    from ring_mcp.sandbox.server import SandboxServer
    from ring_mcp.sandbox.settings import DEFAULT_GOOGLE_KEY, DEFAULT_RINGBASE_TOKEN, DEFAULT_XAI_KEY

    url = stack.enter_context(SandboxServer()).url if config.sandbox is True else str(config.sandbox)
    return config.model_copy(
        update={
            "xai_api_base_url": url + XAI_PATH,
            "xai_api_key": SecretStr(DEFAULT_XAI_KEY),
            "google_base_url": url + GOOGLE_PATH,
            "google_api_key": SecretStr(DEFAULT_GOOGLE_KEY),
            "ringbase_api_url": url + RINGBASE_PATH,
            "ringbase_api_token": SecretStr(DEFAULT_RINGBASE_TOKEN),
        }
    )
