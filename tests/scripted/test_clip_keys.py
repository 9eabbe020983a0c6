"""What makes two runs of a clip the same paid request: what its provider is asked, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from ring_mcp.scripted.clips import script_key, words_key

CLIP: dict[str, Any] = {"prompt": "waves", "duration": 6, "firstFramePrompt": "the sea", "qualityMode": "draft"}
SIGNED = "https://s3.example.org/b/draft.mp4?X-Amz-Date={}&X-Amz-Signature=0f63"


def key_of(mode: str = "draft_i2v", **changes: Any) -> str:
    provider = changes.get("provider", "xai")
    return script_key({**CLIP, **changes}, mode, provider)


def test_a_new_signature_of_the_same_file_is_the_same_clip() -> None:
    keys = {key_of(sourceVideoUrl=url) for url in (SIGNED.format(1), SIGNED.format(2), SIGNED.partition("?")[0])}
    assert len(keys) == 1


def test_files_that_differ_in_their_query_alone_are_different_clips() -> None:
    urls = (f"https://cdn.example.org/clip?id={number}" for number in (1, 2))
    assert len({key_of(sourceVideoUrl=url) for url in urls}) == 2


@pytest.mark.parametrize(
    "edit",
    [
        {"purpose": "press"},
        {"refCode": "r"},
        {"clipId": "another"},
        {"pipelineRequestId": "another"},
        {"thumbnail": {"enabled": True}},
        {"remasterFromRequestId": "r-1"},
        {"qualityMode": "draft_i2v"},
        {"provider": "xai"},
    ],
    ids=str,
)
def test_what_no_provider_sees_is_no_part_of_it(edit: dict[str, Any]) -> None:
    assert key_of(**edit) == key_of()


@pytest.mark.parametrize(
    "edit",
    [
        {"prompt": "waves "},
        {"duration": 7},
        {"aspectRatio": "1:1"},
        {"resolution": "720p"},
        {"provider": "google"},
        {"model": "m"},
        {"imageUrl": "https://cdn.example.org/a.jpg"},
        {"firstFramePrompt": "the shore"},
        {"imageProvider": "google"},
        {"imageModel": "m"},
        {"imageResolution": "2k"},
        {"persistToFilebase": False},
        {"mode": "production_i2v"},
    ],
    ids=str,
)
def test_whatever_changes_what_is_made_makes_another_clip(edit: dict[str, Any]) -> None:
    assert key_of(**edit) != key_of()


def test_a_source_of_our_own_is_known_by_its_job() -> None:
    def edited(url: str, job_id: str) -> str:
        return script_key({**CLIP, "sourceVideoUrl": url}, "production_edit", "xai", source_job_id=job_id)

    assert edited("http://127.0.0.1:1/a.mp4", "j-1") == edited("http://127.0.0.1:2/a.mp4", "j-1")
    assert edited("http://127.0.0.1:1/a.mp4", "j-1") != edited("http://127.0.0.1:1/a.mp4", "j-2")


def test_an_edit_lasts_as_long_as_its_source_whatever_the_script_says() -> None:
    source = {"sourceVideoUrl": "https://cdn.example.org/a.mp4"}
    assert key_of("production_edit", **source, duration=5) == key_of("production_edit", **source, duration=6)


def test_the_same_words_twice_in_a_script_are_two_takes() -> None:
    assert script_key(CLIP, "draft", "xai", take=2) != script_key(CLIP, "draft", "xai")


def test_words_are_prompts_and_not_how_they_are_made() -> None:
    assert words_key(CLIP) == words_key({**CLIP, "duration": 3, "resolution": "720p"})
    assert words_key(CLIP) != words_key({**CLIP, "firstFramePrompt": "the shore"})
