"""Scripts that are wrong: every problem, with its path, before anything else happens."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ring_mcp.domain.reading import MAX_PROBLEMS
from ring_mcp.errors import InvalidRequest
from ring_mcp.scripted.compiler import compile_clip
from ring_mcp.scripted.reading import MAX_FILE_BYTES
from ring_mcp.scripted.schema import parse_script, read_script, script_schema
from tests.scripted.scripts import WHOLE

CLIP = {"id": "a", "duration": 6, "prompt": "x"}
CLIP_FIELDS = "id, duration, aspectRatio, prompt, firstFrame, scene, video, thumbnail, remaster"


def told(**changes: Any) -> str:
    with pytest.raises(InvalidRequest) as caught:
        parse_script(json.dumps({"schemaVersion": "1.0", "requestId": "r", "clips": [CLIP], **changes}))
    return str(caught.value)


def clip(**changes: Any) -> dict[str, Any]:
    return {"clips": [{**CLIP, **changes}]}


def scene(**fields: Any) -> dict[str, Any]:
    return {"cast": [{"id": "anna", "description": "a woman"}], **clip(scene=fields)}


def line(**changes: Any) -> dict[str, Any]:
    return scene(dialogue=[{"speaker": "anna", "line": "Hello", **changes}])


def overlay(**changes: Any) -> dict[str, Any]:
    return clip(thumbnail={"enabled": True, "overlays": [{"text": "x", **changes}]})


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"schemaVersion": "2.0"}, 'schemaVersion must be "1.0", the only one that is known here'),
    ({"schemaVersion": 2}, 'schemaVersion must be "1.0", the only one that is known here'),
    ({"requestId": ""}, "requestId is required"),
    ({"requestId": "r" * 201}, "requestId: may have 200 characters at most"),
    ({"clips": []}, "clips: needs at least one clip"),
    ({"clips": {}}, "clips: must be a list"),
    (
        {"clips": [7]},
        "clips[0]: must be an object with id, duration, aspectRatio, prompt, firstFrame, scene, video, thumbnail, "
        "remaster",
    ),
    (clip(duration=0), "clips[0].duration: must be at least 1"),
    (clip(duration=16), "clips[0].duration: must be at most 15"),
    (clip(duration=1.5), "clips[0].duration: must be a whole number, without a fraction"),
    (clip(duration=True), "clips[0].duration: must be a number"),
    (clip(prompt=" \n"), "clips[0]: Clip a: scene or prompt is required"),
    (clip(duration=None), "clips[0].duration is required"),
    (clip(prompt="a\0b"), "clips[0].prompt: must not contain a NUL character"),
    (
        clip(prompt="\ud800"),
        "clips[0].prompt: must be valid Unicode text",
    ),
    (clip(prompt=None), "clips[0]: Clip a: scene or prompt is required"),
    (clip(prompt=None, scene={"dialogue": []}), "clips[0]: Clip a: scene or prompt is required"),
    (
        clip(aspectratio="1:1"),
        f"unknown field 'clips[0].aspectratio', did you mean aspectRatio? (allowed: {CLIP_FIELDS})",
    ),
    (clip(zebra=1), f"unknown field 'clips[0].zebra' (allowed: {CLIP_FIELDS})"),
    (
        scene(camra="x"),
        "unknown field 'clips[0].scene.camra', did you mean camera? (allowed: action, camera, dialogue)",
    ),
    (line(line=" "), "clips[0].scene.dialogue[0].line is required"),
    (line(speaker="bob"), "clips[0].scene.dialogue[0].speaker: 'bob' is not in the cast (anna)"),
    (scene(action="{{bob}} runs"), "clips[0].scene.action: 'bob' is not in the cast (anna)"),
    (
        scene(action="{{anna} runs"),
        "clips[0].scene.action: has {{ or }} that belong to no placeholder: write {{cast_id}}",
    ),
    ({"setting": "{{bob}}'s house"}, "setting: 'bob' is not in the cast (it is empty)"),
    (clip(firstFrame={"imagePrompt": "{{}}"}), "clips[0].firstFrame.imagePrompt: '' is not in the cast (it is empty)"),
    (
        {"cast": [{"id": "anna", "description": "{{anna}}"}]},
        "cast[0].description: must not contain { or }: it takes the place of a placeholder itself",
    ),
    ({"cast": [{"id": "a", "description": "x"}] * 2}, "cast[1].id: is the id of an earlier one already"),
    ({"clips": [CLIP, {**CLIP, "id": "A"}]}, "clips[1].id: is the id of an earlier one already"),
    (overlay(text="t" * 10_001), "clips[0].thumbnail.overlays[0].text: may have 10000 characters at most"),
    (overlay(text=""), "clips[0].thumbnail.overlays[0].text is required"),
    (
        overlay(role="headline"),
        "clips[0].thumbnail.overlays[0].role: must be one of 'title', 'subtitle', 'cta' or 'caption'",
    ),
    (clip(thumbnail={"overlays": [{"text": "x"}]}), "clips[0].thumbnail.enabled is required"),
    ({"defaults": {"provider": "openai"}}, "defaults.provider: must be one of 'xai' or 'google'"),
    (
        {"defaults": {"videoResolution": "8k"}},
        "defaults.videoResolution: must be one of '360p', '480p', '720p', '1080p' or '4k'",
    ),
]


@pytest.mark.parametrize(("changes", "text"), REFUSED, ids=[text[:60] for _, text in REFUSED])
def test_what_is_wrong_is_told_with_the_path_of_its_field(changes: dict[str, Any], text: str) -> None:
    assert told(**changes) == text


NOT_FILE_NAMES = [
    "",
    ".",
    "..",
    ".a",
    "../a",
    "a/b",
    "a\\b",
    "/etc/passwd",
    "C:a",
    "a b",
    "a\nb",
    "кліп",
    "🎬",
    "b\u202ea",
    "a" * 101,
]


@pytest.mark.parametrize("identifier", NOT_FILE_NAMES)
def test_a_clip_id_that_cannot_name_a_file_everywhere_is_refused(identifier: str) -> None:
    assert told(**clip(id=identifier)).startswith(("clips[0].id: names a file: letters", "clips[0].id is required"))


def test_the_id_of_a_cast_is_told_without_a_pattern() -> None:
    cast = [{"id": "Anna", "description": "a woman"}]
    assert told(cast=cast).splitlines()[0] == (
        "cast[0].id: must be small letters a to z, figures and _ only, and begin with a letter"
    )


@pytest.mark.parametrize("identifier", ["clip-01_scene", "1", "A.b-c_d", "a" * 100])
def test_ids_as_ring_writes_them_are_taken(identifier: str) -> None:
    content = {"schemaVersion": "1.0", "requestId": "r", **clip(id=identifier)}

    assert parse_script(json.dumps(content)).clips[0].id == identifier


def test_blanks_around_an_id_are_no_part_of_it() -> None:
    cast = [{"id": "\u200banna\n", "description": "a woman"}]
    content = {"schemaVersion": "1.0", "requestId": "r", "cast": cast, **scene(action="{{anna}} runs", dialogue=[])}
    content["clips"][0] |= {"id": " a\n", "prompt": None}
    request = parse_script(json.dumps(content))

    assert ([each.id for each in request.clips], [each.id for each in request.cast]) == (["a"], ["anna"])
    assert compile_clip(request, request.clips[0])["prompt"] == "ACTION: a woman runs"


@pytest.mark.parametrize(
    ("cast", "text"),
    [
        ({"anna": "a woman"}, "cast: must be a list"),
        ("anna", "cast: must be a list"),
        (5, "cast: must be a list"),
        (["anna"], "cast[0]: must be an object with id, description, label"),
        ([{"description": "a woman"}], "cast[0].id is required"),
    ],
)
def test_who_names_an_unreadable_cast_is_not_told_of_it(cast: Any, text: str) -> None:
    assert told(**{**scene(action="{{anna}} runs"), "cast": cast}) == text


@pytest.mark.parametrize("text", ["🎬 Дія!", "שלום \u202eעולם", "a\nb", "{", "} {"])
def test_words_may_be_in_any_script(text: str) -> None:
    content = {
        "schemaVersion": "1.0",
        "requestId": text,
        "cast": [{"id": "anna", "description": "a woman"}],
        "clips": [{**CLIP, **line(line=text)["clips"][0], **overlay(text=text)["clips"][0], "prompt": text}],
    }

    assert parse_script(json.dumps(content)).clips[0].prompt == text


def test_all_problems_are_told_at_once() -> None:
    clips = [{**CLIP, "duration": 0}, {"id": "../b", "scen": {}, "duration": 1, "prompt": "x"}, {"id": "c"}]

    assert told(requestID="r", setting="{{x}}", clips=clips).splitlines() == [
        "setting: 'x' is not in the cast (it is empty)",
        "clips[0].duration: must be at least 1",
        "clips[1].id: names a file: letters A to Z, figures, -, _ and . only, 100 at most, and no . in front",
        "clips[2].duration is required",
        f"unknown field 'clips[1].scen', did you mean scene? (allowed: {CLIP_FIELDS})",
        "unknown field 'requestID', did you mean requestId? (allowed: $schema, schemaVersion, requestId, project, "
        "purpose, refCode, defaults, cast, setting, clips)",
    ]


def test_clips_without_a_duration_last_as_long_as_the_default() -> None:
    content: dict[str, Any] = {
        "schemaVersion": "1.0",
        "requestId": "r",
        "defaults": {"duration": 4},
        "clips": [{"id": "a", "prompt": "x"}, {"id": "b", "prompt": "x", "duration": None}, {**CLIP, "id": "c"}],
    }

    assert [each.duration for each in parse_script(json.dumps(content)).clips] == [4, 4, 6]
    jsonschema.validate({**content, "clips": [content["clips"][0]]}, script_schema())


def test_names_of_the_cast_are_read_in_any_case() -> None:
    content = {"schemaVersion": "1.0", "requestId": "r", **scene(action="{{ Anna }} runs", dialogue=[])}
    content["clips"][0]["scene"]["dialogue"] = [{"speaker": "ANNA", "line": "Hello"}]
    content["clips"][0]["prompt"] = None
    request = parse_script(json.dumps(content))

    prompt = compile_clip(request, request.clips[0])["prompt"]
    assert prompt.startswith('ACTION: a woman runs DIALOGUE: a woman says: "Hello"')


def test_a_flood_of_problems_is_cut_and_counted() -> None:
    lines = told(clips=[{"id": f"c{number}", "duration": 99, "prompt": "x"} for number in range(1000)]).splitlines()

    assert len(lines) == MAX_PROBLEMS + 1
    assert lines[-1] == f"… and {1000 - MAX_PROBLEMS} more"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b'{"schemaVersion": 1,\n "clips" []}', "the script is not JSON: Expecting ':' delimiter (line 2, column 10)"),
        (b"", "the script is not JSON: Expecting value (line 1, column 1)"),
        (b"\xff\xfe{", "the script is not UTF-8 text (byte 0)"),
        (b"[]", "the script must be a JSON object"),
        (b"[" * 100_000, "the script is not readable JSON (RecursionError)"),
        (b'{"a": ' + b"9" * 5000 + b"}", "the script is not readable JSON (ValueError)"),
    ],
)
def test_what_is_not_json_is_told_with_its_place(content: bytes, text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_script(content)

    assert str(caught.value) == text


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "script.json"
    path.write_text(json.dumps(WHOLE), encoding="utf-8-sig")

    assert read_script(path) == parse_script(json.dumps(WHOLE))


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"the script .*no\.json cannot be read: No such file"):
        read_script(tmp_path / "no.json")
    with pytest.raises(InvalidRequest, match="cannot be read: Is a directory"):
        read_script(tmp_path)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.json"
    with path.open("wb") as file:
        file.truncate(50 * 1024 * 1024)

    with pytest.raises(InvalidRequest, match=f"is too large: {MAX_FILE_BYTES:,} bytes are allowed"):
        read_script(path)
    with pytest.raises(InvalidRequest, match="is too large"):
        read_script(Path("/dev/zero"))
    # A server would wait for whoever writes into it.
    os.mkfifo(tmp_path / "pipe")
    for stranger in (Path("/dev/zero"), tmp_path / "pipe"):
        with pytest.raises(InvalidRequest, match="it is not a file"):
            read_script(stranger, is_strangers=True)


def test_the_json_schema_takes_and_refuses_as_the_model_does() -> None:
    schema = script_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)

    validator.validate(WHOLE)
    base = {"schemaVersion": "1.0", "requestId": "r", "clips": [CLIP]}
    by_the_file_as_a_whole = (
        "cast",
        "earlier one",
        "{{",
        "scene or prompt",
        "{ or }",
        "NUL",
        "Unicode",
        "' '",
        "prompt: ",
    )
    for changes, text in REFUSED:
        if not any(words in text for words in by_the_file_as_a_whole) and changes != line(line=" "):
            assert not validator.is_valid({**base, **changes}), text


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*WHOLE, *WHOLE["clips"][0]]), inner),
    max_leaves=15,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(list(WHOLE)), anything))
def test_any_json_is_taken_or_refused_in_sentences(changes: dict[str, Any]) -> None:
    try:
        parse_script(json.dumps({**WHOLE, **changes}))
    except InvalidRequest as exc:
        text = str(exc)
    else:
        return
    assert text


@pytest.mark.parametrize("field", [{"imageModel": "m"}, {"imageProvider": "xai"}, {"imageResolution": "1k"}])
def test_a_first_frame_of_nothing_is_refused(field: dict[str, str]) -> None:
    def read(**frame: str) -> object:
        return parse_script({"schemaVersion": "1.0", "requestId": "r", **clip(firstFrame=field | frame)})

    assert read(imagePrompt="a still")
    assert read(imageUrl="https://x.org/a.jpg")
    with pytest.raises(InvalidRequest, match=r"clips\[0\]\.firstFrame: needs imagePrompt, or imageUrl"):
        read(imagePrompt="", imageUrl="")


@pytest.mark.parametrize("text", ["{{" + " " * 3_000, "{{ " * 3_000])
def test_a_placeholder_that_does_not_end_is_looked_through_once(text: str) -> None:
    began_s = time.process_time()
    assert "setting: has {{ or }} that belong to no placeholder" in told(setting=text)
    assert time.process_time() - began_s < 2


def test_a_text_has_so_many_placeholders_and_no_more() -> None:
    cast = [{"id": "anna", "description": "a woman"}]
    assert parse_script(
        {"schemaVersion": "1.0", "requestId": "r", "cast": cast, **clip(scene={"action": "{{anna}}" * 100})}
    )
    assert "action: may have 100 placeholders at most, got 101" in told(**scene(action="{{anna}}" * 101))


def test_a_large_cast_is_looked_through_once_however_it_is_spelled() -> None:
    cast = [{"id": f"c{number:03}", "description": "somebody"} for number in range(1000)]
    others = " ".join(f"{{{{C{number:03}}}}}" for number in range(900, 999))
    clips = [{"id": f"k{n}", "duration": 3, "scene": {"camera": others, "action": others}} for n in range(50)]
    began_s = time.process_time()
    request = parse_script({"schemaVersion": "1.0", "requestId": "r", "cast": cast, "clips": clips})
    assert all("somebody somebody" in compile_clip(request, clip)["prompt"] for clip in request.clips)
    assert parse_script(
        {"schemaVersion": "1.0", "requestId": "r", "cast": cast, **clip(scene={"action": "{x}" * 20_000})}
    )
    assert time.process_time() - began_s < 5


def test_of_a_large_cast_a_refusal_names_a_few() -> None:
    cast = [{"id": f"c{number}", "description": "somebody"} for number in range(1000)]
    assert "'x' is not in the cast (c0, c1, " in (text := told(cast=cast, **clip(scene={"action": "{{x}}"})))
    assert text.endswith("c19 and 980 more)")
