"""Who of a team may call, as the ledger knows them, and the tokens that they show."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime

from ring_mcp.domain.caps import Caps
from ring_mcp.errors import RingError, Unauthorized

TOKEN_PREFIX = "ringmcp_"  # noqa: S105 - what every token of the ledger begins with
_SECRET_BYTES = 32
_TOKEN = re.compile(rf"{TOKEN_PREFIX}[A-Za-z0-9_-]{{43}}")
# It stands in logs, in rows and on command lines: nothing that has a meaning in any of them.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class LookOnly(RingError):
    """Somebody has asked for what only those may who may spend; nothing was done."""

    code = "look_only"
    next_action = "Read what is there, or have the operator give a token that may spend: `ring-mcp tokens add`."


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """Somebody whose token the ledger knows. ``name`` is the actor id of the jobs; ``caps`` are this one's alone,
    beside the operator's."""

    name: str
    may_spend: bool = True
    caps: Caps = field(default_factory=Caps)
    created_at: datetime
    revoked_at: datetime | None = None

    def check_may_spend(self, token_mark: datetime | None) -> None:
        """Raises Unauthorized for one who was revoked, LookOnly for one who may only look.

        ``token_mark``: when the token was made by which they call; an older one than theirs of now was revoked.
        """
        # Compared, and not ordered: a clock may have been set back between the two.
        if self.revoked_at is not None or token_mark not in (None, self.created_at):
            raise Unauthorized(
                f"the token of {self.name} was revoked; nothing was spent",
                next_action="Have the operator make a new one: `ring-mcp tokens add`.",
            )
        if not self.may_spend:
            raise LookOnly(f"{self.name} may look and not spend; nothing was spent")


def make_token() -> str:
    """A new secret: 256 bits of chance behind a beginning by which it is known for what it is.

    So many cannot be tried, however quick a hash is: its plain SHA-256 may be kept and compared. Salt and slow hashes
    protect what people think up, of which there is little.
    """
    return TOKEN_PREFIX + secrets.token_urlsafe(_SECRET_BYTES)


def is_token(text: str) -> bool:
    """Whether it has the form of one: anything else is asked of no ledger."""
    return _TOKEN.fullmatch(text) is not None


def is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


def hash_token(token: str) -> str:
    """What the ledger keeps of it: SHA-256, in hexadecimal."""
    return hashlib.sha256(token.encode()).hexdigest()
