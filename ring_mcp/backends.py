"""Config -> storage. Part of the composition root: beside ``app`` the only place that names concrete adapters."""

from __future__ import annotations

from typing import cast

from pydantic import SecretStr

from ring_mcp.clock import Clock
from ring_mcp.config import Config
from ring_mcp.storage.base import Links, Storage


def open_storage(config: Config, clock: Clock, links: Links | None) -> Storage:
    """The configured storage; ``links`` addresses the files of a local one. Nothing is connected yet.

    Raises ConfigError, with every problem at once, for settings that can never work.
    """
    if config.file_backend == "ringbase":
        from ring_mcp.storage.ringbase import RingbaseStorage

        token = _plain(config.ringbase_api_token) or ""
        return RingbaseStorage(base_url=cast("str", config.ringbase_api_url), token=token, clock=clock)
    if config.file_backend == "s3":
        return _s3(config, clock)
    from ring_mcp.storage.local import LocalStorage

    return LocalStorage(config.local_storage_dir or config.state_path / "files", links)


def _s3(config: Config, clock: Clock) -> Storage:
    """The configured bucket, also in sandbox mode: its test media then lie in a folder of their own."""
    from ring_mcp.storage.s3 import S3Storage

    return S3Storage(
        cast("str", config.s3_bucket),
        prefix="/".join(part for part in (config.s3_prefix, "sandbox" if config.sandbox else None) if part),
        endpoint=config.aws_endpoint_url,
        region=config.aws_region,
        access_key_id=_plain(config.aws_access_key_id),
        secret_access_key=_plain(config.aws_secret_access_key),
        session_token=_plain(config.aws_session_token),
        public_base_url=_public(config),
        url_expires_s=config.s3_url_expires_s,
        clock=clock,
    )


def _public(config: Config) -> str | None:
    base = config.s3_public_base_url
    return f"{base}/sandbox" if base and config.sandbox else base


def _plain(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value().strip() if secret else None
