"""Who may look at the pages, known by a cookie that opens nothing else.

Over HTTP it is sealed, and what is sealed in it is the service token: with each request that token is asked for its
actor again, so that one which is taken out is out here as well, and any process that has the secret can read it.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qs

from starlette.requests import Request

from ring_mcp.errors import Unauthorized
from ring_mcp.server.auth import Callers

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

SESSION_S = 12 * 3600
"""How long a login lasts."""

_MAX_COOKIE_CHARS = 4096
_MAX_FORM_BYTES, _MAX_FIELDS = 8192, 20


class Door(Protocol):
    """``cookie``: its name; no two servers of one machine have the same, for browsers know no ports.

    ``has_login``: whoever has no cookie is asked for a token.
    """

    cookie: str
    has_login: bool

    async def find_actor(self, cookie: str | None) -> str | None:
        """Whose jobs the bearer of the cookie may look at; None: nobody's. Raises LedgerError."""
        ...

    async def enter(self, given: str) -> str:
        """The cookie for whoever gives this. Raises Unauthorized, LedgerError."""
        ...


class TokenDoor:
    """Takes what ``/mcp`` takes; without tokens, on loopback, everybody is the default actor, as there.

    ``secret``: what all processes of the server share and nobody else knows. It is stretched before it is used.
    """

    has_login = True

    def __init__(self, callers: Callers, secret: bytes) -> None:
        self._callers = callers
        self._secret = secret
        self.cookie = f"ring_gallery_{hashlib.sha256(b'name of the cookie' + secret).hexdigest()[:8]}"

    async def find_actor(self, cookie: str | None) -> str | None:
        # An unreadable cookie is as none: on an open server everybody is the default actor, whatever they carry.
        token = "" if cookie is None else self._open(cookie)
        try:
            return (await self._callers.identify(f"Bearer {token}" if token else "", must=False)).actor_id
        except Unauthorized:
            return None

    async def enter(self, given: str) -> str:
        token = given.strip().encode("utf-8", "replace").decode("latin-1")  # as a header's bytes become text
        await self._callers.identify(f"Bearer {token}", must=True)
        return self._seal.encrypt(token.encode("latin-1")).decode().rstrip("=")  # which a cookie would quote

    def _open(self, cookie: str) -> str:
        """The token that is sealed in a cookie; empty for one that is not ours, or too old."""
        from cryptography.fernet import InvalidToken

        # Before it is decoded: whoever knocks decides on its length.
        if len(cookie) > _MAX_COOKIE_CHARS:
            return ""
        try:
            sealed = f"{cookie}{'=' * (-len(cookie) % 4)}".encode("latin-1", "replace")
            return self._seal.decrypt(sealed, ttl=SESSION_S).decode("latin-1")
        except InvalidToken:
            return ""

    @functools.cached_property
    def _seal(self) -> Fernet:
        from cryptography.fernet import Fernet

        # Slow on purpose: the secret may be a database's address with a weak password, and whoever has a cookie could
        # try passwords against it. The salt is fixed, so that all processes come to one key.
        key = hashlib.scrypt(self._secret, salt=b"ring-mcp gallery", n=2**14, r=8, p=1, dklen=32)
        return Fernet(base64.urlsafe_b64encode(key))


class OnceDoor:
    """For one person on this machine: the address that was shown to them lets in once."""

    has_login = False

    def __init__(self, actor: str) -> None:
        self._actor = actor
        self._session = secrets.token_urlsafe(32)
        self.once: str | None = secrets.token_urlsafe(32)
        self.cookie = f"ring_gallery_{secrets.token_hex(4)}"

    async def find_actor(self, cookie: str | None) -> str | None:
        # As bytes: compare_digest refuses text beyond ASCII.
        is_ours = cookie is not None and hmac.compare_digest(cookie.encode("utf-8", "replace"), self._session.encode())
        return self._actor if is_ours else None

    async def enter(self, given: str) -> str:
        if self.once is None or not hmac.compare_digest(given.encode("utf-8", "replace"), self.once.encode()):
            raise Unauthorized("This address was used already, or is not whole.")
        # Used up before it is answered: an address stays in the browser's history.
        self.once = None
        return self._session


async def read_form(request: Request) -> dict[str, str] | None:
    """The fields of a small form; None for one that is not small."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _MAX_FORM_BYTES:
            return None
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError:
        return None
    return {name: values[-1] for name, values in fields.items()}
