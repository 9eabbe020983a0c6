"""What a clip is made from beside its prompt: which combinations are paid for in vain, and what everything costs."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from ring_mcp.domain import EarlierRequest, GenerationKind, PriceLine, VideoPlan, VideoRequest
from ring_mcp.errors import InvalidRequest
from ring_mcp.plans.clip_inputs import (
    check_combination,
    check_inputs,
    clip_prices,
    extension_s,
    find_earlier,
    sum_given_usd,
)
from ring_mcp.presets import VideoModel, load_presets
from ring_mcp.presets_prices import VideoPrices

PRESETS = load_presets()
CLIPS = PRESETS.video_models["grok-imagine-video"]
IMAGE, CLIP = "https://example.com/a.jpg", "https://example.com/a.mp4"
assert CLIPS.prices is not None
PRICES: VideoPrices = CLIPS.prices


def request(**fields: Any) -> VideoRequest:
    return VideoRequest(**{"prompt": "x", **fields})


def able(**changes: Any) -> VideoModel:
    """A model that takes everything, but for these changes."""
    facts = {
        "last_frame": True,
        "max_reference_images": 2,
        "max_reference_duration_s": 8,
        "reference_resolutions": ("720p",),
        "min_extend_s": 2,
        "max_extend_s": 10,
    }
    return CLIPS.model_copy(update=facts | changes)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"extend_s": 5}, "extend needs sourceVideoUrl, the clip that is made longer"),
        ({"extend_s": 5, "source_video_url": CLIP, "remaster": True}, "extend and remaster cannot be combined"),
        ({"reference_images": (IMAGE,), "image_url": IMAGE}, "referenceImages cannot be combined with imageUrl"),
        ({"reference_images": (IMAGE,), "first_frame_prompt": "y"}, "referenceImages cannot be combined"),
        ({"reference_images": (IMAGE,), "last_frame_url": IMAGE}, "referenceImages cannot be combined"),
    ],
)
def test_what_would_be_paid_for_in_vain_is_refused(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidRequest, match=text):
        check_combination(request(**fields))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"extend_s": 5, "source_video_url": CLIP},
        {"remaster": True, "source_video_url": CLIP},
        {"reference_images": (IMAGE,)},
        {"image_url": IMAGE, "last_frame_url": IMAGE},
    ],
)
def test_what_goes_together_is_let_pass(fields: dict[str, Any]) -> None:
    check_combination(request(**fields))


def checked(fields: dict[str, Any], kind: GenerationKind = "generate", duration_s: int = 6, **model: Any) -> None:
    check_inputs(request(**fields), kind, "able", able(**model), PRESETS, "720p", duration_s)


FRAMES = {"image_url": IMAGE, "last_frame_url": IMAGE}
REFERENCES = {"reference_images": (IMAGE, IMAGE)}


@pytest.mark.parametrize("kind", ["edit", "extend"])
@pytest.mark.parametrize(("fields", "name"), [(FRAMES, "lastFrameUrl"), (REFERENCES, "referenceImages")])
def test_a_clip_from_a_clip_takes_no_other_pictures(kind: GenerationKind, fields: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^{name} cannot be used when a clip is made from sourceVideoUrl"):
        checked(fields, kind)


def test_a_last_frame_is_refused_with_the_models_that_take_it() -> None:
    with pytest.raises(InvalidRequest, match=r"^model able takes no last frame; leave lastFrameUrl out, or use \w"):
        checked(FRAMES, last_frame=False)
    checked({"image_url": IMAGE}, last_frame=False)


def test_a_last_frame_needs_a_first_one() -> None:
    with pytest.raises(InvalidRequest, match=r"^lastFrameUrl requires imageUrl"):
        checked({"last_frame_url": IMAGE})
    checked(FRAMES)
    checked({"last_frame_url": IMAGE, "first_frame_prompt": "y"})


def test_references_are_counted_timed_and_have_their_resolutions() -> None:
    checked(REFERENCES, duration_s=8)
    with pytest.raises(
        InvalidRequest, match=r"^model able takes at most 1 reference images, got 2; the limits are [0-9]"
    ):
        checked(REFERENCES, max_reference_images=1)
    with pytest.raises(InvalidRequest, match=r"^model able takes no reference images, got 2; the limits are"):
        checked(REFERENCES, max_reference_images=0)
    with pytest.raises(
        InvalidRequest, match=r"^duration may be 8 seconds at most with referenceImages for able, got 9"
    ):
        checked(REFERENCES, duration_s=9)
    with pytest.raises(
        InvalidRequest, match=r"^resolution must be one of 480p with referenceImages for able, got '720p"
    ):
        checked(REFERENCES, reference_resolutions=("480p",))


def test_limits_of_references_do_not_bind_a_clip_without_any() -> None:
    checked({}, duration_s=15, max_reference_images=0, reference_resolutions=())


@pytest.mark.parametrize(("seconds", "is_taken"), [(1, False), (2, True), (10, True), (11, False)])
def test_an_extension_adds_what_the_model_can_add(seconds: int, is_taken: bool) -> None:
    if is_taken:
        assert extension_s(seconds, "able", able()) == seconds
        return
    with pytest.raises(InvalidRequest, match=f"^extend must be .* from 2 to 10 for able, got {seconds}$"):
        extension_s(seconds, "able", able())


UNSURE = r" \(this bound is unsure: see unsure in presets\.json\)$"


@pytest.mark.parametrize(
    ("fact", "beyond"),
    [
        ("maxReferenceImages", {"max_reference_images": 1}),
        ("maxReferenceDurationS", {"max_reference_duration_s": 5}),
        ("referenceResolutions", {"reference_resolutions": ("480p",)}),
    ],
)
def test_a_bound_of_references_says_what_is_unsure(fact: str, beyond: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match=UNSURE):
        checked(REFERENCES, duration_s=6, unsure=(fact,), **beyond)
    with pytest.raises(InvalidRequest) as caught:
        checked(REFERENCES, duration_s=6, **beyond)
    assert "unsure" not in caught.value.message


@pytest.mark.parametrize("fact", ["minExtendS", "maxExtendS"])
def test_a_refused_extension_says_what_is_unsure(fact: str) -> None:
    with pytest.raises(InvalidRequest, match=UNSURE):
        extension_s(11, "able", able(unsure=(fact,)))
    with pytest.raises(InvalidRequest, match=r"got 11$"):
        extension_s(11, "able", able(unsure=("maxDurationS",)))


def prices(
    fields: dict[str, Any], kind: GenerationKind = "generate", model: VideoModel = CLIPS
) -> dict[str, tuple[Decimal, Decimal]]:
    """What is priced: its count and its price."""
    resolution = "480p" if kind == "generate" else None
    lines = clip_prices(request(**fields), kind, "m", model, resolution, 6)
    assert {line.as_of for line in lines} <= {PRICES.as_of.isoformat()}
    return {line.what: (line.count, line.unit_usd) for line in lines}


def test_every_second_made_has_its_price() -> None:
    assert prices({}) == {"video, m 480p, second": (Decimal(6), PRICES.second_usd["480p"])}


def test_every_picture_given_has_its_price() -> None:
    picture_usd = PRICES.input_image_usd
    assert picture_usd > 0
    assert prices(FRAMES)["first frame given to the model"] == (Decimal(1), picture_usd)
    assert prices(FRAMES)["last frame given to the model"] == (Decimal(1), picture_usd)
    assert prices({"first_frame_prompt": "y"})["first frame given to the model"] == (Decimal(1), picture_usd)
    assert prices(REFERENCES)["reference image given to the model"] == (Decimal(2), picture_usd)


def test_what_is_free_is_not_listed() -> None:
    free = CLIPS.model_copy(update={"prices": PRICES.model_copy(update={"input_image_usd": Decimal(0)})})
    assert list(prices(FRAMES, model=free)) == ["video, m 480p, second"]


def test_an_edit_pays_for_its_source_and_for_as_much_again() -> None:
    source, made = "source video, second", "video, m 720p, second"
    measured = prices({"source_s": Decimal("3.4")}, "edit")
    assert measured[made] == (Decimal("3.4"), PRICES.second_usd["720p"])
    assert measured[source] == (Decimal("3.4"), PRICES.input_video_second_usd)
    longest = prices({}, "edit")
    assert longest[made][0] == longest[source][0] == CLIPS.max_edit_input_s
    unlimited = prices({}, "edit", CLIPS.model_copy(update={"max_edit_input_s": None}))
    assert unlimited[made][0] == CLIPS.max_duration_s


def test_an_extension_pays_for_what_it_adds_and_for_its_source() -> None:
    source, made = "source video, second", "video, m 720p, second"
    measured = prices({"source_s": Decimal("3.4"), "extend_s": 6}, "extend")
    assert (measured[made][0], measured[source][0]) == (Decimal(6), Decimal("3.4"))
    longest = prices({"extend_s": 6}, "extend")
    assert (longest[made][0], longest[source][0]) == (Decimal(6), CLIPS.max_extend_input_s)
    unlimited = prices({}, "extend", CLIPS.model_copy(update={"max_extend_input_s": None}))
    assert source not in unlimited


def test_a_given_clip_may_be_counted_in_whole_seconds() -> None:
    source, made = "source video, second", "video, m 720p, second"
    whole = CLIPS.model_copy(update={"prices": PRICES.model_copy(update={"whole_seconds": True})})
    edited = prices({"source_s": Decimal("3.1")}, "edit", whole)
    assert (edited[made][0], edited[source][0]) == (Decimal(4), Decimal(4))
    longer = prices({"source_s": Decimal("3.1"), "extend_s": 6}, "extend", whole)
    assert (longer[made][0], longer[source][0]) == (Decimal(6), Decimal(4))
    assert prices({"source_s": Decimal(3)}, "edit", whole)[made][0] == 3


def test_pictures_are_not_priced_where_a_clip_is_made_from_a_clip() -> None:
    assert "first frame given to the model" not in prices(FRAMES, "edit")


def test_a_model_without_a_price_is_not_called() -> None:
    with pytest.raises(InvalidRequest, match=r"^model m has no price in presets\.json, so it is not called$"):
        prices({}, model=CLIPS.model_copy(update={"prices": None}))


def test_a_prompt_that_is_billed_is_the_last_line() -> None:
    tokens = PRICES.model_copy(update={"million_tokens_usd": {"input": Decimal(3)}})
    lines = list(prices({"prompt": "abcd"}, model=CLIPS.model_copy(update={"prices": tokens})).items())
    assert lines[-1] == ("prompt, token at most", (Decimal(4), Decimal("0.000003")))


OMNI = PRESETS.video_models["gemini-omni-1.2-flash"]
MADE_ON = date(2026, 10, 1)
EARLIER = EarlierRequest(
    provider="google", request_id="v1_before", made_on=MADE_ON, given_usd=Decimal("0.0123"), sha256="0" * 64
)


@pytest.mark.parametrize(
    ("changes", "kind", "days", "found"),
    [
        ({}, "edit", 0, True),
        ({}, "extend", OMNI.follow_up_days - 1, True),
        ({}, "edit", OMNI.follow_up_days, False),
        ({}, "generate", 0, False),
        ({"provider": "xai"}, "edit", 0, False),
    ],
)
def test_a_request_is_followed_while_its_own_provider_keeps_it(
    changes: dict[str, Any], kind: GenerationKind, days: int, found: bool
) -> None:
    asked = request(source_video_url=CLIP, source_made=replace(EARLIER, **changes))
    assert (find_earlier(asked, kind, OMNI, MADE_ON + timedelta(days=days)) is not None) is found
    assert find_earlier(request(source_video_url=CLIP), kind, OMNI, MADE_ON) is None
    assert find_earlier(asked, kind, CLIPS, MADE_ON) is None


def test_what_was_given_before_is_a_line_of_the_quote() -> None:
    asked = request(provider="google", source_video_url=CLIP, source_s=Decimal("3.2"))
    alone = clip_prices(asked, "edit", "gemini-omni-1.2-flash", OMNI, "720p", 3)
    followed = clip_prices(asked, "edit", "gemini-omni-1.2-flash", OMNI, "720p", 3, EARLIER)
    more = [line for line in followed if line not in alone]
    assert [(line.what, line.total_usd) for line in more] == [
        ("what the requests before it were given, at most", Decimal("0.0123"))
    ]
    # By hand: four begun seconds of the source, and a token for the one byte of the prompt.
    plan = sample_clip_plan(followed)
    assert sum_given_usd(plan) == 4 * Decimal("0.0088") + Decimal("0.0123") + Decimal("0.0000015")


def sample_clip_plan(prices: tuple[PriceLine, ...]) -> VideoPlan:
    return VideoPlan(
        provider="google", requested_model="m", model="m", prompt="x", quality_mode="production", duration_s=3,
        storage_prefix="v", estimated_usd=Decimal(0), prices=prices,
    )  # fmt: skip
