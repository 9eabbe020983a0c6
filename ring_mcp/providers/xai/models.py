"""Lists the models that xAI serves: ``GET /image-generation-models`` and ``/video-generation-models``. Free.

Facts: each answers ``{"models": [{id, aliases, …}]}``; only the one of images tells prices, in ticks, as ``pricing``
(by quality and resolution) or, older, as the one ``image_price``. Both may have
``max_prompt_length``. (xAI OpenAPI, autumn 2026.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from ring_mcp.clock import Clock
from ring_mcp.domain import MediaKind
from ring_mcp.errors import ProviderBadReply
from ring_mcp.providers.base import ListedModel
from ring_mcp.providers.http import ProviderHttp
from ring_mcp.providers.replies import Reply, text_of
from ring_mcp.providers.xai.replies import PROVIDER, read_error, usd_of

_WHAT = "model list"
_PATHS: Mapping[MediaKind, str] = {"image": "image-generation-models", "video": "video-generation-models"}


def read_models(reply: Reply, kind: MediaKind) -> list[ListedModel]:
    """The models of a 2xx answer; entries without a name are left out. Raises ProviderBadReply if it is no list."""
    body = reply.json
    models = body.get("models") if isinstance(body, Mapping) else None
    if not isinstance(models, list):
        raise ProviderBadReply("xAI answered the model list without models", provider=PROVIDER)
    return [model for entry in models if (model := _model(entry, kind)) is not None]


def _model(entry: Any, kind: MediaKind) -> ListedModel | None:
    name = text_of(entry.get("id")) if isinstance(entry, Mapping) else None
    if name is None:
        return None
    aliases = entry.get("aliases")
    found = (text_of(alias) for alias in aliases) if isinstance(aliases, list) else ()
    return ListedModel(
        kind=kind,
        name=name,
        aliases=tuple(alias for alias in found if alias is not None),
        prices=dict(_prices(entry)) if kind == "image" else {},
        max_prompt_chars=_length(entry.get("max_prompt_length")),
    )


def _length(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _prices(entry: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], Decimal]]:
    tiers = entry.get("pricing")
    if not isinstance(tiers, list) or not tiers:
        # The older form has one price and no size: it is that of the default.
        tiers = [{"resolution": "1k", "price_per_image": entry.get("image_price")}]
    for tier in tiers:
        price = usd_of(tier.get("price_per_image")) if isinstance(tier, Mapping) else None
        resolution = text_of(tier.get("resolution")) if price is not None else None
        if price is not None and resolution is not None:
            yield (text_of(tier.get("quality")) or "auto", resolution.lower()), price


class XaiModels:
    """See ``providers.base.ListsModels``."""

    def __init__(self, http: ProviderHttp, clock: Clock) -> None:
        self._http = http
        self._clock = clock

    async def list_models(self) -> Sequence[ListedModel]:
        models: list[ListedModel] = []
        for kind, path in _PATHS.items():
            reply = await self._http.get(path)
            if reply.status != 200:
                raise read_error(reply, self._clock.now(), what=_WHAT)
            models += read_models(reply, kind)
        return models
