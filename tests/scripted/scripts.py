"""Scripted requests for tests: one with everything in it, and any at all."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

from ring_mcp.scripted.schema import ScriptRequest, parse_script

WHOLE: dict[str, Any] = {
    "$schema": "./scripted-request.schema.json",
    "schemaVersion": "1.0",
    "requestId": "harbour-2026",
    "project": "Harbour",
    "purpose": "campaign",
    "defaults": {
        "provider": "xai",
        "qualityMode": "draft",
        "aspectRatio": "9:16",
        "videoResolution": "480p",
        "imageResolution": "1k",
    },
    "cast": [
        {"id": "anna", "description": "a tall woman in a red coat, forty years old", "label": "Anna"},
        {"id": "old_sailor", "description": "a weathered sailor with a white beard. He limps"},
    ],
    "setting": "A harbour in Odesa at dawn.",
    "clips": [
        {
            "id": "clip-01_scene",
            "duration": 6,
            "aspectRatio": "16:9",
            "firstFrame": {"imagePrompt": "{{anna}} faces {{ old_sailor }}"},
            "scene": {
                "camera": "slow dolly towards {{anna}}",
                "action": "{{old_sailor}} coils a rope",
                "dialogue": [
                    {"speaker": "anna", "line": "Де корабель?", "tone": "urgent"},
                    {"speaker": "old_sailor", "line": 'He said: "never".'},
                ],
            },
            "thumbnail": {"enabled": True, "overlays": [{"text": "Гавань", "role": "title"}]},
            "remaster": {"sourceVideoUrl": "https://cdn.example/own.mp4", "remasterFromRequestId": "own"},
        },
        {
            "id": "clip-02",
            "duration": 15,
            "prompt": "  The sea, {{as it is}}.\n",
            "firstFrame": {"imageUrl": "https://cdn.example/sea.jpg", "imagePrompt": "not used"},
            "video": {"qualityMode": "production_i2v", "model": "grok-imagine-video-1.5", "resolution": "1080p"},
        },
    ],
}


def script(**changes: Any) -> ScriptRequest:
    return parse_script(json.dumps({**copy.deepcopy(WHOLE), **changes}))


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20).map(
    lambda text: f"w{text}w"
)
plain = words.map(lambda text: text.replace("{", "(").replace("}", ")"))
CAST = ["anna", "b_2", "c"]
directions = st.lists(
    st.one_of(plain, st.sampled_from(CAST).map(lambda m: "{{" + m + "}}")), min_size=1, max_size=4
).map(" ".join)


def maybe(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


lines = st.lists(
    st.fixed_dictionaries({"speaker": st.sampled_from(CAST), "line": words}, optional={"tone": words}), max_size=3
)
scenes = st.fixed_dictionaries({"action": directions}, optional={"camera": directions, "dialogue": lines})
modes = st.sampled_from(["draft", "draft_i2v", "production", "production_i2v"])
resolutions = st.sampled_from(["480p", "720p", "1080p"])
# What a still is made with is refused where none is.
made_with = {"imageModel": plain, "imageProvider": st.sampled_from(["xai", "google"])}
frames = st.one_of(
    st.fixed_dictionaries({"imagePrompt": directions}, optional={"imageUrl": plain, **made_with}),
    st.fixed_dictionaries({"imageUrl": plain}, optional=made_with),
    st.just(dict[str, Any]()),
)
overlays = st.fixed_dictionaries({"text": words}, optional={"role": st.sampled_from(["title", "cta"])})
thumbnails = st.fixed_dictionaries({"enabled": st.booleans()}, optional={"overlays": st.lists(overlays, max_size=2)})
clips = st.one_of(
    *(
        st.fixed_dictionaries(
            {"duration": st.integers(1, 15), **needed},
            optional={
                "aspectRatio": st.sampled_from(["16:9", "1:1"]),
                "firstFrame": frames,
                "video": maybe(qualityMode=modes, resolution=resolutions, model=plain),
                "thumbnail": thumbnails,
                "remaster": maybe(sourceVideoUrl=plain, remasterFromRequestId=plain),
            },
        )
        for needed in ({"prompt": words}, {"scene": scenes}, {"prompt": words, "scene": scenes})
    )
)
requests = st.fixed_dictionaries(
    {
        "schemaVersion": st.just("1.0"),
        "requestId": plain,
        "cast": st.tuples(*(st.fixed_dictionaries({"id": st.just(m), "description": plain}) for m in CAST)),
        "clips": st.lists(clips, min_size=1, max_size=3).map(
            lambda made: [{**clip, "id": f"clip-{number}"} for number, clip in enumerate(made)]
        ),
    },
    optional={
        "purpose": plain,
        "setting": directions,
        "defaults": maybe(qualityMode=modes, videoResolution=resolutions, aspectRatio=st.just("9:16")),
    },
).map(lambda data: parse_script(json.dumps(data)))
