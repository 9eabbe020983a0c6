"""The storyboard prompt: how an agent turns an idea into a scripted request, and what it does with it. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from ring_mcp.domain.fields import Strict, plain
from ring_mcp.scripted.makes import Seconds
from ring_mcp.scripted.reading import validate
from ring_mcp.scripted.schema import Prose

NAME = "storyboard"
TITLE = "From an idea to clips"
DESCRIPTION = "Turns an idea into a scripted request of several clips, shows it and its price, and runs it."
RUN_TOOL = "ring-script-run"

EXAMPLE: dict[str, Any] = {
    "schemaVersion": "1.0",
    "requestId": "lighthouse-2026-11-21",
    "project": "Lighthouse",
    "purpose": "social",
    "defaults": {"qualityMode": "draft", "aspectRatio": "16:9", "imageResolution": "1k"},
    "cast": [
        {
            "id": "keeper",
            "label": "The keeper",
            "description": "a woman of sixty with short grey hair, a navy wool jumper and a brass whistle on a cord",
        },
        {"id": "boy", "description": "a ten-year-old boy, yellow raincoat, muddy boots"},
    ],
    "setting": "A lighthouse on a cliff in the last light of a storm, cold blue with warm lamps, 35mm film",
    "clips": [
        {
            "id": "clip-01_arrival",
            "duration": 6,
            "firstFrame": {"imagePrompt": "{{boy}} knocks at a heavy oak door in the rain, seen from behind"},
            "scene": {"camera": "slow dolly in", "action": "the door opens and {{keeper}} lifts a lantern"},
            "thumbnail": {
                "enabled": True,
                "template": "title_card",
                "overlays": [{"text": "The last light", "role": "title", "position": "center"}],
            },
        },
        {
            "id": "clip-02_question",
            "duration": 8,
            "firstFrame": {"imagePrompt": "{{keeper}} and {{boy}} at the foot of a spiral stair, lantern between them"},
            "scene": {
                "camera": "medium two-shot, still",
                "action": "{{keeper}} looks up the stair",
                "dialogue": [
                    {"speaker": "boy", "line": "Is it always this loud?", "tone": "whispering"},
                    {"speaker": "keeper", "line": "Only when somebody needs us."},
                ],
            },
        },
    ],
}

_TEXT = """\
Turn this idea into a scripted video request, and make it with {tool} once I have agreed.

Idea: {idea}
Clips: {clips}, of about {duration} seconds each (whole seconds, 1 to 15).
Style: {style}

Writing it:
- One shot, one place and one action for each clip, in the order in which they are shown. What happens has to fit into \
the clip's seconds; people speak about two words a second.
- cast: everybody and everything that has to look the same in several clips. A description is complete (age, build, \
hair, clothes): it is all that the provider ever sees of them. {{{{id}}}} in setting, action, camera and imagePrompt \
stands for it; a line is spoken as it stands.
- setting: place, time, light and style, for all clips. scene.action: present tense. scene.camera: one movement.
- dialogue: short lines; speaker is an id of the cast. Lip movement is best effort.
- firstFrame.imagePrompt: the still that a clip starts from, a paid picture; it keeps faces alike. imageUrl, in its \
place, is a picture that is there already.
- prompt, in place of scene, is sent exactly as it stands.
- thumbnail: only where words on a picture are wanted; it costs nothing.
- Ids of clips become file names: letters, digits, '.', '_' and '-'. requestId: a new one for each campaign.
- Leave out what is not needed. Unknown fields are refused, each with the nearest name that exists.

A request, by example:

```json
{example}
```

Then:
1. Show me the storyboard as a short list (clip, seconds, what is seen, what is said) and ask what to change.
2. Call {tool} with the request and dryRun: true, and tell me the price.
3. When I agree, call {tool} without dryRun. Begin with qualityMode draft; drafts that I like are made again with \
remaster: true. Give me the permanent URL of every clip, and what could not be made."""


class StoryboardArguments(Strict):
    idea: Prose = Field(description="What it is about, in a sentence or a page.")
    clips: Annotated[int, Field(ge=1, le=50), BeforeValidator(plain)] = Field(
        3, description="How many clips. Default: 3."
    )
    duration: Seconds = Field(6, description="Seconds of each clip, 1 to 15. Default: 6.")
    style: Prose = Field("as the idea suggests", description="Look and mood, like 'hand-drawn, warm'.")


def storyboard(arguments: Mapping[str, str]) -> str:
    """The prompt's text. Raises InvalidRequest."""
    given = validate(StoryboardArguments, arguments, noun="argument")
    example = json.dumps(EXAMPLE, ensure_ascii=False, indent=2)
    return _TEXT.format(tool=RUN_TOOL, example=example, **given.model_dump())
