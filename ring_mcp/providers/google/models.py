"""Which media models Google serves: ``GET /models``, page by page. Free.

Facts: a page is ``{"models": [{"name": "models/…", "supportedGenerationMethods": […]}], "nextPageToken"}`` with 1000
entries at most; a wrong key is HTTP 400. The list holds every model and neither what each makes nor a price, so names
tell: it is their own documented family names that are looked for. (Gemini API reference, autumn 2026.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from urllib.parse import urlencode

from ring_mcp.clock import Clock
from ring_mcp.domain import MediaKind
from ring_mcp.errors import ProviderBadReply
from ring_mcp.providers.base import ListedModel
from ring_mcp.providers.google.replies import PROVIDER, read_error
from ring_mcp.providers.http import ProviderHttp
from ring_mcp.providers.replies import Reply, mapping, mappings, text_of

_FAMILIES: Mapping[str, MediaKind] = {
    "-image": "image",
    "nano-banana": "image",
    "imagen-": "image",
    "veo-": "video",
    "-omni-": "video",
}
_PAGE_SIZE = 1000
# A page token that leads in a circle would never end.
_MOST_PAGES = 20


def read_page(reply: Reply, now: datetime) -> tuple[list[ListedModel], str | None]:
    """The models of media on a page, and the token of the next one. Raises ProviderError."""
    body = reply.json
    if reply.status != 200:
        raise read_error(reply, now, what="model list")
    models = body.get("models", []) if isinstance(body, Mapping) else None
    if not isinstance(models, list):
        raise ProviderBadReply("Google answered the model list without models", provider=PROVIDER)
    names = ((text_of(entry.get("name")) or "").removeprefix("models/") for entry in mappings(models))
    listed = [ListedModel(kind=kind, name=name) for name in names if (kind := _kind(name)) is not None]
    return listed, text_of(mapping(body).get("nextPageToken"))


def _kind(name: str) -> MediaKind | None:
    return next((kind for family, kind in _FAMILIES.items() if family in name), None)


class GoogleModels:
    """See ``providers.base.ListsModels`` and ``providers.base.ChecksKey``."""

    def __init__(self, http: ProviderHttp, clock: Clock) -> None:
        self._http = http
        self._clock = clock

    async def check_key(self) -> None:
        read_page(await self._http.get("models?pageSize=1"), self._clock.now())

    async def list_models(self) -> Sequence[ListedModel]:
        models: list[ListedModel] = []
        token: str | None = None
        for _ in range(_MOST_PAGES):
            query = {"pageSize": _PAGE_SIZE} | ({"pageToken": token} if token else {})
            page, token = read_page(await self._http.get(f"models?{urlencode(query)}"), self._clock.now())
            models += page
            if token is None:
                return models
        raise ProviderBadReply(f"Google's model list has more than {_MOST_PAGES} pages", provider=PROVIDER)
