"""What makes two runs of a clip the same paid request."""

from __future__ import annotations

from ring_mcp.scripted.clips import script_key

CLIP = {"prompt": "waves", "duration": 6}
SIGNED = "https://s3.example.org/b/draft.mp4?X-Amz-Date={}&X-Amz-Signature=0f63"


def key_of(source: str) -> str:
    return script_key({**CLIP, "sourceVideoUrl": source})


def test_a_new_signature_of_the_same_file_is_the_same_clip() -> None:
    assert key_of(SIGNED.format(1)) == key_of(SIGNED.format(2)) == key_of("https://s3.example.org/b/draft.mp4")


def test_files_that_differ_in_their_query_alone_are_different_clips() -> None:
    assert key_of("https://cdn.example.org/clip?id=1") != key_of("https://cdn.example.org/clip?id=2")
    assert script_key(CLIP) != script_key({**CLIP, "prompt": "other waves"})
