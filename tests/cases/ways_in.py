"""Every way in, behind one call: a tool and its arguments go in, whether it was refused and the whole answer come out.

Over REST and on the command line only what these have: ``Way.takes`` says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
from click.testing import CliRunner

from ring_mcp.cli.commands import cli
from tests.server.wire import RingProcess

API = "/api/mcp/v1"
LIMIT_S = 120.0
_CREATE = {"ring-image-create": "images", "ring-video-create": "videos"}
_READ = {
    "ring-job-list": "jobs", "ring-health": "meta/health", "ring-model-list": "meta/models",
    "ring-spend": "meta/spend", "ring-whoami": "meta/context",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """``refused``: nothing was done. ``text`` is everything that came back, as text."""

    refused: bool
    text: str

    @property
    def facts(self) -> dict[str, Any]:
        """The envelope."""
        return dict(json.loads(self.text))


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """``takes(tool, arguments)``: whether that can be said this way at all."""

    name: str
    takes: Callable[[str, Mapping[str, Any]], bool]
    ask: Callable[[str, Mapping[str, Any]], Answer]


def by_stdio(ring: RingProcess) -> Way:
    def ask(tool: str, arguments: Mapping[str, Any]) -> Answer:
        reply = ring.call(tool, arguments)
        return Answer(refused=reply.is_error, text=json.dumps(reply.content, ensure_ascii=False))

    return Way(name="stdio", takes=lambda tool, arguments: True, ask=ask)


_IN_A_CLIP = {
    "prompt": ("prompt",), "duration": ("duration",), "aspectRatio": ("aspectRatio",), "thumbnail": ("thumbnail",),
    "imageUrl": ("firstFrame", "imageUrl"), "firstFramePrompt": ("firstFrame", "imagePrompt"),
    "imageProvider": ("firstFrame", "imageProvider"), "imageModel": ("firstFrame", "imageModel"),
    "imageResolution": ("firstFrame", "imageResolution"), "provider": ("video", "provider"),
    "model": ("video", "model"), "qualityMode": ("video", "qualityMode"), "resolution": ("video", "resolution"),
    "sourceVideoUrl": ("remaster", "sourceVideoUrl"),
}  # fmt: skip
"""Where the arguments of a clip stand in a script."""


def by_script(ring: RingProcess) -> Way:
    """A clip as the one clip of a script, priced: what is wrong with it is told of the clip, or of the script."""

    def ask(tool: str, arguments: Mapping[str, Any]) -> Answer:
        clip: dict[str, Any] = {"id": "one"}
        for name, value in arguments.items():
            *above, last = _IN_A_CLIP.get(name, ("",))
            if last:
                (clip.setdefault(above[0], {}) if above else clip)[last] = value
        request = {"schemaVersion": "1.0", "requestId": "case", "defaults": {"duration": 6}, "clips": [clip]}
        remaster = arguments.get("remaster") is True
        reply = ring.call("ring-script-run", {"request": request, "remaster": remaster, "dryRun": True})
        refused = reply.is_error or reply.data["clips"][0]["status"] == "error"
        return Answer(refused=refused, text=json.dumps(reply.content, ensure_ascii=False))

    def takes(tool: str, arguments: Mapping[str, Any]) -> bool:
        is_priced = arguments.get("dryRun") is True and arguments.keys() <= {*_IN_A_CLIP, "dryRun", "remaster"}
        has_source = "sourceVideoUrl" in arguments
        remaster = arguments.get("remaster")
        is_edit = has_source is (remaster is True) and not (has_source and "duration" in arguments)
        return tool == "ring-video-create" and is_priced and is_edit and (remaster is True or remaster is None)

    return Way(name="script", takes=takes, ask=ask)


def by_http(url: str, token: str) -> Way:
    """MCP over Streamable HTTP, as bare JSON-RPC."""

    def ask(tool: str, arguments: Mapping[str, Any]) -> Answer:
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
        headers = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-11-25"}
        with _client(url, token) as client:
            answer = client.post("/mcp", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        data = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
        message = json.loads(data[-1] if data else answer.text)
        result = message["result"]
        return Answer(
            refused=bool(result.get("isError")), text=json.dumps(result["structuredContent"], ensure_ascii=False)
        )

    return Way(name="http", takes=lambda tool, arguments: True, ask=ask)


def by_rest(url: str, token: str) -> Way:
    def ask(tool: str, arguments: Mapping[str, Any]) -> Answer:
        with _client(url, token) as client:
            if tool in _CREATE:
                answer = client.post(f"{API}/{_CREATE[tool]}/generate", json=dict(arguments))
            elif tool == "ring-job-get":
                answer = client.get(f"{API}/jobs/{quote(arguments['jobId'], safe='')}")
            elif tool == "ring-job-cancel":
                answer = client.post(f"{API}/jobs/{quote(arguments['jobId'], safe='')}/cancel")
            else:
                answer = client.get(f"{API}/{_READ[tool]}", params=_as_text(arguments))
        assert answer.status_code < 500, answer.text
        return Answer(refused=answer.status_code >= 400, text=answer.text)

    def takes(tool: str, arguments: Mapping[str, Any]) -> bool:
        if tool in ("ring-job-get", "ring-job-cancel"):
            return isinstance(arguments.get("jobId"), str) and arguments.keys() <= {"jobId", "waitSeconds"}
        # A query has neither numbers nor true and false: what is no text there is another one here.
        is_text = all(isinstance(value, str | None) for value in arguments.values())
        return tool in _CREATE or (tool in _READ and is_text)

    return Way(name="rest", takes=takes, ask=ask)


def by_command(environ: Mapping[str, str | None], folder: Path) -> Way:
    """``ring-mcp image``, ``video``, ``script`` and ``jobs show``, in this process. Of ``environ`` None is unset."""

    def ask(tool: str, arguments: Mapping[str, Any]) -> Answer:
        done = CliRunner(env=dict(environ)).invoke(cli, _command(tool, arguments, folder), catch_exceptions=False)
        return Answer(refused=done.exit_code not in (0, 3), text=done.output)

    return Way(name="command", takes=_can_be_typed, ask=ask)


def _client(url: str, token: str) -> httpx2.Client:
    """Without certificates: to load them takes longer than most of the answers, and nothing here is https."""
    return httpx2.Client(base_url=url, headers={"authorization": f"Bearer {token}"}, timeout=LIMIT_S, verify=False)


def _as_text(arguments: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in arguments.items() if value is not None}


_SWITCHES = {"dryRun": "--dry-run", "remaster": "--remaster"}
_NOT_TYPED = {"thumbnail", "persistToFilebase"}


def _can_be_typed(tool: str, arguments: Mapping[str, Any]) -> bool:
    """What a person can type: text for each option that there is, switches on or not at all."""
    if tool == "ring-script-run":
        return isinstance(arguments.get("request"), dict | str) and arguments.keys() <= {
            "request", "path", "dryRun", "remaster", "maxUsd", "clips",
        }  # fmt: skip
    if tool == "ring-job-get":
        return isinstance(arguments.get("jobId"), str) and arguments.keys() == {"jobId"}
    if tool not in _CREATE:
        return False
    command = cli.commands[_CREATE[tool].removesuffix("s")]
    options = {_camel(name) for parameter in command.params if (name := parameter.name)}
    given = {name: value for name, value in arguments.items() if value is not None}
    return all(
        name in options
        and name not in _NOT_TYPED
        and (value is True if name in _SWITCHES else isinstance(value, str | int | float | list))
        and not isinstance(value, dict)
        for name, value in given.items()
    ) and isinstance(given.get("prompt"), str)


def _command(tool: str, arguments: Mapping[str, Any], folder: Path) -> list[str]:
    if tool == "ring-job-get":
        return ["jobs", "show", str(arguments["jobId"])]
    given = {name: value for name, value in arguments.items() if value is not None and value is not False}
    if tool == "ring-script-run":
        request = given.pop("request")
        path = folder / "request.json"
        path.write_text(request if isinstance(request, str) else json.dumps(request), encoding="utf-8")
        clips = given.pop("clips", [])
        typed = ["script", str(path), "--output", str(folder / "output")]
        typed += [f"--clip={clip}" for clip in (clips if isinstance(clips, list) else [clips])]
        given.pop("path", None)
    else:
        typed = [_CREATE[tool].removesuffix("s")]
    for name, value in given.items():
        if name in _SWITCHES:
            typed.append(_SWITCHES[name])
        elif name != "prompt":
            option = "--wait-s" if name == "waitSeconds" else f"--{_kebab(name)}"
            typed += [
                f"{option}={each}" for each in (value if isinstance(value, list) else [value]) if each is not None
            ]
    return [*typed, "--json", *(["--", str(given["prompt"])] if "prompt" in given else [])]


def _kebab(name: str) -> str:
    return "".join(f"-{char.lower()}" if char.isupper() else char for char in name)


def _camel(name: str) -> str:
    head, *rest = ("wait_seconds" if name == "wait_s" else name).split("_")
    return head + "".join(part.title() for part in rest)
