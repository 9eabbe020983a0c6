"""The pages over HTTP: ``/gallery`` and what is below it. Nothing here spends; all but the login is a GET.

A foreign page can neither show these in a frame, nor embed or read anything of them, nor log anybody in.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from datetime import date, datetime
from http import HTTPStatus
from urllib.parse import quote, urlencode, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from ring_mcp.domain import usd
from ring_mcp.errors import NotFound, RingError, Unauthorized
from ring_mcp.server.auth import WrongToken, WrongTokens
from ring_mcp.server.gallery_doors import SESSION_S, Door, read_form
from ring_mcp.server.gallery_events import Events
from ring_mcp.server.middleware import ACTOR_KEY, address_of, header
from ring_mcp.server.rate_limit import Paced, Slots
from ring_mcp.web.cards import LABELS, Card
from ring_mcp.web.gallery import Filters, Gallery
from ring_mcp.web.pages import Place, read_asset, render

GALLERY_PATH = "/gallery"
REQUESTS_PER_MINUTE = 3000
"""Of one actor: a page has two dozen pictures. They are no calls, and do not count as such."""

MAX_FOLLOWERS = 64
_STATES = (("", "all"), ("open", "under way"), *((state.value, label) for state, label in LABELS.items()))
_FOR_EVER = "public, max-age=31536000, immutable"


def is_gallery(path: str) -> bool:
    return path == GALLERY_PATH or path.startswith(f"{GALLERY_PATH}/")


class GalleryPages:
    """The ASGI endpoint of everything below GALLERY_PATH, and of ``/`` for browsers. ``own_origin``: where browsers
    reach it, if that is known. ``root``: the path of the gallery as they see it."""

    def __init__(
        self,
        gallery: Gallery,
        door: Door,
        events: Events,
        *,
        wrong_tokens: WrongTokens | None = None,
        own_origin: str | None = None,
        sandbox: bool = False,
    ) -> None:
        self._gallery = gallery
        self._door = door
        self._events = events
        self._wrong_tokens = wrong_tokens or WrongTokens()
        self._own_origin = own_origin
        self._sandbox = sandbox
        self.root = gallery.root
        followers, looks = Slots(MAX_FOLLOWERS, "pages"), Slots(REQUESTS_PER_MINUTE, "pages")
        self._private = Paced(
            Router(
                [
                    Route(GALLERY_PATH, self._show_gallery),
                    Route(f"{GALLERY_PATH}/", self._show_gallery),
                    Route(f"{GALLERY_PATH}/spending", self._show_spending),
                    Route(f"{GALLERY_PATH}/events", self._follow),
                    Route(f"{GALLERY_PATH}/jobs/{{job_id}}", self._show_job),
                    Route(f"{GALLERY_PATH}/jobs/{{job_id}}/card", self._show_card),
                    Route(f"{GALLERY_PATH}/jobs/{{job_id}}/preview", self._show_preview),
                ],
                redirect_slashes=False,
                default=self._find_nothing,
            ),
            per_minute=REQUESTS_PER_MINUTE,
            slots_of=lambda path: followers if path == f"{GALLERY_PATH}/events" else looks,
            is_open=lambda _: False,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            app = await self._answer(Request(scope, receive))
            await app(scope, receive, _harden(send))
        except RingError as exc:
            status = 404 if isinstance(exc, NotFound) else 502
            await self._tell(scope, exc.message, exc.next_action, status)(scope, receive, _harden(send))

    async def lead_here(self, request: Request) -> Response:
        """The endpoint of ``/``: who opens the bare address in a browser wants to see something, and programs are told
        where to go."""
        is_browser = request.method != "POST" and "text/html" in header(request.scope, "accept").lower()
        if is_browser or not self._door.has_login:  # where there is no login, there is nothing else either
            return RedirectResponse(self.root, 303)
        raise HTTPException(404, f"Not Found: nothing is served at /; MCP is at /mcp, pages for people at {self.root}")

    async def _answer(self, request: Request) -> ASGIApp:
        scope, path = request.scope, str(request.scope["path"])
        if _is_embedded(scope):
            return self._tell(scope, "Other pages may not embed this.", "", 403)
        if (answer := await self._answer_anybody(request, path)) is not None:
            return answer
        actor = await self._door.find_actor(request.cookies.get(self._door.cookie))
        if actor is None:
            return self._ask_who(request, path)
        if path == f"{GALLERY_PATH}/login" and self._door.has_login:
            return RedirectResponse(self.root, 303)
        scope[ACTOR_KEY] = actor
        return self._private

    async def _answer_anybody(self, request: Request, path: str) -> Response | None:
        """What needs no cookie: styles and scripts, and to get or lose one."""
        if path.startswith(f"{GALLERY_PATH}/assets/") and request.method in ("GET", "HEAD"):
            return _send_asset(path.rsplit("/", 1)[1])
        if path == f"{GALLERY_PATH}/open" and not self._door.has_login and request.method == "GET":
            return await self._open_once(request)
        # Where there is no login there are no forms: nothing but the address lets in, and no POST does anything.
        is_form = request.method == "POST" and path in (f"{GALLERY_PATH}/login", f"{GALLERY_PATH}/logout")
        if not (is_form and self._door.has_login):
            return None
        if not self._comes_from_here(request.scope):
            return self._tell(request.scope, "This form was not one of this server's pages.", "", 403)
        return await self._log_in(request) if path.endswith("/login") else self._log_out(request.scope)

    def _ask_who(self, request: Request, path: str) -> Response:
        if not self._door.has_login:
            return self._tell(
                request.scope, "This page is for whoever opened it from a terminal.", "Run ring-mcp gallery again.", 403
            )
        if path.endswith(("/events", "/preview", "/card")):
            return self._tell(request.scope, "Log in to look.", "", 401)
        if path == f"{GALLERY_PATH}/login":
            return self._show_login(request.query_params.get("next", ""))
        query = request.url.query
        wanted = path.removeprefix(GALLERY_PATH) + (f"?{query}" if query else "")
        return RedirectResponse(
            f"{self.root}/login?{urlencode({'next': wanted})}" if wanted else f"{self.root}/login", 303
        )

    def _show_login(self, wanted: str, problem: str = "", status: int = 200) -> Response:
        return self._page("login", None, status=status, next=wanted[:500], problem=problem)

    async def _log_in(self, request: Request) -> Response:
        form = await read_form(request)
        if form is None:
            return self._tell(request.scope, "That is too much for a token.", "", 413)
        wanted = form.get("next", "")
        try:
            cookie = await self._door.enter(form.get("token", ""))
        except Unauthorized as exc:
            if isinstance(exc, WrongToken) and not await self._wrong_tokens.slow_down(address_of(request.scope)):
                return self._tell(request.scope, "Too many wrong tokens.", "Wait a little.", 429)
            return self._show_login(wanted, "This is none of this server's tokens.", 401)
        # Only what stands below the gallery: a link that names another host leads nowhere.
        is_ours = wanted.startswith(("/", "?")) and not wanted.startswith("//") and "\\" not in wanted
        answer = RedirectResponse(self.root + (quote(wanted, safe="/?&=%+") if is_ours else ""), 303)
        self._set_cookie(answer, cookie, request.scope)
        return answer

    def _log_out(self, scope: Scope) -> Response:
        # Previews may be kept for a day: on a shared machine they leave with who logs out.
        answer = RedirectResponse(f"{self.root}/login", 303, {"clear-site-data": '"cache"'})
        self._set_cookie(answer, "", scope)
        return answer

    async def _open_once(self, request: Request) -> Response:
        try:
            cookie = await self._door.enter(request.query_params.get("once", ""))
        except Unauthorized as exc:
            return self._tell(request.scope, exc.message, "Run ring-mcp gallery again.", 403)
        answer = RedirectResponse(self.root, 303)
        self._set_cookie(answer, cookie, request.scope)
        return answer

    def _set_cookie(self, answer: Response, cookie: str, scope: Scope) -> None:
        # Behind a proxy with TLS only the page's Origin says https; over plain http a Secure cookie may be refused.
        origin = header(scope, "origin") or self._own_origin or ""
        answer.set_cookie(
            self._door.cookie,
            cookie,
            max_age=SESSION_S if cookie else 0,
            path=self.root,
            secure=origin.startswith("https://") or scope["scheme"] == "https",
            httponly=True,
            samesite="lax",  # "strict" would keep it back when a link in a chat leads here
        )

    def _comes_from_here(self, scope: Scope) -> bool:
        """Browsers say which page a form stood on; whoever says nothing of that is none."""
        origin, site = header(scope, "origin").lower(), header(scope, "sec-fetch-site")
        if origin:
            named = urlsplit(origin).netloc == header(scope, "host").strip().lower()
            return named or origin == (self._own_origin or "").lower()
        return site in ("same-origin", "none")

    async def _show_gallery(self, request: Request) -> Response:
        filters = Filters.of(request.query_params)
        page = await self._gallery.list_cards(filters, request.scope[ACTOR_KEY])
        days = [(day, list(cards)) for day, cards in itertools.groupby(page.cards, _day_of)]
        names = {day: f"{day:%A}, {day.day} {day:%B %Y}" for day, _ in days}
        return self._page(
            "gallery", request, page.sources, page=page, filters=filters, days=days, names=names, states=_STATES
        )

    async def _show_job(self, request: Request) -> Response:
        job = await self._gallery.find(request.path_params["job_id"], request.scope[ACTOR_KEY])
        page = await self._gallery.show_job(job)
        return self._page("job", request, page.sources, page=page)

    async def _show_card(self, request: Request) -> Response:
        job = await self._gallery.find(request.path_params["job_id"], request.scope[ACTOR_KEY])
        card, sources = await self._gallery.show_card(job)
        return self._page("one_card", request, sources, c=card)

    async def _show_preview(self, request: Request) -> Response:
        job = await self._gallery.find(request.path_params["job_id"], request.scope[ACTOR_KEY])
        content = await self._gallery.read_preview(job.id)
        if content is None:
            raise NotFound("no preview is kept of it", next_action="")
        return Response(content, media_type="image/jpeg", headers={"cache-control": "private, max-age=86400"})

    async def _show_spending(self, request: Request) -> Response:
        return self._page(
            "spending", request, page=await self._gallery.show_spending(request.scope[ACTOR_KEY]), usd=usd
        )

    async def _follow(self, request: Request) -> Response:
        cookie = request.cookies.get(self._door.cookie)

        async def is_welcome() -> bool:
            return await self._door.find_actor(cookie) is not None

        return self._events.stream(request, is_welcome)

    async def _find_nothing(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._tell(scope, "There is no such page.", "", 404)(scope, receive, send)

    def _tell(self, scope: Scope, problem: str, advice: str, status: int) -> Response:
        title = "Not found" if status == 404 else HTTPStatus(status).phrase
        return self._page("problem", scope.get(ACTOR_KEY), status=status, title=title, problem=problem, advice=advice)

    def _page(
        self,
        name: str,
        of: Request | str | None,
        sources: Iterable[str] = (),
        status: int = 200,
        **values: object,
    ) -> Response:
        actor = of.scope[ACTOR_KEY] if isinstance(of, Request) else of
        leaves = self._door.has_login and isinstance(of, Request) and self._door.cookie in of.cookies
        place = Place(root=self.root, actor=actor, leaves=leaves, sandbox=self._sandbox)
        headers = {"cache-control": "private, no-cache", "content-security-policy": _policy(sources)}
        return HTMLResponse(render(name, place, **values), status, headers)


def _policy(sources: Iterable[str]) -> str:
    """What the page may load: of this server, and pictures and clips of the operator's own storage."""
    media = " ".join(["'self'", *sorted(sources)])
    return (
        f"default-src 'none'; img-src {media}; media-src {media}; style-src 'self'; script-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'"
    )


def _harden(send: Send) -> Send:
    async def send_hardened(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            # "no-referrer", as elsewhere, would make browsers send a null Origin with the forms.
            headers["referrer-policy"] = "same-origin"
            headers["cross-origin-resource-policy"] = "same-origin"
            headers["cross-origin-opener-policy"] = "same-origin"
        await send(message)

    return send_hardened  # type: ignore[return-value]


def _is_embedded(scope: Scope) -> bool:
    """Whether a page of another site asks for a part of it; to be led here by a link is another matter."""
    site, mode = header(scope, "sec-fetch-site"), header(scope, "sec-fetch-mode")
    return site in ("cross-site", "same-site") and mode != "navigate"


def _send_asset(name: str) -> Response:
    found = read_asset(name)
    if found is None:
        return Response("Not Found", 404, media_type="text/plain")
    return Response(found[1], headers={"content-type": found[0], "cache-control": _FOR_EVER})


def _day_of(card: Card) -> date:
    at: datetime = card.created_at
    return at.date()
