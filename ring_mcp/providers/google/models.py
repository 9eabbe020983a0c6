"""Which media models Google serves: ``GET /models``, page by page. Free.

Facts: a page is ``{"models": [{"name": "models/…", "supportedGenerationMethods": […]}], "nextPageToken"}`` with 1000
entries at most; a wrong key is HTTP 400. The list holds every model and neither what each makes nor a price, so names
tell: it is their own documented family names that are looked for. (Gemini API reference, autumn 2026.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from ring_mcp.domain import MediaKind
from ring_mcp.errors import ProviderAuthError, ProviderBadReply, ProviderError, ProviderUnavailable
from ring_mcp.providers.base import ListedModel
from ring_mcp.providers.http import ProviderHttp, Reply, one_line

PROVIDER = "google"
_FAMILIES: Mapping[str, MediaKind] = {
    "-image": "image",
    "nano-banana": "image",
    "imagen-": "image",
    "veo-": "video",
    "-omni-": "video",
}
_PAGE_SIZE = 1000
_MOST_PAGES = 20


def read_page(reply: Reply) -> tuple[list[ListedModel], str | None]:
    """The models of media on a page, and the token of the next one. Raises ProviderError."""
    body = reply.json
    if reply.status != 200:
        raise _error_of(reply)
    models = body.get("models", []) if isinstance(body, Mapping) else None
    if not isinstance(models, list):
        raise ProviderBadReply("Google answered the model list without models", provider=PROVIDER)
    names = (str(entry.get("name", "")).removeprefix("models/") for entry in models if isinstance(entry, Mapping))
    listed = [ListedModel(kind=kind, name=name) for name in names if (kind := _kind(name)) is not None]
    token = body.get("nextPageToken") if isinstance(body, Mapping) else None
    return listed, token if isinstance(token, str) and token else None


def _kind(name: str) -> MediaKind | None:
    if not name.isprintable():
        return None
    return next((kind for family, kind in _FAMILIES.items() if family in name), None)


def _error_of(reply: Reply) -> ProviderError:
    body: Any = reply.json
    body = body[0] if isinstance(body, list) and body else body
    error = body.get("error") if isinstance(body, Mapping) else None
    said = error.get("message") if isinstance(error, Mapping) else None
    text = f"Google: {one_line(str(said))}" if said else f"Google answered the model list with {reply.status}"
    refused = reply.status in (401, 403) or (reply.status == 400 and "api key" in text.lower())
    kind = ProviderAuthError if refused else ProviderUnavailable
    return kind(text, provider=PROVIDER, http_status=reply.status, billed="no")


class GoogleModels:
    """See ``providers.base.ListsModels``."""

    def __init__(self, http: ProviderHttp) -> None:
        self._http = http

    async def list_models(self) -> Sequence[ListedModel]:
        models: list[ListedModel] = []
        token: str | None = None
        for _ in range(_MOST_PAGES):
            query = {"pageSize": _PAGE_SIZE} | ({"pageToken": token} if token else {})
            page, token = read_page(await self._http.get(f"models?{urlencode(query)}"))
            models += page
            if token is None:
                return models
        raise ProviderBadReply(f"Google's model list has more than {_MOST_PAGES} pages", provider=PROVIDER)
