"""Ring's service tokens, with Ring's own texts. Comparison takes the same time whatever differs."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from pydantic import SecretStr

from ring_mcp.errors import Unauthorized


def check_service_token(presented: SecretStr | None, allowed: Sequence[SecretStr]) -> None:
    """Over stdio: when tokens are configured, the client's RING_SERVICE_TOKEN has to be one of them.

    Raises Unauthorized. Without configured tokens everybody who can start the process may use it.
    """
    if not allowed:
        return
    if presented is None:
        raise Unauthorized("RING_SERVICE_TOKEN is not set")
    given = presented.get_secret_value().strip().encode()
    matches = [hmac.compare_digest(given, token.get_secret_value().encode()) for token in allowed]
    if not any(matches):
        raise Unauthorized("Invalid service token")
