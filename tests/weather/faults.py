"""Every kind of bad weather that a request can meet on its way, and which of them comes next."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.weather.logbook import NO_JOB, Logbook
from tests.weather.relay import PORTAL, Act, Exchange, Kind, Request, Response

AIMS_OF: dict[Kind, tuple[str, ...]] = {
    "paid": ("submitting",),
    "look": ("rendering",),
    "media": ("storing", "rendering"),
    "upload": ("storing", "rendering"),
}
"""Where the row of the job has to stand whose request it is. What has its handle on the disk is stored first, and
written then."""

LONG_S = 3600

_REFUSALS = (400, 401, 403, 404, 405, 407, 408, 409, 410, 411, 413, 414, 415, 421, 422, 429, 431, 451)
_TROUBLES = (500, 501, 502, 503, 504, 507, 511, 520, 522, 524, 529)
_ODD: tuple[bytes, ...] = (b"", b"{", b"{}", b"[]", b"null", b"17", b'"ok"', b"NaN", b'{"ok": true}', b"[" * 2000)
_ODD += (b'{"id": 17}', b'{"request_id": null}', b'{"request_id": {"a": []}, "id": ""}', b"\xff\xfe{\x00}\x00", b"true")


@dataclass(frozen=True, kw_only=True)
class Fault:
    """``act`` answers in the sandbox's place. ``hides``: whoever sent a paid request cannot know whether it was
    accepted."""

    name: str
    meets: Kind
    act: Act
    hides: bool = False
    needs_reuse: bool = False

    @property
    def aims(self) -> tuple[str, ...]:
        """The states of which it is to meet a job in one; the free lists are asked for nobody's."""
        return AIMS_OF.get(self.meets, (NO_JOB,))


def _page(status: int) -> Response:
    text = f"<html><head><title>{status}</title></head><body><h1>{status}</h1><hr>proxy/1.0</body></html>"
    return Response(status=status, body=text.encode(), content_type="text/html")


async def refusing_page(exchange: Exchange) -> None:
    await exchange.send(_page(exchange.random.choice([s for s in _REFUSALS if s != 429])))


async def troubled_page(exchange: Exchange) -> None:
    await exchange.send(_page(exchange.random.choice(_TROUBLES)))


async def wait_long(exchange: Exchange) -> None:
    body = json.dumps({"code": "rate-limited", "error": "Too many requests"}).encode()
    await exchange.send(Response(status=429, body=body, headers={"Retry-After": str(LONG_S)}))


async def wait_a_second(exchange: Exchange) -> None:
    await exchange.send(Response(status=429, body=b"{}", headers={"Retry-After": "1"}))


async def reset(exchange: Exchange) -> None:
    exchange.reset()


async def redirect(exchange: Exchange) -> None:
    status = exchange.random.choice((301, 302, 303, 307, 308))
    target = exchange.random.choice((PORTAL, exchange.request.path))
    await exchange.send(Response(status=status, headers={"Location": target}))


async def portal(exchange: Exchange) -> None:
    await exchange.send(Response(status=200, body=_page(200).body, content_type="text/html; charset=utf-8"))


async def odd_json(exchange: Exchange) -> None:
    await exchange.send(Response(status=200, body=exchange.random.choice(_ODD)))


async def denied(exchange: Exchange) -> None:
    """In the provider's own words, of a job that it has."""
    if exchange.request.path.startswith("/google"):
        body = {"error": {"code": 404, "message": "Interaction not found.", "status": "NOT_FOUND"}}
    else:
        text = "No deferred video could be found with the given request_id"
        body = {"code": "not-found", "error": text}  # type: ignore[dict-item]
    await exchange.send(Response(status=404, body=json.dumps(body).encode()))


async def cut(exchange: Exchange) -> None:
    await exchange.send_part(await exchange.forward())


async def slow(exchange: Exchange) -> None:
    await exchange.send_slowly(await exchange.forward(), exchange.random.uniform(1.0, 3.0))


async def short_file(exchange: Exchange) -> None:
    """A cache that holds half of it and calls that the whole."""
    whole = await exchange.forward()
    half = whole.body[: len(whole.body) // 2]
    await exchange.send(Response(status=200, body=half, content_type=whole.content_type))


async def no_file(exchange: Exchange) -> None:
    await exchange.send(Response(status=200, content_type="video/mp4"))


def after(act: Act) -> Act:
    """The request arrives, and its answer gets lost behind this."""

    async def arrive_first(exchange: Exchange) -> None:
        await exchange.forward()
        await act(exchange)

    return arrive_first


def _faults() -> Sequence[Fault]:
    paid = [
        Fault(name="page 4xx, not sent on", meets="paid", act=refusing_page, hides=True),
        Fault(name="page 5xx, not sent on", meets="paid", act=troubled_page, hides=True),
        Fault(name="reset, not sent on", meets="paid", act=reset, hides=True),
        Fault(name="redirect, not sent on", meets="paid", act=redirect, hides=True),
        Fault(name="429, Retry-After an hour", meets="paid", act=wait_long),
        Fault(name="429, Retry-After a second", meets="paid", act=wait_a_second),
        Fault(name="accepted, page 4xx", meets="paid", act=after(refusing_page), hides=True),
        Fault(name="accepted, page 5xx", meets="paid", act=after(troubled_page), hides=True),
        Fault(name="accepted, reset", meets="paid", act=after(reset), hides=True),
        Fault(name="accepted, redirect", meets="paid", act=after(redirect), hides=True),
        Fault(name="accepted, wrong content", meets="paid", act=after(portal), hides=True),
        Fault(name="accepted, odd JSON", meets="paid", act=after(odd_json), hides=True),
        Fault(name="accepted, answer cut", meets="paid", act=cut, hides=True),
        Fault(name="accepted, answer slow", meets="paid", act=slow),
    ]
    met_by: dict[Kind, dict[str, Act]] = {
        "look": {"denied in its own words": denied, "odd JSON": odd_json},
        "media": {"half a file": short_file, "empty file": no_file},
        "upload": {"stored, reset": after(reset), "stored, odd JSON": after(odd_json)},
        "free": {"odd JSON": odd_json},
    }
    anywhere: dict[str, Act] = {
        "page 4xx": refusing_page,
        "page 5xx": troubled_page,
        "wrong content": portal,
        "redirect": redirect,
        "reset": reset,
        "answer cut": cut,
        "answer slow": slow,
        "429, Retry-After an hour": wait_long,
    }
    free = [
        Fault(name=name, meets=kind, act=act)
        for kind, own in met_by.items()
        for name, act in {**own, **anywhere}.items()
    ]
    closed = [
        Fault(name="keep-alive closed", meets=kind, act=reset, needs_reuse=True) for kind in ("look", "media", "upload")
    ]  # a paid request has a connection of its own
    return [*paid, *free, *closed]


FAULTS = _faults()


def unmet_faults(logbook: Logbook) -> list[str]:
    """Those that have not met a job in the state that they aim at."""
    met = logbook.faults
    return [
        f"{fault.meets}: {fault.name}"
        for fault in FAULTS
        if not any(met[fault.meets, fault.name, aim] for aim in fault.aims)
    ]


SHARE: dict[Kind, float] = {"paid": 0.14, "look": 0.2, "media": 0.35, "upload": 0.45, "free": 0.8}
"""Of the requests of a kind, how many meet something."""

MOST_OF_ONE = 3
"""So many faults one job or file meets at one kind of request, so that it comes to its end."""


class Sky:
    """Which fault a request meets: by chance whether any, by turns which one, so that each has its turn.

    ``witness`` says in which state the job is whose request it is, for the ``logbook``. ``struck`` has, of each prompt
    that a paid request asked for, the faults that hide what became of it; ``seen`` are the prompts of all that arrived.
    """

    def __init__(self, chance: random.Random, logbook: Logbook, witness: Callable[[Request], str]) -> None:
        self.is_clear = False
        self.struck: dict[str, list[str]] = {}
        self.seen: set[str] = set()
        self._random = chance
        self._logbook = logbook
        self._witness = witness
        self._turns: dict[Kind, list[Fault]] = {}
        self._often: Counter[tuple[Kind, str]] = Counter()

    def choose(self, request: Request) -> Act | None:
        kind = request.kind
        if kind == "paid":
            self.seen.add(request.prompt)
        if self.is_clear or self._random.random() >= SHARE.get(kind, 0.0):
            return None
        about = (kind, request.prompt if kind == "paid" else request.path)
        if self._often[about] >= MOST_OF_ONE and kind not in ("upload", "free"):
            return None
        fault = self._next(request)
        if fault is None:
            return None
        self._often[about] += 1
        if fault.hides:
            self.struck.setdefault(request.prompt, []).append(fault.name)
        return self._counted(fault)

    def _counted(self, fault: Fault) -> Act:
        async def act(exchange: Exchange) -> None:
            state = await asyncio.to_thread(self._witness, exchange.request)
            self._logbook.faults[fault.meets, fault.name, state] += 1
            await fault.act(exchange)

        return act

    def _next(self, request: Request) -> Fault | None:
        """The first in turn that can happen to this request."""
        turns = self._turns.setdefault(request.kind, [])
        for fault in sorted(turns, key=lambda fault: not fault.needs_reuse):  # the rarer chance first
            if not (fault.needs_reuse and request.is_first):
                turns.remove(fault)
                return fault
        fresh = [fault for fault in FAULTS if fault.meets == request.kind]
        self._random.shuffle(fresh)
        turns += fresh
        return self._next(request) if any(not f.needs_reuse or not request.is_first for f in fresh) else None
