"""The storyboard prompt, as a client finds and gets it: the request that it shows is one that the product takes."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from ring_mcp.scripted.compiler import compile_clip
from ring_mcp.scripted.schema import parse_script
from ring_mcp.tools.video_create import VideoCreateArguments
from tests.server.wire import LEGACY, MODERN, RingProcess, environment

INVALID_PARAMS = -32602


@pytest.fixture(scope="module", params=[LEGACY, MODERN])
def process(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RingProcess]:
    folder = tmp_path_factory.mktemp("prompts")
    with RingProcess(environment(folder, RING_SANDBOX="1"), folder, version=request.param) as process:
        yield process


def got(process: RingProcess, **arguments: str) -> str:
    result = process.request("prompts/get", {"name": "storyboard", "arguments": arguments})
    [message] = result["messages"]
    assert (message["role"], message["content"]["type"]) == ("user", "text")
    return str(message["content"]["text"])


def test_the_storyboard_is_listed_with_its_arguments(process: RingProcess) -> None:
    [listed] = process.request("prompts/list")["prompts"]

    assert (listed["name"], listed["title"]) == ("storyboard", "From an idea to clips")
    assert {argument["name"]: argument["required"] for argument in listed["arguments"]} == {
        "idea": True,
        "clips": False,
        "duration": False,
        "style": False,
    }
    assert all(argument["description"] for argument in listed["arguments"])


def test_what_the_person_said_is_in_it_and_what_to_do(process: RingProcess) -> None:
    text = got(process, idea="A kite {0} that is lost 🪁", clips="5", duration="8", style="hand-drawn")

    assert "Idea: A kite {0} that is lost 🪁\nClips: 5, of about 8 seconds each" in text
    assert "Style: hand-drawn" in text
    assert "Call ring-script-run with the request and dryRun: true" in text
    assert "{{id}} in setting, action, camera and imagePrompt" in text
    assert "Clips: 3, of about 6 seconds" in got(process, idea="x")


def test_the_request_that_it_shows_parses_and_compiles(process: RingProcess) -> None:
    [shown] = re.findall(r"```json\n(.*?)\n```", got(process, idea="x"), re.S)
    script = parse_script(shown)

    for clip in script.clips:
        arguments = compile_clip(script, clip)
        VideoCreateArguments.parse(arguments)
        assert "{{" not in arguments["prompt"] + arguments["firstFramePrompt"]


@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        ("storyboard", {}, "idea is required"),
        ("storyboard", {"idea": " "}, "idea is required"),
        ("storyboard", {"idea": "x", "clips": "0"}, "clips: must be at least 1"),
        ("storyboard", {"idea": "x", "duration": "16"}, "duration: must be at most 15"),
        ("storyboard", {"idea": "x", "clip": "3"}, "unknown argument 'clip', did you mean clips? (allowed: idea, "),
        ("storyline", {}, "Unknown prompt: storyline"),
    ],
)
def test_what_it_does_not_take_is_told(process: RingProcess, name: str, arguments: dict[str, str], text: str) -> None:
    refused = process.refusal("prompts/get", {"name": name, "arguments": arguments})

    assert refused["code"] == INVALID_PARAMS
    assert refused["message"].startswith(text)
