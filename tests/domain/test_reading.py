"""Whatever a client sends as arguments: it is read or refused in sentences, in bounded time, whoever wrote it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ring_mcp.domain.choices import EDGES, as_ratio, choose
from ring_mcp.domain.fields import job_id, job_named
from ring_mcp.domain.reading import MAX_ITEMS, MAX_PROBLEMS, MAX_VALUES
from ring_mcp.errors import InvalidRequest
from ring_mcp.scripted.direct import JobsFile
from ring_mcp.scripted.reading import validate
from ring_mcp.scripted.schema import parse_script
from ring_mcp.scripted.storyboard import StoryboardArguments
from ring_mcp.tools.health import HealthArguments
from ring_mcp.tools.image_create import ImageCreateArguments
from ring_mcp.tools.job_get import JobGetArguments
from ring_mcp.tools.job_list import JobListArguments
from ring_mcp.tools.script_run import ScriptRunArguments
from ring_mcp.tools.tool import Arguments
from ring_mcp.tools.video_create import VideoCreateArguments

TOOLS: list[type[Arguments]] = [
    ImageCreateArguments, VideoCreateArguments, JobGetArguments, JobListArguments, ScriptRunArguments, HealthArguments,
]  # fmt: skip
MAX_TEXT_CHARS = 60_000
LIMIT_S = 5.0
"""Of the processor, for a reading that takes a tenth of a second: what others do on the machine does not count."""

NAMES = sorted(
    {name for tool in TOOLS for field, info in tool.model_fields.items() for name in (field, str(info.alias))}
    | {"enabled", "overlays", "text", "role", "template", "source_frame", "toolCallId", "random_string", "promt", ""}
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=30)
    | st.sampled_from(
        ["", " ", "6s", "16x9", "Draft", "$1", "true", "[", "{", "null", "[]", "{}", "\x1b[31m", "\ud800"]
    )
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=8), inner, max_size=4)
        | inner.map(lambda value: json.dumps(value, default=str))
    ),
    max_leaves=12,
)
at_any_speed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def refused(read: Callable[[dict[str, Any]], object], arguments: dict[str, Any]) -> InvalidRequest | None:
    try:
        read(arguments)
    except InvalidRequest as exc:
        return exc
    return None


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.__name__)
@at_any_speed
@given(data=st.data())
def test_anything_is_read_or_refused_in_sentences(tool: type[Arguments], data: st.DataObject) -> None:
    own = st.sampled_from(
        [name for field, info in tool.model_fields.items() for name in (field, str(info.alias))] or [""]
    )
    arguments = data.draw(st.dictionaries(own | st.sampled_from(NAMES) | st.text(max_size=8), values, max_size=8))
    refusal = refused(tool.parse, arguments)
    assert refusal is None or 0 < len(refusal.message) < MAX_TEXT_CHARS
    assert refusal is None or (refusal.billed, refusal.retryable) == ("no", False)


@at_any_speed
@given(st.dictionaries(st.sampled_from(["idea", "clips", "duration", "style"]), values))
def test_arguments_of_a_prompt_are_read_the_same_way(arguments: dict[str, Any]) -> None:
    refusal = refused(lambda given: validate(StoryboardArguments, given), arguments)
    assert refusal is None or refusal.message


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.__name__)
def test_null_and_blank_text_stand_for_nothing_in_every_argument(tool: type[Arguments]) -> None:
    needed: dict[type[Arguments], dict[str, Any]] = {
        ImageCreateArguments: {"prompt": "x"}, VideoCreateArguments: {"prompt": "x"}, JobGetArguments: {"jobId": "j"},
    }  # fmt: skip
    plain = tool.parse(needed.get(tool, {}))
    others = [str(info.alias) for info in tool.model_fields.values() if info.alias not in needed.get(tool, {})]
    assert tool.parse(needed.get(tool, {}) | dict.fromkeys(others)) == plain
    choosing = {"clips", "jobIds", "referenceImages"}  # there blank text is an empty list
    for blank in ("", " \n"):
        assert tool.parse(needed.get(tool, {}) | dict.fromkeys(set(others) - choosing, blank)) == plain
    for word in ("null", "None", " none", "NONE", "Undefined", "nil"):  # of preview, none is a choice
        assert tool.parse(needed.get(tool, {}) | dict.fromkeys(set(others) - choosing - {"preview"}, word)) == plain


@pytest.mark.parametrize("tool", [ImageCreateArguments, VideoCreateArguments], ids=lambda tool: tool.__name__)
def test_every_argument_is_known_in_snake_case_and_only_once(tool: type[Arguments]) -> None:
    for field, info in tool.model_fields.items():
        if field == info.alias:
            continue
        with pytest.raises(InvalidRequest, match=f"{info.alias} is given twice, as {field} and as {info.alias}"):
            tool.parse({"prompt": "x", field: "1", str(info.alias): "1"})
        refusal = refused(tool.parse, {"prompt": "x", field: "1"})
        assert refusal is None or refusal.message.startswith(str(info.alias)), "for what it is and not for its name"


HUGE: dict[str, Callable[[], tuple[type[Arguments], dict[str, Any]]]] = {
    "250,000 unknown names": lambda: (ImageCreateArguments, {"prompt": "x", **{f"k{n}": 1 for n in range(250_000)}}),
    "250,000 null names": lambda: (ImageCreateArguments, {"prompt": "x", **{f"k{n}": None for n in range(250_000)}}),
    "1,900,000 numbers": lambda: (ImageCreateArguments, {"prompt": "x", "referenceImages": [1] * 1_900_000}),
    "1,900,000 numbers as text": lambda: (
        ImageCreateArguments, {"prompt": "x", "referenceImages": json.dumps([1] * 1_900_000)},
    ),
    "names in an overlay": lambda: (
        VideoCreateArguments,
        {"prompt": "x", "thumbnail": {"enabled": True, "overlays": [{f"k{n}": 1 for n in range(100_000)}] * 900}},
    ),
    "a name of a megabyte": lambda: (ImageCreateArguments, {"prompt": "x", "p" * 1_000_000: 1}),
    "a thousand wrong jobs": lambda: (JobGetArguments, {"jobIds": [["x"]] * 1_000}),
    "deep JSON text": lambda: (VideoCreateArguments, {"prompt": "x", "thumbnail": '{"a":' * 100_000}),
    "a number of 5,000 digits": lambda: (ImageCreateArguments, {"prompt": "x", "n": "9" * 5_000}),
}  # fmt: skip


@pytest.mark.parametrize("make", HUGE.values(), ids=HUGE)
def test_what_is_too_much_is_refused_at_once_and_shortly(
    make: Callable[[], tuple[type[Arguments], dict[str, Any]]],
) -> None:
    tool, arguments = make()
    began = time.thread_time()
    with pytest.raises(InvalidRequest) as caught:
        tool.parse(arguments)
    assert time.thread_time() - began < LIMIT_S
    assert caught.value.message.count(";") <= MAX_PROBLEMS
    assert len(caught.value.message) < MAX_TEXT_CHARS


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"clips": [{}] * 1_900_000}, f"clips may have {MAX_ITEMS} items at most, got 1900000"),
        ({"clips": [{"id": "a", "scene": {"dialogue": [{}] * 1000}}] * 100}, f"more than {MAX_VALUES} values"),
        ({"cast": [{f"k{n}": 1 for n in range(300)}]}, "cast[0] may have 200 names at most, got 300"),
    ],
)
def test_a_script_of_too_much_is_refused_before_it_is_looked_at(changes: dict[str, Any], text: str) -> None:
    began = time.thread_time()
    with pytest.raises(InvalidRequest) as caught:
        parse_script(
            {"schemaVersion": "1.0", "requestId": "r", "clips": [{"id": "a", "duration": 1, "prompt": "x"}], **changes}
        )
    assert time.thread_time() - began < LIMIT_S
    assert text in caught.value.message
    assert len(caught.value.message.splitlines()) <= MAX_PROBLEMS + 1


def test_problems_that_are_not_worded_are_counted() -> None:
    with pytest.raises(InvalidRequest) as caught:
        ImageCreateArguments.parse({"n": "x", **{f"extra{number}": 1 for number in range(50)}})
    assert caught.value.message.startswith("prompt is required; n: ")
    assert caught.value.message.endswith("; … and 32 more")


def test_a_file_that_may_have_more_names_keeps_them_to_itself() -> None:
    clip = {"id": "01", "duration": 3, "prompt": "x"}
    read = validate(JobsFile, {"clips": [clip], **{f"k{n}": None for n in range(300)}, "modes": {"draft": {}}})
    assert read.clips[0].id == "01"


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("draft", "draft"), (" Draft_I2V", "draft_i2v"), ("DRAFT I2V", "draft_i2v"), ("draft-i2v", "draft_i2v"),
        ("ｄｒａｆｔ", "draft"), ("drafts", None), ("", None), ("a b", None), ("ab", "ab"),
    ],
)  # fmt: skip
def test_a_choice_is_known_by_its_letters(said: str, meant: str | None) -> None:
    assert choose(said, ("draft", "draft_i2v", "a_b", "ab", "a-b")) == meant


ONE_ID, OTHER_ID = "3f2504e0-4f89-41d3-9a0c-0305e82c3301", "3f2504e0-4f89-41d3-9a0c-0305e82c3302"


@pytest.mark.parametrize("said", [f"{ONE_ID}\n{OTHER_ID}", f"jobs {ONE_ID} and {OTHER_ID}", [ONE_ID, OTHER_ID]])
def test_several_jobs_are_told_where_one_is_due(said: object) -> None:
    with pytest.raises(InvalidRequest, match="jobId: names several jobs: give each by itself"):
        JobGetArguments.parse({"jobId": said})
    assert JobGetArguments.parse({"jobId": f"{ONE_ID} {ONE_ID}"}).job_id == ONE_ID


@pytest.mark.parametrize(
    "said",
    [
        "2026-11-30T10:00:00Z", "20261130T100000Z", "20261130T1000Z", "20261130T120000+0200", "2026‑11‑30 10:00Z",
        "2026–11–30T10:00:00Z", "２０２６-１１-３０T１０:００Z", ["2026-11-30T10:00Z"], "2026-11-30T05:00−05:00",
    ],
)  # fmt: skip
def test_an_instant_is_one_in_each_way_to_write_it(said: object) -> None:
    assert JobListArguments.parse({"since": said}).since == datetime(2026, 11, 30, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    "said", ["1796100000", 20261130, "20261330", "10000101", "202611301", "2026-11-30" + " " * 100]
)
def test_what_may_be_another_instant_is_none(said: object) -> None:
    with pytest.raises(InvalidRequest, match="since: must be a date and time"):
        JobListArguments.parse({"since": said})


@pytest.mark.parametrize("said", ["-16:9", "16:-9", "-720", " '-720p'", "−720"])
def test_a_number_with_a_minus_sign_is_no_choice(said: str) -> None:
    assert choose(said, ("16:9", "720p", "gemini-2-5")) is None
    assert choose("- 720p", ("720p",)) == "720p", "an item of a list"
    assert choose("Gemini 2-5", ("gemini-2-5",)) == "gemini-2-5"


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("16x9", "16:9"), ("16 X 9", "16:9"), ("16×9", "16:9"), ("16/9", "16:9"), ("16 : 9", "16:9"), ("1-1", "1:1"),
        ("19.5x9", "19.5:9"), ("16 by 9", "16:9"), ("auto", "auto"), (" wide ", "wide"), ("16", "16"),
        ("1234567", "1234567"), ("1:2:3", "1:2:3"),
    ],
)  # fmt: skip
def test_a_ratio_is_two_numbers_whatever_stands_between(said: str, meant: str) -> None:
    assert as_ratio(said) == meant


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("['a', 'b']", ["a", "b"]),
        ("['it\\'s', \"b\", 'say \"c\"']", ["it's", "b", 'say "c"']),
        ("['True, None',]", ["True, None"]),
        ('["a",]', ["a"]),
        ('\ufeff["a"]', ["a"]),
        ("```['a']```", ["a"]),
        ('```json\n["a"]\n```', ["a"]),
    ],
)
def test_a_list_is_read_as_python_and_chats_show_it(text: str, meant: list[str]) -> None:
    assert ImageCreateArguments.parse({"prompt": "x", "referenceImages": text}).reference_images == meant


@pytest.mark.parametrize("text", ["```" + " " * 3_000_000, "```" * 1_000_000 + "x", "```json" + "\n" * 3_000_000 + "x"])
def test_a_fence_that_does_not_end_is_looked_through_once(text: str) -> None:
    began_s = time.process_time()
    assert ImageCreateArguments.parse({"prompt": "x", "model": "x", "referenceImages": text}).reference_images == [text]
    assert time.process_time() - began_s < LIMIT_S


def test_an_object_is_read_as_python_shows_it() -> None:
    text = "{'enabled': True, 'template': None, 'overlays': [{'text': 'None of it'}]}"
    thumbnail = VideoCreateArguments.parse({"prompt": "x", "thumbnail": text}).thumbnail
    assert thumbnail is not None
    assert (thumbnail.enabled, thumbnail.overlays[0].text) == (True, "None of it")


@pytest.mark.parametrize(
    "text",
    ["['a'", "[a]", "['a' 'b']", "[" * 60_000, "['" + "\\" * 60_001, "['a'" + "," * 70_000]
    + ["[" + quote * 30_000 for quote in ('\\"', "\\'", "'\\")],
)
def test_what_only_begins_like_a_list_is_refused_soon(text: str) -> None:
    began_s = time.process_time()
    with pytest.raises(InvalidRequest, match="referenceImages"):
        ImageCreateArguments.parse({"prompt": "x", "referenceImages": text})
    assert time.process_time() - began_s < LIMIT_S


@pytest.mark.parametrize(
    ("name", "said", "meant"),
    [("duration", [6], 6), ("duration", '"6s"', 6), ("duration", "\u200b6\u00a0", 6), ("remaster", "'True'", True),
     ("model", "\u200b", None)],
)  # fmt: skip
def test_a_value_is_read_from_what_stands_around_it(name: str, said: object, meant: object) -> None:
    assert getattr(VideoCreateArguments.parse({"prompt": "x", name: said}), name) == meant


@pytest.mark.parametrize(
    ("said", "meant"),
    [('{"url": "https://x.org/a.jpg"}', "https://x.org/a.jpg"), (' ["https://x.org/a.jpg"]\n', "https://x.org/a.jpg"),
     ('{"type": "image", "data": "AAAA", "mimeType": "image/png"}', "data:image/png;base64,AAAA"),
     ('["a", "b"]', '["a", "b"]'), ("[x](https://x.org)", "[x](https://x.org)"), ("[" * 60_000, "[" * 60_000),
     ('{"alt": "x"}', '{"alt": "x"}')],
)  # fmt: skip
def test_an_address_may_be_in_an_object_that_is_text(said: str, meant: str) -> None:
    assert VideoCreateArguments.parse({"prompt": "x", "imageUrl": said}).image_url == meant


# A file's properties on Windows, a chat on a phone, a PDF, Korean and Braille each leave one of their own.
UNSEEN = "\u2003\u2028\x85\u00ad\u061c\u180e\u202a\u202c\u2066\u2069\u2062\u2800\u3164\uffa0\ufe0f\ufffc\U000e0020"


@pytest.mark.parametrize("unseen", UNSEEN)
def test_what_cannot_be_seen_around_a_value_is_none_of_it(unseen: str) -> None:
    around = {"n": f"{unseen}2{unseen}", "aspectRatio": f"{unseen}16x9{unseen}", "provider": unseen}
    read = ImageCreateArguments.parse({"prompt": "x", "referenceImages": f'{unseen}["file_a"]{unseen}', **around})
    assert (read.n, (read.aspect_ratio or "").strip(EDGES), read.provider) == (2, "16x9", None)
    assert read.reference_images == ["file_a"]
    named = ImageCreateArguments.parse({"prompt": "x", "idempotencyKey": f"{unseen}k{unseen}", "refCode": f"r{unseen}"})
    assert (named.idempotency_key, named.ref_code) == ("k", "r")
    with pytest.raises(InvalidRequest, match="prompt is required"):
        ImageCreateArguments.parse({"prompt": unseen * 3})


@pytest.mark.parametrize(
    ("said", "meant"),
    [("ring://jobs/AB12", "AB12"), (" RING://jobs/x/\n", "x"), ("ring:/jobs/x?y=1", "x"), ("ring:jobs/x#z", "x"),
     ("3F2504E0-4F89-41D3-9A0C-0305E82C3301", "3f2504e0-4f89-41d3-9a0c-0305e82c3301"), ("x", None),
     ("ring://jobs/", None), ("https://x.org/ring://jobs/x", None), ("ring://jobs/x/asset/0", "x"),
     ("ring://jobs/x/preview", "x"), ("ring://jobs/x/asset/1", None)],
)  # fmt: skip
def test_a_job_is_named_by_its_address_or_its_whole_id(said: str, meant: str | None) -> None:
    assert job_named(said) == meant


@pytest.mark.parametrize(
    "said",
    [
        "job_3f2504e0-4f89-41d3-9a0c-0305e82c3301",
        "ring://jobs/3f2504e0-4f89-41d3-9a0c-0305e82c3301/asset/2?offset=0&length=9",
        "ring://jobs/3f2504e0-4f89-41d3-9a0c-0305e82c3301/preview",
    ],
)
def test_an_id_is_found_in_whatever_names_something_of_its_job(said: str) -> None:
    assert job_id(said) == "3f2504e0-4f89-41d3-9a0c-0305e82c3301"


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "source": {"type": "url", "url": "https://x.org/a.jpg"}},
        {"type": "image_url", "image_url": {"url": "https://x.org/a.jpg"}},
        {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://x.org/a.jpg"}},
        {"type": "resource", "resource": {"uri": "https://x.org/a.jpg"}},
        {"url": "https://x.org/a.jpg", "source": {"url": "https://x.org/another.jpg"}},
    ],
)
def test_an_address_is_read_from_the_block_of_a_model(block: dict[str, Any]) -> None:
    assert ImageCreateArguments.parse({"prompt": "x", "referenceImages": block}).reference_images == [
        "https://x.org/a.jpg"
    ]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}},
        {"inlineData": {"mimeType": "image/png", "data": "QUJD"}},
    ],
)
def test_bytes_in_the_block_of_a_model_are_a_data_address(block: dict[str, Any]) -> None:
    given = ImageCreateArguments.parse({"prompt": "x", "referenceImages": [block]})
    assert given.reference_images == ["data:image/png;base64,QUJD"]


@pytest.mark.parametrize("name", ["b64_json", "bytesBase64Encoded", "imageBytes", "base64"])
def test_bytes_named_as_base64_are_a_data_address(name: str) -> None:
    blocks = [{name: "QUJD", "mimeType": "image/png"}, {name: "data:image/png;base64,QUJD"}]
    given = ImageCreateArguments.parse({"prompt": "x", "referenceImages": blocks})
    assert given.reference_images == ["data:;base64,QUJD", "data:image/png;base64,QUJD"]


@pytest.mark.parametrize(("name", "address"), [("src", "https://x.org/a.jpg"), ("gcsUri", "gs://x/a.jpg")])
def test_an_address_has_other_names_at_other_services(name: str, address: str) -> None:
    # No provider here reads from a bucket: its address is refused as an address, not as no text.
    given = ImageCreateArguments.parse({"prompt": "x", "referenceImages": [{name: address}]})
    assert given.reference_images == [address]


def test_a_key_in_another_normal_form_is_the_same_key() -> None:
    one, two = ({"idempotencyKey": each, "refCode": each, "prompt": "x"} for each in ("caf\u00e9", "cafe\u0301"))
    assert ImageCreateArguments.parse(one) == ImageCreateArguments.parse(two)


def test_a_name_is_the_same_to_those_who_have_no_whole_numbers() -> None:
    whole, other = ({"idempotencyKey": each, "refCode": each, "prompt": "x"} for each in (7, 7.0))
    assert ImageCreateArguments.parse(other) == ImageCreateArguments.parse(whole)
    assert ImageCreateArguments.parse(other).idempotency_key == "7"
    assert ImageCreateArguments.parse({"prompt": "x", "idempotencyKey": 7.5}).idempotency_key == "7.5"
    assert VideoCreateArguments.parse({"prompt": "x", "resolution": 720.0}).resolution == "720"


@pytest.mark.parametrize("packed", ['{"prompt": "x", "n": 2}', [{"prompt": "x", "n": 2}], ['{"prompt": "x", "n": 2}']])
def test_arguments_packed_as_text_are_told_to_stand_by_themselves(packed: object) -> None:
    with pytest.raises(InvalidRequest, match="give the arguments in it by themselves"):
        ImageCreateArguments.parse({"args": packed})
