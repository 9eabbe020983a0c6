"""What the server costs a model to read, in tokens of o200k_base: the tools, a picture's answer, a list of jobs.

An answer is counted as text and JSON together, since clients differ in which of the two they pass on; its prompt, which
the model has written itself, and the preview are left out.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import toktok

from tests.benchmarks.measuring import RING, Pipe, folder, sandbox, title
from tests.server.wire import environment

MAX_TOOLS = 4_500
MAX_PICTURE = 300
MAX_JOB_LIST = 2_000
JOBS = 20

PROMPTS = (
    "a lighthouse at dusk, oil painting, long exposure, warm light in the windows",
    "the harbour market in the early morning, fishermen unloading crates, documentary photograph",
    "a product shot of a ceramic mug on a wooden table, soft daylight from the left, shallow depth of field",
)
"""Of a length that people write."""


def count(*texts: str) -> int:
    return sum(toktok.batch_count(texts, "o200k_base"))


def compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def count_tool(tool: Mapping[str, Any]) -> dict[str, int]:
    """By part; ``all`` is the whole."""
    parts = {name: count(compact(tool[name])) for name in ("description", "inputSchema", "outputSchema")}
    return {"all": count(compact(tool)), **parts}


def count_answer(result: Mapping[str, Any], prompt: str = "") -> dict[str, int]:
    """``text`` and ``json``, each without the prompt."""
    text = "\n".join(block["text"] for block in result["content"] if block["type"] == "text")
    return {
        "text": count(text.replace(prompt, "")),
        "json": count(compact(result["structuredContent"]).replace(prompt, "")),
    }


@contextlib.contextmanager
def _server(url: str, **variables: str) -> Iterator[Pipe]:
    with folder() as home, Pipe(RING, environment(home, RING_SANDBOX=url, **variables), home) as server:
        server.initialize()
        yield server


def run(rounds: int) -> None:
    title("tokens (o200k_base): what a model reads")
    with sandbox() as url, _server(url) as server:
        _show_tools(server.request("tools/list", {})["tools"])
        made = [server.call("ring-image-create", {"prompt": prompt}) for prompt in (PROMPTS * JOBS)[: max(rounds, 1)]]
        _show("a picture", count_answer(made[0], PROMPTS[0]), MAX_PICTURE)
        job_id = made[0]["structuredContent"]["data"]["jobId"]
        _show(
            "a picture, by ring-job-get",
            count_answer(server.call("ring-job-get", {"jobId": job_id}), PROMPTS[0]),
            MAX_PICTURE,
        )
        clip = server.call("ring-video-create", {"prompt": PROMPTS[0], "waitSeconds": 60})
        _show("a clip", count_answer(clip, PROMPTS[0]))
        _show(
            "a dry run",
            count_answer(server.call("ring-image-create", {"prompt": PROMPTS[0], "dryRun": True}), PROMPTS[0]),
        )
        _show(
            f"a list of {len(made)} jobs", count_answer(server.call("ring-job-list", {"kind": "image"})), MAX_JOB_LIST
        )
        _show("health", count_answer(server.call("ring-health", {})))


def _show_tools(tools: Sequence[Mapping[str, Any]]) -> None:
    for tool in tools:
        parts = count_tool(tool)
        print(f"  {tool['name']:<30}{parts.pop('all'):6}   {', '.join(f'{name} {n}' for name, n in parts.items())}")
    print(f"  {'tools/list':<30}{count(compact(tools)):6}   at most {MAX_TOOLS}")


def _show(name: str, parts: Mapping[str, int], most: int | None = None) -> None:
    told = ", ".join(f"{part} {tokens}" for part, tokens in parts.items())
    print(f"  {name:<30}{sum(parts.values()):6}   {told}{f'; at most {most}' if most else ''}", flush=True)
