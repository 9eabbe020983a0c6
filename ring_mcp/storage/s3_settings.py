"""The settings of a bucket: checked, and made into a store of ``obstore``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ring_mcp.errors import ConfigError, StorageRefused
from ring_mcp.extras import install_line
from ring_mcp.proxies import Proxies, trouble_with
from ring_mcp.storage.keys import key_segments

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Store

# S3 takes parts of 5 MiB to 5 GiB, and 10,000 of them for a file; each part under way is in memory.
PART_BYTES = 8 * 1024 * 1024
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_NEVER_PROXIED = (
    "localhost",
    "127.0.0.1",
    "::1",
    "169.254.169.254",
    "169.254.170.2",
    "169.254.170.23",
    "fd00:ec2::254",
)
"""This machine, and where clouds give a machine its role."""

# Nothing listens on the discard port: what needs a proxy that cannot be used goes nowhere, and never around it.
_NOWHERE = "http://127.0.0.1:9"


def open_store(
    bucket: str,
    prefix: str,
    endpoint: str,
    region: str,
    keys: Mapping[str, str],
    proxies: Proxies,
    *,
    limit_s: float | None = None,
) -> S3Store:
    """``limit_s``: for a question that is not worth waiting longer, and none of whose requests is repeated."""
    from obstore.store import S3Store

    config: dict[str, Any] = {
        **keys,
        "region": region,
        # Under this name, because obstore reads the process environment itself and would let that win over "endpoint".
        "aws_endpoint_url_s3": endpoint,
        # Not every store answers under a host name for each bucket, and certificates do not cover names with dots.
        "virtual_hosted_style_request": False,
        # One by one: not every store takes a request that removes many.
        "disable_bulk_delete": True,
    }
    return S3Store(
        bucket,
        prefix=prefix or None,
        config=config,  # type: ignore[arg-type]
        # A part of 8 MB in this time is a line of half a megabit.
        client_options={
            "allow_http": endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=min(5.0, limit_s or 5.0)),
            "timeout": timedelta(seconds=limit_s or 120.0),
            **_way_out(endpoint, proxies),
        },
        # The conductors try again after this, for as long as it takes.
        retry_config={
            "max_retries": 0 if limit_s else 3,
            "retry_timeout": timedelta(seconds=60),
            "backoff": {"init_backoff": timedelta(milliseconds=200), "max_backoff": timedelta(seconds=5)},
        },
    )


def _way_out(endpoint: str, proxies: Proxies) -> ClientConfig:
    """The proxy, as obstore takes it: one for everything, with hosts that it is not for. Without any, obstore looks
    for one in the same variables as we do, and finds none."""
    proxy = proxies.of(endpoint)
    named = [proxy, *dict(proxies.by_scheme).values()]
    if named == [None]:
        return {}
    usable = next((each for each in named if each is not None and trouble_with(each) is None), _NOWHERE)
    direct = [] if proxy is not None else [urlsplit(endpoint).hostname or ""]
    return {"proxy_url": usable, "proxy_excludes": ",".join((*direct, *proxies.hosts, *_NEVER_PROXIED))}


def check_settings(
    bucket: str,
    prefix: str,
    endpoint: str,
    key_id: str | None,
    secret: str | None,
    token: str | None,
    proxies: Proxies,
) -> None:
    """Raises ConfigError with every problem at once."""
    problems = []
    proxy = proxies.of(endpoint)
    if proxy is not None and (trouble := trouble_with(proxy)) is not None:
        problems.append(f"HTTPS_PROXY: {trouble}")
    try:
        import obstore  # noqa: F401
    except ImportError:
        problems.append(
            f"FILE_BACKEND: s3 needs the library obstore, which is not installed. Run: {install_line('s3')}"
        )
    if not _BUCKET.fullmatch(bucket):
        problems.append("RING_S3_BUCKET: must be the name of a bucket: 3 to 63 letters, digits, '.', '_' or '-'")
    try:
        if prefix:
            key_segments(prefix)
    except StorageRefused:
        problems.append("RING_S3_PREFIX: must be folders of letters, digits, '.', '_' and '-', such as 'ring/media'")
    if not _is_plain_url(endpoint):
        problems.append("AWS_ENDPOINT_URL_S3: must be an http(s) URL without user, password or query")
    if (key_id is None) != (secret is None):
        missing = "AWS_ACCESS_KEY_ID" if key_id is None else "AWS_SECRET_ACCESS_KEY"
        problems.append(f"{missing}: is needed with the other half of the key")
    elif token is not None and key_id is None:
        problems.append("AWS_SESSION_TOKEN: is of no use without AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    if problems:
        raise ConfigError(problems)


def _is_plain_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:  # a port that is none
        return False
    return usable and "@" not in url.netloc and not url.query and not url.fragment and text.isprintable()
