"""Addresses of local files over HTTP: ``/files/{signature}/{key}``.

The signature is made from the key with a secret of this installation: nobody can guess one.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import tempfile
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from ring_mcp.errors import StorageError

FILES_PATH = "/files/"
SECRET_FILE = "files.secret"  # noqa: S105 - a name
# 79 bits of the HMAC: nobody asks so often, and addresses stay short. In decimal, for a model reads three digits as one
# token, and an answer has each address three times: in hexadecimal the same takes twice as many.
_SIGNATURE_DIGITS = 24
_FIRST_SIGNATURE_CHARS = 32
_SECRET_CHARS = 64


class FileLinks:
    """Makes and reads the addresses. ``base_url`` is where clients reach this server."""

    def __init__(self, base_url: str, secret: bytes) -> None:
        self.host = urlsplit(base_url).netloc
        self._prefix = base_url.rstrip("/") + FILES_PATH
        self.secret = secret

    def url_of(self, key: str) -> str:
        return f"{self._prefix}{self._signature(key)}/{quote(key)}"

    def key_of(self, url: str) -> str | None:
        """The key behind one of our own addresses, whatever host and port it was made for; None for any other.

        It is known by its signature: a server that has moved still knows what it handed out.
        """
        try:
            parts = urlsplit(url)
        except ValueError:
            return None
        _, found, path = parts.path.partition(FILES_PATH)
        return self.key_of_path(unquote(path)) if parts.scheme in ("http", "https") and found else None

    def key_of_path(self, path: str) -> str | None:
        """The key behind ``{signature}/{key}``, percent signs decoded, if the signature is right."""
        signature, _, key = path.partition("/")
        # As bytes: it raises for text that is not ASCII, and a path may hold any.
        given = signature.encode("utf-8", "surrogatepass")
        is_ours = hmac.compare_digest(given, self._signature(key).encode())
        is_our_first = hmac.compare_digest(given, self._first_signature(key).encode())
        return key if is_ours or is_our_first else None

    def _signature(self, key: str) -> str:
        return f"{int.from_bytes(self._digest(key), 'big') % 10**_SIGNATURE_DIGITS:0{_SIGNATURE_DIGITS}}"

    def _first_signature(self, key: str) -> str:
        """As addresses had it at first: an address that was handed out once opens for ever."""
        return self._digest(key).hex()[:_FIRST_SIGNATURE_CHARS]

    def _digest(self, key: str) -> bytes:
        return hmac.digest(self.secret, key.encode("utf-8", "surrogatepass"), hashlib.sha256)


def load_secret(path: Path) -> bytes:
    """The installation's secret, made on first use, readable by its owner alone. Raises StorageError.

    It appears under its name whole or not at all: with half a secret, or none, anybody could sign.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            descriptor, name = tempfile.mkstemp(prefix=".secret-", dir=path.parent)  # mode 0600
            new = Path(name)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(secrets.token_hex(_SECRET_CHARS // 2).encode())
                    file.flush()
                    os.fsync(file.fileno())
                with contextlib.suppress(FileExistsError):  # another process was quicker
                    # A link fails where another process was first: its secret may have signed already.
                    os.link(new, path)
            finally:
                new.unlink()
        secret = path.read_bytes().strip()
    except OSError as exc:
        raise StorageError(
            f"the secret of the file links cannot be kept in {path.parent}: {exc.strerror}",
            billed="no",
            next_action="Point RING_STATE_DIR to a writable folder.",
        ) from exc
    if len(secret) < _SECRET_CHARS:
        raise StorageError(
            f"the secret of the file links is damaged: {path}",
            billed="no",
            next_action="Restore this file, or remove it: a new one is made, and old links stop working.",
        )
    return secret
