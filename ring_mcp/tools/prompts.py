"""MCP prompts, with which a person starts a conversation; clients offer them by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ring_mcp.domain.fields import Strict
from ring_mcp.scripted import storyboard


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt as the registry holds it. ``text`` raises InvalidRequest for arguments that it does not take."""

    name: str
    title: str
    description: str
    arguments: type[Strict]
    text: Callable[[Mapping[str, str]], str]


def storyboard_prompt() -> Prompt:
    return Prompt(
        name=storyboard.NAME,
        title=storyboard.TITLE,
        description=storyboard.DESCRIPTION,
        arguments=storyboard.StoryboardArguments,
        text=storyboard.storyboard,
    )
