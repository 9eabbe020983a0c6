"""Which settings of a working folder's ``.env.local`` count. Keys go to the addresses that stand beside them.

A server starts wherever its client does, which may be a folder that a stranger has filled. What decides where a key
goes, what is read or written here, who may call and what may be spent counts from its file only if the keys that work
with it are the file's own, or if the person has trusted the folder, once and by name (``ring-mcp trust``).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from pydantic import BaseModel

from ring_mcp.config_types import variables
from ring_mcp.errors import ConfigError
from ring_mcp.files import open_file, replace_file

ADDRESSES = {"base_url": "key", "ringbase_api_url": "ringbase_api_token", "api_base_url": "service_token"}
"""Where a key goes, and which."""

PROVIDER_KEY = "key"
"""Of a vendor's settings: the key that spends."""

OF_A_BUCKET = frozenset({"s3_bucket", "s3_prefix", "s3_public_base_url", "aws_endpoint_url"})
"""Without a key pair of its own the machine's role is used, which is no file's."""

GUARDED = frozenset(
    {"presets_file", "input_dirs", "local_storage_dir", "state_dir", "thumbnail_font"}
    | {"database_url", "database_direct_url"}
    | {"max_usd_per_call", "max_usd_per_day", "max_usd_per_month", "confirm", "confirm_above_usd"}
    | {"service_tokens", "actor_id", "actor_email", "actor_name", "clone_name"}
    | {"allowed_hosts", "allowed_origins", "public_base_url", "trusted_media_hosts"}
    | {"metrics_token", "otel_endpoint", "otel_headers"}
    | {"sandbox"}
)
"""Folders, databases, caps, who may call and who is told: all of it works with the providers' keys."""

_OF_OTHERS_TOO = frozenset({"database_url", "database_direct_url", "otel_endpoint", "otel_headers"})
_SWITCHES = ("on", "off", "true", "false", "yes", "no", "1", "0")
_MAX_LIST_BYTES = 1024 * 1024
_MAX_FILE_BYTES = 64 * 1024
"""Of settings. Whatever lies in a working folder is read at each start there, and a megabyte takes eight seconds."""


@dataclass(frozen=True, slots=True)
class EnvFile:
    """What counts of a file. ``problems``: what must not count and would be missed; ``notes``: what was left aside,
    because other programs have it in such files, too."""

    texts: Mapping[str, str | None]
    problems: Sequence[str] = ()
    notes: Sequence[str] = ()


class _Sources:
    """The environment, and a file that nobody has trusted."""

    def __init__(self, environ: Mapping[str, str], file: Mapping[str, str]) -> None:
        self._environ = environ
        self._file = file

    def name_in_file(self, names: Sequence[str]) -> str | None:
        """The variable that counts, if it is the file's."""
        # The environment wins anyway, so the file decides nothing about this setting.
        if any(name in self._environ for name in names):
            return None
        return next((name for name in names if name in self._file), None)

    def text(self, names: Sequence[str]) -> str | None:
        return next((source[name] for source in (self._environ, self._file) for name in names if name in source), None)

    def foreign_name(self, names: Sequence[str]) -> str | None:
        """The variable of a key that there is, and that does not stand in the file; None: there is none such."""
        found = next((name for name in names if name in self._environ), None)
        own = [self._file.get(name) for name in names]
        # The same key in the file is no foreign one: whoever wrote the file has it already.
        return None if found is None or self._environ[found] in own else found


def read_env_file(
    path: Path,
    environ: Mapping[str, str],
    models: Sequence[type[BaseModel]],
    *,
    is_named: bool,
    trusted: Container[Path] | None,
    but_for: Collection[str],
) -> EnvFile:
    """``is_named``: the environment names the file. Otherwise it is whatever lies in the working folder.

    ``models`` are those of all settings, ``but_for`` fields that a command line switch decides, ``trusted`` the folders
    that the person trusts (None: by their own list).
    """
    if not path.is_file():
        return EnvFile({})
    try:
        text = _read_text(path)
    except ConfigError as exc:
        return EnvFile({}, exc.problems)
    from dotenv import dotenv_values

    # As written: expanded, the ${NAME} of a key in the environment would carry it into an address, or pass for the
    # file's own key.
    values = dotenv_values(stream=StringIO(text), interpolate=False)
    as_written = {name: value for name, value in values.items() if value and value.strip()}
    if not as_written:
        return EnvFile({})
    if is_named or path.parent in (TrustedFolders() if trusted is None else trusted):
        return EnvFile(dotenv_values(stream=StringIO(text)))
    return judge(models, environ, as_written, path, but_for=but_for)


def _read_text(path: Path) -> str:
    """Raises ConfigError."""
    try:
        with open_file(path) as file:
            content = file.read(_MAX_FILE_BYTES + 1)
        if len(content) > _MAX_FILE_BYTES:
            raise ConfigError([f"{path} has more than {_MAX_FILE_BYTES:,} bytes: it is no file of settings"])
        return content.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise ConfigError([f"{path} is not UTF-8 text (byte {exc.start})"]) from exc
    except OSError as exc:
        raise ConfigError([f"{path} cannot be read: {exc.strerror}"]) from exc


def judge(
    models: Sequence[type[BaseModel]],
    environ: Mapping[str, str],
    file: Mapping[str, str],
    path: Path,
    *,
    but_for: Collection[str] = (),
) -> EnvFile:
    """What a file in a folder that nobody has trusted may say. ``file`` has its texts as they are written. Pure."""
    sources = _Sources(environ, file)
    fields = {(model, field): names for model in models for field, names in variables(model).items()}
    provider_keys = [names for (_, field), names in fields.items() if field == PROVIDER_KEY]
    foreign = [name for names in provider_keys if (name := sources.foreign_name(names)) is not None]
    # A provider's key in the file says that it was written for ring-mcp. Then nothing of it is left aside: a database
    # that is quietly not used would be missed.
    is_of_ours = any(sources.name_in_file(names) is not None for names in provider_keys)
    problems, aside = list[str](), set[str]()
    for (model, field), names in fields.items():
        name = sources.name_in_file(names)
        if name is None or field in but_for:
            continue
        # Only a trusted folder's file is expanded; here the bare words would be taken for the value.
        if "${" in file[name]:
            problems.append(f"{name}: is in {path} with ${{…}}, which is replaced only in a trusted folder")
        elif field in ADDRESSES:
            key = sources.foreign_name(variables(model)[ADDRESSES[field]])
            if key is not None:
                problems.append(f"{name}: is in {path}, and {key}, which would be sent there, is not")
        elif field in OF_A_BUCKET:
            # Other programs set these names, too: they matter only where results go to a bucket.
            kept_in_bucket = (sources.text(variables(model)["file_backend"]) or "").strip().lower() == "s3"
            pair = variables(model)["aws_secret_access_key"]
            if kept_in_bucket and (sources.text(pair) is None or sources.foreign_name(pair) is not None):
                problems.append(f"{name}: is in {path}, and the key for the bucket is not")
        # To switch the sandbox on sends nothing anywhere; an address of one gets the prompts and the given pictures.
        elif field in GUARDED and foreign and not (field == "sandbox" and file[name].strip().lower() in _SWITCHES):
            if field in _OF_OTHERS_TOO and not is_of_ours:
                aside.add(name)
            else:
                problems.append(f"{name}: is in {path}, and {foreign[0]}, which is used with it, is not")
    if problems:
        problems.append(
            f"If that folder is yours, trust it once: ring-mcp trust {path.parent}; "
            "otherwise start elsewhere. Variables of the environment always count."
        )
    notes = [
        f"{name} in {path} is ignored, because {foreign[0]} is not in that file; "
        f"if it is meant for ring-mcp: ring-mcp trust {path.parent}"
        for name in sorted(aside)
    ]
    return EnvFile({name: text for name, text in file.items() if name not in aside}, problems, notes)


class TrustedFolders:
    """The folders that a person has trusted by name, in a file of their own configuration folder."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or _own_list()

    def __contains__(self, folder: Path) -> bool:
        # By its real path: one folder is one entry, whichever link leads to it.
        return str(folder.resolve()) in self.names()

    def names(self) -> list[str]:
        """Nothing, if the list cannot be read: then nobody is trusted."""
        try:
            if self._path.stat().st_size > _MAX_LIST_BYTES:
                return []
            names = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return []
        return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []

    def add(self, folder: Path) -> None:
        """Raises ConfigError."""
        self._write(sorted({*self.names(), str(folder.resolve())}))

    def remove(self, folder: Path) -> bool:
        """Whether it was there. Raises ConfigError."""
        names = self.names()
        left = [name for name in names if name != str(folder.resolve())]
        if left != names:
            self._write(left)
        return left != names

    def _write(self, names: Sequence[str]) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            replace_file(self._path, json.dumps(list(names), indent=2).encode())
        except OSError as exc:
            raise ConfigError([f"{self._path} cannot be written: {exc.strerror}"]) from exc


def _own_list() -> Path:
    from platformdirs import user_config_path

    return user_config_path("ring-mcp", appauthor=False) / "trusted-folders.json"
