"""The environment and .env.local, read once into one frozen Config. Nothing else in ring_mcp reads the environment.

Precedence: a request's own argument, then the process environment, then ``.env.local`` (see ``config_trust``; or the
file that RING_ENV_FILE names), then presets.json, then the defaults here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Container, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.request import getproxies

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    SerializeAsAny,
    field_validator,
)

from ring_mcp.config_checks import first_of_each, list_missing_partners, list_unknown_guards, take_unexpanded
from ring_mcp.config_trust import read_env_file
from ring_mcp.config_types import (
    NAME_ALONE,
    FilePath,
    Key,
    Names,
    Url,
    Usd,
    backend,
    drop_blank,
    env,
    folders,
    lower,
    pick_given,
    slashless,
    split_list,
    validate_settings,
    variables,
    warn_of_clear_text,
    warn_of_folders,
)
from ring_mcp.domain import Caps
from ring_mcp.errors import ConfigError
from ring_mcp.providers.base import VendorSettings
from ring_mcp.providers.vendors import BY_NAME, VENDORS, ProviderName
from ring_mcp.proxies import DIRECT, Proxies, proxies_of, read_proxies

DEFAULT_ACTOR_ID = "ring-mcp-service"
_KEYS = frozenset(name for vendor in VENDORS for name in variables(vendor.settings)["key"])

M = TypeVar("M", bound=BaseModel)


class Config(BaseModel):
    """Every setting, those of each vendor by its name. Secrets are ``SecretStr``: they print as stars."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, extra="forbid")

    vendors: Mapping[str, SerializeAsAny[VendorSettings]]

    image_gen_provider: Annotated[ProviderName, BeforeValidator(lower), env("IMAGE_GEN_PROVIDER")] = VENDORS[0].name
    image_gen_poll_timeout_ms: Annotated[int, Field(gt=0), env("IMAGE_GEN_POLL_TIMEOUT_MS")] = 120_000
    image_gen_storage_prefix: Annotated[str, env("IMAGE_GEN_STORAGE_PREFIX")] = "generated"

    video_gen_poll_timeout_ms: Annotated[int, Field(gt=0), env("VIDEO_GEN_POLL_TIMEOUT_MS")] = 900_000
    video_gen_poll_interval_ms: Annotated[int, Field(gt=0), env("VIDEO_GEN_POLL_INTERVAL_MS")] = 5_000
    video_gen_storage_prefix: Annotated[str, env("VIDEO_GEN_STORAGE_PREFIX")] = "generated/videos"
    thumbnail_font: Annotated[Path | None, env("RING_THUMBNAIL_FONT")] = None
    input_dirs: Annotated[tuple[Path, ...], BeforeValidator(folders), env("RING_INPUT_DIRS")] = ()

    file_backend: Annotated[Literal["local", "ringbase", "s3"], BeforeValidator(backend), env("FILE_BACKEND")] = "local"
    ringbase_api_url: Annotated[Url | None, env("RINGBASE_API_URL")] = None
    ringbase_api_token: Annotated[Key | None, env("RINGBASE_API_TOKEN")] = None
    local_storage_dir: Annotated[Path | None, env("LOCAL_STORAGE_DIR")] = None
    s3_bucket: Annotated[str | None, env("RING_S3_BUCKET")] = None
    s3_prefix: Annotated[str | None, BeforeValidator(slashless), env("RING_S3_PREFIX")] = None
    s3_public_base_url: Annotated[Url | None, env("RING_S3_PUBLIC_BASE_URL")] = None
    s3_url_expires_s: Annotated[int, Field(ge=1, le=7 * 86400), env("RING_S3_URL_EXPIRES_S")] = 86400
    # Other programs have these names, too: what stands in them is looked at with FILE_BACKEND=s3 alone.
    aws_access_key_id: Annotated[SecretStr | None, env("AWS_ACCESS_KEY_ID")] = None
    aws_secret_access_key: Annotated[SecretStr | None, env("AWS_SECRET_ACCESS_KEY")] = None
    aws_session_token: Annotated[SecretStr | None, env("AWS_SESSION_TOKEN")] = None
    aws_region: Annotated[str | None, env("AWS_REGION", "AWS_DEFAULT_REGION")] = None
    aws_endpoint_url: Annotated[str | None, env("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")] = None

    database_url: Annotated[SecretStr | None, env("DATABASE_URL")] = None
    database_direct_url: Annotated[SecretStr | None, env("RING_DATABASE_DIRECT_URL")] = None
    drives: Annotated[bool, env("RING_DRIVE")] = True
    concurrency: Annotated[int, Field(ge=1, le=10_000), env("RING_CONCURRENCY")] = 64
    rates: Annotated[bool | None, env("RING_RATES")] = None
    state_dir: Annotated[Path | None, env("RING_STATE_DIR")] = None

    max_usd_per_call: Annotated[Usd | None, env("RING_MAX_USD_PER_CALL")] = None
    max_usd_per_day: Annotated[Usd | None, env("RING_MAX_USD_PER_DAY")] = None
    max_usd_per_month: Annotated[Usd | None, env("RING_MAX_USD_PER_MONTH")] = None
    confirm: Annotated[Literal["off", "ask", "require"], BeforeValidator(lower), env("RING_CONFIRM")] = "off"
    confirm_above_usd: Annotated[Usd | None, env("RING_CONFIRM_ABOVE_USD")] = None

    service_tokens: Annotated[tuple[SecretStr, ...], BeforeValidator(split_list), env("RING_MCP_SERVICE_TOKENS")] = ()
    service_token: Annotated[Key | None, env("RING_SERVICE_TOKEN")] = None
    api_base_url: Annotated[Url | None, env("RING_API_BASE_URL")] = None
    actor_id: Annotated[str, env("RING_MCP_SERVICE_USER_ID")] = DEFAULT_ACTOR_ID
    actor_email: Annotated[str, env("RING_MCP_SERVICE_USER_EMAIL")] = "ring-mcp@system.local"
    actor_name: Annotated[str, env("RING_MCP_SERVICE_USER_NAME")] = "Ring MCP Service"
    clone_name: Annotated[str, env("RING_CLONE_NAME")] = "ring-mcp"

    allowed_hosts: Annotated[Names, env("RING_ALLOWED_HOSTS")] = ()
    allowed_origins: Annotated[Names, env("RING_ALLOWED_ORIGINS")] = ()
    public_base_url: Annotated[Url | None, env("RING_PUBLIC_BASE_URL")] = None
    max_body_bytes: Annotated[int, Field(gt=0), env("RING_MAX_BODY_BYTES")] = 4 * 1024 * 1024
    max_calls_per_minute: Annotated[int, Field(gt=0), env("RING_MAX_CALLS_PER_MINUTE")] = 600
    max_open_calls: Annotated[int, Field(gt=0), env("RING_MAX_OPEN_CALLS")] = 200
    drain_s: Annotated[float, Field(ge=0, le=600), env("RING_DRAIN_S")] = 10.0

    inline_wait_s: Annotated[float, Field(ge=0, le=3600), env("RING_INLINE_WAIT_S")] = 50.0
    max_media_bytes: Annotated[int, Field(gt=0), env("RING_MAX_MEDIA_BYTES")] = 512 * 1024 * 1024
    trusted_media_hosts: Annotated[Names, env("RING_TRUSTED_MEDIA_HOSTS")] = ()
    presets_file: Annotated[FilePath | None, env("RING_PRESETS_FILE")] = None
    result_preview: Annotated[bool, env("RING_RESULT_PREVIEW")] = True
    sidecar: Annotated[bool, env("RING_SIDECAR")] = False
    result_links: Annotated[bool, env("RING_RESULT_LINKS")] = False
    sandbox: Annotated[bool | Url, env("RING_SANDBOX")] = False
    health_asks: Annotated[bool, env("RING_HEALTH_ASKS")] = True
    keep_days: Annotated[int, Field(ge=1, le=36500), env("RING_KEEP_DAYS")] = 30
    metrics_token: Annotated[Key | None, env("RING_METRICS_TOKEN")] = None
    # Set for every program of a machine, as a rule: nothing in them is a reason not to start.
    otel_endpoint: Annotated[str | None, env("OTEL_EXPORTER_OTLP_ENDPOINT")] = None
    otel_headers: Annotated[SecretStr | None, env("OTEL_EXPORTER_OTLP_HEADERS")] = None
    otel_protocol: Annotated[str | None, env("OTEL_EXPORTER_OTLP_PROTOCOL")] = None
    otel_disabled: Annotated[str, env("OTEL_SDK_DISABLED")] = "false"
    log_format: Annotated[Literal["text", "json"], BeforeValidator(lower), env("RING_LOG_FORMAT")] = "text"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"] | None, BeforeValidator(lower), env("RING_LOG_LEVEL")
    ] = None

    @field_validator("vendors", mode="before")
    @classmethod
    def _each_as_its_own(cls, vendors: Mapping[str, Any]) -> dict[str, VendorSettings]:
        return {name: BY_NAME[name].settings.model_validate(settings) for name, settings in vendors.items()}

    @field_validator("service_tokens")
    @classmethod
    def _no_name_without_token(cls, tokens: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(NAME_ALONE.fullmatch(token.get_secret_value()) for token in tokens):
            raise ValueError("has a name with no token after its '='")
        return tokens

    @field_validator("image_gen_storage_prefix", "video_gen_storage_prefix")
    @classmethod
    def _prefix_is_relative(cls, value: str) -> str:
        parts = value.strip("/").split("/")
        if any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in parts):
            raise ValueError("must be a relative path such as 'generated' or 'media/generated'")
        return "/".join(parts)

    # Of the process alone: a folder's .env.local does not decide through whose hands requests go.
    _proxies: Proxies = PrivateAttr(default=DIRECT)
    _notes: tuple[str, ...] = PrivateAttr(default=())

    @property
    def warnings(self) -> tuple[str, ...]:
        """What an operator should know of these settings, a sentence each."""
        endpoint = self.aws_endpoint_url if self.file_backend == "s3" else None
        addressed = {
            "RING_API_BASE_URL": (self.api_base_url, self.service_token),
            "RINGBASE_API_URL": (self.ringbase_api_url, self.ringbase_api_token),
            "AWS_ENDPOINT_URL_S3": (endpoint, self.aws_access_key_id),
            **{variables(type(each))["base_url"][0]: (each.base_url, each.key) for each in self.vendors.values()},
        }
        clear = [] if self.sandbox else warn_of_clear_text(addressed)  # its keys are no secret
        return (*self._notes, *warn_of_folders(self.state_dir, self.local_storage_dir, self.input_dirs), *clear)

    _unexpanded: tuple[str, ...] = PrivateAttr(default=())

    @property
    def unexpanded(self) -> tuple[str, ...]:
        """Keys that are not there: in their place stands ``${NAME}``, as a client passes on what it does not expand."""
        return self._unexpanded

    @property
    def proxies(self) -> Proxies:
        """Which proxy a request to an outside service goes through."""
        return self._proxies

    @property
    def is_for_a_gateway(self) -> bool:
        """Ring's registration of a client: the address of a gateway, and no key of one's own."""
        return self.api_base_url is not None and not (self.sandbox or any(each.key for each in self.vendors.values()))

    @property
    def own_endpoints(self) -> frozenset[str]:
        """Vendors whose address the operator has pointed elsewhere; the sandbox plays the public ones."""
        return frozenset(name for name, each in self.vendors.items() if each.is_own_endpoint and not self.sandbox)

    @property
    def state_path(self) -> Path:
        """The folder of ledger, local storage and spool files. The sandbox has its own, so money is never mixed."""
        base = self.state_dir.expanduser() if self.state_dir else _user_data_path()
        return base / "sandbox" if self.sandbox else base

    @property
    def keep_s(self) -> float:
        return self.keep_days * 86400.0

    @property
    def caps(self) -> Caps:
        return Caps(
            per_call_usd=self.max_usd_per_call, per_day_usd=self.max_usd_per_day, per_month_usd=self.max_usd_per_month
        )


def all_variables() -> dict[tuple[str, ...], Any]:
    """Every setting: the names of its variables, the one that counts first, and its default."""
    models: tuple[type[BaseModel], ...] = (Config, *(each.settings for each in VENDORS))
    return {names: m.model_fields[field].default for m in models for field, names in variables(m).items()}


def load_config(
    environ: Mapping[str, str] | None = None,
    *,
    folder: Path | None = None,
    trusted: Container[Path] | None = None,
    **overrides: Any,
) -> Config:
    """Read the configuration.

    ``environ`` stands for the process environment, ``folder`` for the working folder and ``trusted`` for the folders
    that the person trusts (tests pass their own); ``overrides`` are command line switches and win over both. Raises
    ConfigError with every problem at once.
    """
    is_of_the_process = environ is None
    environ = drop_blank(os.environ if environ is None else environ)  # clients pass on "" for what is not set
    named = environ.get("RING_ENV_FILE")
    env_file = Path(named) if named else (folder or Path.cwd()) / ".env.local"
    models: list[type[BaseModel]] = [Config, *(vendor.settings for vendor in VENDORS)]
    read = read_env_file(env_file, environ, models, is_named=bool(named), trusted=trusted, but_for=overrides)
    sources, problems = (environ, drop_blank(read.texts)), list(read.problems)  # the first one counts
    known = {name for names in all_variables() for name in names}
    problems += list_unknown_guards((name for source in sources for name in source), known)
    unexpanded = [take_unexpanded(source, known & source.keys(), _KEYS, problems) for source in sources]
    if named and not env_file.is_file():
        problems.append(f"RING_ENV_FILE: no such file: {env_file}")
    vendors = {}
    for vendor in VENDORS:
        settings = validate_settings(vendor.settings, pick_given(vendor.settings, sources), problems)
        if settings is not None:
            vendors[vendor.name] = settings
    given = pick_given(Config, sources, but_for=overrides)  # a switch hides its variable, a bad one as well
    config = validate_settings(Config, {**given, **overrides, "vendors": vendors}, problems)
    if config is not None:
        problems += list_missing_partners(config)
    if config is None or problems:
        raise ConfigError(first_of_each(problems))
    own = proxies_of(environ)  # else those of the system, where it has any
    config._unexpanded = tuple(name for names in unexpanded for name in names)
    config._proxies = read_proxies(getproxies()) if is_of_the_process and own == DIRECT else own
    config._notes = tuple(read.notes)
    return config


def dump_config(config: Config) -> str:
    """The whole configuration as JSON, secrets included: for a process of ours, through a pipe."""
    return json.dumps(
        {**config.model_dump(), "proxies": asdict(config.proxies)},
        default=lambda value: value.get_secret_value() if isinstance(value, SecretStr) else str(value),
    )


def restore_config(text: str) -> Config:
    """What ``dump_config`` wrote; nothing is read from the environment or from files."""
    facts = json.loads(text)
    proxies = facts.pop("proxies")
    config = Config.model_validate(facts)
    config._proxies = Proxies(tuple(map(tuple, proxies["by_scheme"])), tuple(proxies["bypass"]))
    return config


def _user_data_path() -> Path:
    from platformdirs import user_data_path

    return user_data_path("ring-mcp", appauthor=False)


_KEPT_FOR_CHILDREN = (
    *("PATH", "HOME", "USERPROFILE", "LOCALAPPDATA", "XDG_DATA_HOME", "SYSTEMROOT", "LANG", "RING_STATE_DIR"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR"),  # the courier speaks TLS, as this process does
)


def child_environment(**variables: str) -> dict[str, str]:
    """The person's environment without their settings, for a server that must not touch their database or keys."""
    return {name: os.environ[name] for name in _KEPT_FOR_CHILDREN if name in os.environ} | variables
