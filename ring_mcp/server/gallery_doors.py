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

from ring_mcp.errors import Unauthorized
from ring_mcp.server.auth import ServiceTokens

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

SESSION_S = 12 * 3600
"""How long a login lasts."""

_MAX_COOKIE_CHARS = 4096


class Door(Protocol):
    """``cookie``: its name; no two servers of one machine have the same, for browsers know no ports."""

    cookie: str

    @property
    def has_login(self) -> bool:
        """Whether whoever has no cookie is asked for a token."""
        ...

    def actor_of(self, cookie: str | None) -> str | None:
        """Whose jobs the bearer of the cookie may look at; None: nobody's."""
        ...

    def enter(self, given: str) -> str | None:
        """The cookie for whoever gives this. Raises Unauthorized; None where no cookie is needed."""
        ...


class TokenDoor:
    """Takes what ``/mcp`` takes; without tokens, on loopback, everybody is the default actor, as there.

    ``secret``: what all processes of the server share and nobody else knows. It is stretched before it is used.
    """

    def __init__(self, tokens: ServiceTokens, secret: bytes) -> None:
        self._tokens = tokens
        self._secret = secret
        self.cookie = f"ring_gallery_{hashlib.sha256(b'name of the cookie' + secret).hexdigest()[:8]}"

    @property
    def has_login(self) -> bool:
        return self._tokens.are_configured

    def actor_of(self, cookie: str | None) -> str | None:
        if not self._tokens.are_configured:
            return self._tokens.default_actor
        if cookie is None or len(cookie) > _MAX_COOKIE_CHARS:
            return None
        from cryptography.fernet import InvalidToken

        try:
            token = self._seal.decrypt(f"{cookie}{'=' * (-len(cookie) % 4)}".encode("latin-1"), ttl=SESSION_S)
            return self._tokens.actor_of(f"Bearer {token.decode('latin-1')}")
        except (InvalidToken, Unauthorized):
            return None

    def enter(self, given: str) -> str | None:
        if not self._tokens.are_configured:
            return None
        try:
            header = given.strip().encode().decode("latin-1")  # as a header's bytes become text
        except UnicodeEncodeError:
            raise Unauthorized("Invalid service token") from None
        self._tokens.actor_of(f"Bearer {header}")
        return self._seal.encrypt(header.encode("latin-1")).decode().rstrip("=")  # which a cookie would quote

    @functools.cached_property
    def _seal(self) -> Fernet:
        from cryptography.fernet import Fernet

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

    def actor_of(self, cookie: str | None) -> str | None:
        is_ours = cookie is not None and hmac.compare_digest(cookie.encode(), self._session.encode())
        return self._actor if is_ours else None

    def enter(self, given: str) -> str | None:
        if self.once is None or not hmac.compare_digest(given.encode("utf-8", "replace"), self.once.encode()):
            raise Unauthorized("This address was used already, or is not whole.")
        self.once = None
        return self._session
