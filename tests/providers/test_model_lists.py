"""What the providers' lists of models say, in every documented and every broken shape."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ring_mcp.errors import ProviderAuthError, ProviderBadReply, ProviderError, ProviderUnavailable
from ring_mcp.providers.base import ListedModel
from ring_mcp.providers.google.models import GoogleModels, read_page
from ring_mcp.providers.http import ProviderHttp
from ring_mcp.providers.xai.models import XaiModels, read_models
from tests.providers.provider_samples import NOW, InstantClock, is_one_line, plain, reply
from tests.providers.raw_server import RawServer, answering, http

TIERS = [
    {"quality": "low", "resolution": "1k", "price_per_image": 400_000_000},
    {"quality": "medium", "resolution": "2K", "price_per_image": 800_000_000},
]
NO_TIERS: list[Any] = [[], None, {}, "free"]
TIER_PRICES = {("low", "1k"): Decimal("0.04"), ("medium", "2k"): Decimal("0.08")}


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"id": "m", "pricing": TIERS}, ListedModel(kind="image", name="m", prices=TIER_PRICES)),
        ({"id": "m", "aliases": ["a", 5, ""]}, ListedModel(kind="image", name="m", aliases=("a",))),
        ({"id": "m", "image_price": 200_000_000},
         ListedModel(kind="image", name="m", prices={("auto", "1k"): Decimal("0.02")})),
        *(
            ({"id": "m", "image_price": 200_000_000, "pricing": none},
             ListedModel(kind="image", name="m", prices={("auto", "1k"): Decimal("0.02")}))
            for none in NO_TIERS
        ),
        ({"id": "m", "image_price": 1, "pricing": TIERS}, ListedModel(kind="image", name="m", prices=TIER_PRICES)),
        ({"id": "m", "pricing": [{"quality": None, "resolution": "1k", "price_per_image": 0}]},
         ListedModel(kind="image", name="m", prices={("auto", "1k"): Decimal(0)})),
        ({"id": "m", "pricing": [5, {"resolution": 1, "price_per_image": 1}, {"resolution": "1k"}]},
         ListedModel(kind="image", name="m")),
    ],
)  # fmt: skip
def test_a_listed_image_model_has_its_names_and_its_prices_in_dollars(
    entry: dict[str, Any], expected: ListedModel
) -> None:
    assert read_models(reply(200, {"models": [entry, {"id": ""}, {}, 5, None]}), "image") == [expected]


@pytest.mark.parametrize(
    ("said", "chars"),
    [(4000, 4000), (1, 1), (0, None), (-1, None), (True, None), ("5", None), (1.5, None), (None, None)],
)
def test_how_long_a_prompt_may_be_is_a_number_or_not_told(said: Any, chars: int | None) -> None:
    (model,) = read_models(reply(200, {"models": [{"id": "m", "max_prompt_length": said}]}), "video")
    assert model.max_prompt_chars == chars


def test_clips_are_listed_without_prices() -> None:
    entry = {"id": "v", "aliases": ["v-1"], "pricing": TIERS}
    assert read_models(reply(200, {"models": [entry]}), "video") == [
        ListedModel(kind="video", name="v", aliases=("v-1",))
    ]


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"models": {}}', b'{"models": null}'])
def test_an_answer_without_a_list_is_a_bad_reply(body: bytes) -> None:
    with pytest.raises(ProviderBadReply):
        read_models(reply(200, body), "image")


async def test_both_lists_of_xai_are_asked_for() -> None:
    images, videos = {"models": [{"id": "i"}]}, {"models": [{"id": "v"}]}
    async with RawServer(answering(http(200, images), http(200, videos))) as server, plain(server.url) as connections:
        listed = await XaiModels(connections, InstantClock()).list_models()
    assert [(model.kind, model.name) for model in listed] == [("image", "i"), ("video", "v")]
    assert [seen.path for seen in server.requests] == ["/image-generation-models", "/video-generation-models"]


@pytest.mark.parametrize(
    ("status", "body", "is_a"),
    [
        (400, {"code": "invalid-argument", "error": "Incorrect API key provided: xa***gA."}, ProviderAuthError),
        (503, b"<html>", ProviderUnavailable),
        (200, b"<html>", ProviderBadReply),
    ],
)
async def test_a_refused_list_is_an_error_of_the_tree(status: int, body: Any, is_a: type[ProviderError]) -> None:
    async with RawServer(answering(http(status, body))) as server, plain(server.url) as connections:
        with pytest.raises(is_a):
            await XaiModels(connections, InstantClock()).list_models()


def google(connections: ProviderHttp) -> GoogleModels:
    return GoogleModels(connections, InstantClock())


async def test_googles_pages_are_turned_to_the_last_and_only_media_count() -> None:
    first = {"models": [{"name": "models/gemini-3-pro-image"}, {"name": "models/gemini-3-pro"}], "nextPageToken": "a b"}
    last = {"models": [{"name": "models/gemini-omni-1.2-flash"}, {"name": "models/gemini-nano-banana-2.1"}, 5, {}]}
    async with RawServer(answering(http(200, first), http(200, last))) as server, plain(server.url) as connections:
        listed = await google(connections).list_models()
    assert [(model.kind, model.name) for model in listed] == [
        ("image", "gemini-3-pro-image"),
        ("video", "gemini-omni-1.2-flash"),
        ("image", "gemini-nano-banana-2.1"),
    ]
    assert [seen.path for seen in server.requests] == ["/models?pageSize=1000", "/models?pageSize=1000&pageToken=a+b"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("gemini-9-image", "image"), ("nano-banana-3", "image"), ("imagen-4", "image"), ("veo-3", "video"),
     ("gemini-omni-2", "video"), ("gemini-9-pro", None)],
)  # fmt: skip
def test_what_a_model_of_google_makes_is_known_by_its_family(name: str, kind: str | None) -> None:
    listed, token = read_page(reply(200, {"models": [{"name": f"models/{name}"}]}), NOW)
    assert [(model.name, model.kind) for model in listed] == ([(name, kind)] if kind else [])
    assert token is None


async def test_a_key_of_googles_works_if_it_may_list_a_model() -> None:
    answers = [http(200, {"models": []}), http(400, KEY_REFUSED)]
    async with RawServer(answering(*answers)) as server, plain(server.url) as connections:
        await google(connections).check_key()
        with pytest.raises(ProviderAuthError):
            await google(connections).check_key()
    assert {seen.path for seen in server.requests} == {"/models?pageSize=1"}


async def test_pages_without_end_are_given_up() -> None:
    page = {"models": [], "nextPageToken": "more"}
    async with RawServer(answering(http(200, page))) as server, plain(server.url) as connections:
        with pytest.raises(ProviderBadReply, match="more than 20 pages"):
            await google(connections).list_models()
    assert len(server.requests) == 20


KEY_REFUSED = {"error": {"code": 400, "message": "API key not valid. Please pass a valid API key."}}


@pytest.mark.parametrize(
    ("answer", "is_a"),
    [
        (reply(400, KEY_REFUSED), ProviderAuthError),
        (reply(400, [KEY_REFUSED]), ProviderAuthError),
        (reply(403, {"error": {"message": "denied", "status": "PERMISSION_DENIED"}}), ProviderAuthError),
        (reply(400, {"error": {"message": "User location is not supported"}}), ProviderUnavailable),
        (reply(503, b"<html>"), ProviderUnavailable),
        (reply(200, b"[]"), ProviderBadReply),
        (reply(200, b'{"models": 5}'), ProviderBadReply),
    ],
)
def test_googles_refusals_are_errors_of_the_tree(answer: Any, is_a: type[ProviderError]) -> None:
    with pytest.raises(is_a):
        read_page(answer, NOW)


KEYS = st.sampled_from(["models", "id", "name", "aliases", "pricing", "quality", "resolution", "price_per_image",
                        "image_price", "nextPageToken", "error", "message"])  # fmt: skip
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.just("models/veo-\ud800"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=15,
)


@given(status=st.sampled_from([200, 400, 403, 500]), body=st.dictionaries(KEYS, ANY_JSON, max_size=6) | ANY_JSON)
def test_no_answer_however_shaped_raises_anything_but_a_provider_error(status: int, body: Any) -> None:
    answer = reply(status, json.dumps(body))
    for read in (lambda: read_models(answer, "image"), lambda: read_page(answer, NOW)):
        outcome: Any = None
        try:
            outcome = read()
        except ProviderError as exc:
            outcome = exc
        assert outcome is not None
        assert not isinstance(outcome, ProviderError) or is_one_line(outcome)
