"""The configuration that each MCP client needs to find this server. Pure.

They never hold secrets: a client that expands variables gets the variable's name; otherwise ``.env.local`` has the key.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ring_mcp.config_types import secret_variables
from ring_mcp.errors import ConfigError, InvalidRequest
from ring_mcp.providers.vendors import VENDORS

NAME = "ring-mcp"
TOKEN = "RING_SERVICE_TOKEN"  # noqa: S105 - the name of a variable
KEYS = (
    *(name for vendor in VENDORS for name in secret_variables(vendor.settings)),
    "RINGBASE_API_TOKEN",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "DATABASE_URL",
)
"""Variables that some clients hold back from the servers which they start, unless they are named."""

SETTINGS_FILE = "RING_ENV_FILE"
SETTINGS = (SETTINGS_FILE, "RING_STATE_DIR", "RING_SANDBOX")
# Far above RING_INLINE_WAIT_S: a client that gives up first leaves an answer to nobody.
TIMEOUT_MS = 600_000
# The first `uv run` of a clone installs everything before it serves.
START_TIMEOUT_S = 60

_VSCODE_INPUT = "ring-service-token"


@dataclass(frozen=True, slots=True)
class Command:
    """How this server is started on this machine."""

    command: str
    args: tuple[str, ...]

    def entry(self, **more: Any) -> dict[str, Any]:
        return {"command": self.command, "args": list(self.args), **more}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientKind:
    """One client. ``file`` is its own file, by the home folder, the folder of applications' settings, and the current
    one; ``stdio`` and ``http`` make our entry; ``note`` is what a person has to know, about time-outs above all."""

    title: str
    section: str = "mcpServers"
    file: Callable[[Path, Path, Path], Path]
    stdio: Callable[[Command], dict[str, Any]]
    http: Callable[[str], dict[str, Any]] | None
    note: str
    is_toml: bool = False
    has_screen: bool = False
    """Started from a desktop, such a client may not have the shell's PATH: commands are given with their whole path."""

    def document(self, command: Command, url: str | None, settings: Path | None = None) -> dict[str, Any]:
        """The whole configuration, as if there were nothing else in the file. Raises InvalidRequest.

        ``settings``: the file of a server that does not start in the folder of its ``.env.local``.
        """
        if url is None:
            entry = self.stdio(command)
            if settings is not None:
                entry["env"] = {**entry.get("env", {}), SETTINGS_FILE: str(settings)}
        elif self.http is None:
            raise InvalidRequest(
                f"{self.title} starts servers itself; a remote one is added in its settings as a connector",
                next_action=f"Add {endpoint(url)} there, or leave --http out.",
            )
        else:
            entry = self.http(endpoint(url))
        document: dict[str, Any] = {self.section: {NAME: entry}}
        if f"${{input:{_VSCODE_INPUT}}}" in json.dumps(entry):
            asked = {"type": "promptString", "id": _VSCODE_INPUT, "description": TOKEN, "password": True}
            document = {"inputs": [asked], **document}
        return document


def _bearer(reference: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {reference}"}


CLIENTS: Mapping[str, ClientKind] = {
    "cursor": ClientKind(
        title="Cursor",
        file=lambda home, settings, here: home / ".cursor" / "mcp.json",
        stdio=lambda command: command.entry(env={TOKEN: f"${{env:{TOKEN}}}"}),
        http=lambda url: {"url": url, "headers": _bearer(f"${{env:{TOKEN}}}")},
        note="Cursor documents no time-out setting; ring-mcp answers within RING_INLINE_WAIT_S.",
        has_screen=True,
    ),
    "claude-desktop": ClientKind(
        title="Claude Desktop",
        file=lambda home, settings, here: settings / "Claude" / "claude_desktop_config.json",
        stdio=lambda command: command.entry(),
        http=None,
        note="Claude Desktop has no time-out setting, and expands no variables: the token goes where the keys are.",
        has_screen=True,
    ),
    "claude-code": ClientKind(
        title="Claude Code",
        file=lambda home, settings, here: here / ".mcp.json",
        stdio=lambda command: {
            "type": "stdio",
            # With ":-" a variable that is not set becomes ""; without, some clients pass on the words ${NAME}.
            **command.entry(env={TOKEN: f"${{{TOKEN}:-}}"}, timeout=TIMEOUT_MS),
        },
        http=lambda url: {"type": "http", "url": url, "headers": _bearer(f"${{{TOKEN}:-}}"), "timeout": TIMEOUT_MS},
        note="A project's .mcp.json is approved once, when Claude Code starts there. timeout is in milliseconds.",
    ),
    "vscode": ClientKind(
        title="VS Code",
        section="servers",
        file=lambda home, settings, here: here / ".vscode" / "mcp.json",
        stdio=lambda command: {"type": "stdio", **command.entry(env={TOKEN: f"${{input:{_VSCODE_INPUT}}}"})},
        http=lambda url: {"type": "http", "url": url, "headers": _bearer(f"${{input:{_VSCODE_INPUT}}}")},
        note="VS Code documents no time-out setting; it asks for the token once (empty if there is none).",
    ),
    "codex": ClientKind(
        title="Codex",
        section="mcp_servers",
        file=lambda home, settings, here: home / ".codex" / "config.toml",
        stdio=lambda command: command.entry(
            env_vars=[TOKEN, *KEYS, *SETTINGS], startup_timeout_sec=START_TIMEOUT_S, tool_timeout_sec=TIMEOUT_MS // 1000
        ),
        http=lambda url: {"url": url, "bearer_token_env_var": TOKEN, "tool_timeout_sec": TIMEOUT_MS // 1000},
        note="tool_timeout_sec is a hard limit in Codex: progress does not extend it. Of the environment it passes on "
        "what env_vars names.",
        is_toml=True,
    ),
    "gemini": ClientKind(
        title="Gemini CLI",
        file=lambda home, settings, here: home / ".gemini" / "settings.json",
        stdio=lambda command: command.entry(
            env={name: f"${{{name}:-}}" for name in (TOKEN, *KEYS)}, timeout=TIMEOUT_MS
        ),
        http=lambda url: {"url": url, "type": "http", "headers": _bearer(f"${TOKEN}"), "timeout": TIMEOUT_MS},
        note="timeout is in milliseconds. Gemini CLI passes on no variable whose name speaks of a key, unless it is in "
        "env.",
    ),
}


def endpoint(url: str) -> str:
    """The MCP address of a server; a bare one is completed with ``/mcp``. Raises ConfigError."""
    try:
        parts = urlsplit(url.strip())
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        # A password in the address would stand in the client's file.
        usable = usable and parts.username is None and not parts.query and url.isprintable() and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError([f"--http: {url!r} is not an http(s) address like https://ring.example.org"])
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/') or '/mcp'}"


def server_command(
    kind: ClientKind,
    *,
    clone: Path | None,
    extras: Sequence[str],
    uv: str | None,
    script: Path,
    python: str,
    source: str | None = None,
) -> Command:
    """From a clone ``uv run`` of the product in it; otherwise the installed script; otherwise ``python -m``.

    ``extras`` are those that the server's settings need; an installed one has them or says what it lacks. ``source`` is
    what uvx was given, where it runs from there: its own environment may be gone when the client starts.
    """
    if source is not None:
        wanted = f"{source}[{','.join(extras)}]" if extras else source
        return Command((uv if kind.has_screen else None) or "uv", ("tool", "run", "--from", wanted, NAME))
    if clone is not None:
        # A client waits while uv installs. The extras come with the tests' libraries, so that here they are named.
        product = ("--no-dev", *(word for extra in extras for word in ("--extra", extra)))
        return Command((uv if kind.has_screen else None) or "uv", ("run", *product, "--directory", str(clone), NAME))
    if script.stem == NAME:
        return Command(str(script.absolute()), ())
    return Command(python, ("-m", "ring_mcp"))


def as_toml(document: Mapping[str, Any]) -> str:
    """The one table of ours. JSON's strings, numbers and lists of strings are TOML's, too (but for DEL)."""
    [(section, servers)] = document.items()
    [(name, entry)] = servers.items()
    plain = {key: value for key, value in entry.items() if not isinstance(value, Mapping)}
    below = {f"{section}.{name}.{key}": value for key, value in entry.items() if isinstance(value, Mapping)}
    tables = {f"{section}.{name}": plain, **below}
    return "\n".join(_toml_table(title, pairs) for title, pairs in tables.items())


def _toml_table(title: str, pairs: Mapping[str, Any]) -> str:
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in pairs.items()]
    return "\n".join([f"[{title}]", *(line.replace("\x7f", "\\u007f") for line in lines)]) + "\n"


def new_settings() -> str:
    """The text of a new settings file, to be filled in."""
    keys = [next(iter(secret_variables(vendor.settings))) for vendor in VENDORS]
    return "\n".join(["# Settings of ring-mcp. Fill in one key.", *(f"# {key}=your-key" for key in keys), ""])


def as_text(kind: ClientKind, document: Mapping[str, Any]) -> str:
    return as_toml(document) if kind.is_toml else json.dumps(document, indent=2, ensure_ascii=False) + "\n"
