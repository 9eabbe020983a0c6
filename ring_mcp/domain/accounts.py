"""The account at a provider that pays for a job; only a key of that account can fetch what was made."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, replace

_SHOWN_CHARACTERS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account at a provider, known by the provider's own id, by the fingerprint of a key, or by both.

    ``endpoint``: the host of an address that the operator uses in place of the provider's own service (None), without
    its port, which may change with a restart. An account without id and fingerprint is from before accounts were
    recorded, and matches any.
    """

    provider: str
    endpoint: str | None = None
    account_id: str | None = None
    key_fingerprint: str | None = None

    @property
    def is_recorded(self) -> bool:
        return self.account_id is not None or self.key_fingerprint is not None

    def is_same(self, other: Account) -> bool:
        """Whether both are one account. Either mark is enough, since an id may not have been asked for yet."""
        # The endpoint has to be the same: behind another host the same key may open another service's account.
        return (self.provider, self.endpoint) == (other.provider, other.endpoint) and (
            (self.account_id is not None and self.account_id == other.account_id)
            or (self.key_fingerprint is not None and self.key_fingerprint == other.key_fingerprint)
        )

    def __str__(self) -> str:
        where = self.provider + (f" at {self.endpoint}" if self.endpoint else "")
        key = f"the key with the fingerprint {self.key_fingerprint[:_SHOWN_CHARACTERS]}" if self.key_fingerprint else ""
        if self.account_id is None:
            return f"the {where} account of {key}" if key else f"an {where} account that was not recorded"
        return f"the {where} account {self.account_id}" + (f" ({key})" if key else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """The accounts whose jobs a process may submit, poll, carry on and give up; of the sandbox, or real ones."""

    sandbox: bool
    accounts: tuple[Account, ...] = ()

    def holds(self, account: Account, *, sandbox: bool) -> bool:
        """Whether it holds this account; an account from before accounts were recorded is held by all."""
        return sandbox == self.sandbox and any(
            # Rows of before would end with nobody if a mark were asked of them.
            mine.is_same(account) if account.is_recorded else mine.provider == account.provider
            for mine in self.accounts
        )

    def account_at(self, provider: str) -> Account | None:
        return next((account for account in self.accounts if account.provider == provider), None)

    def learn(self, provider: str, account_id: str) -> Holder:
        """The same holder, with the provider's own id of an account."""
        return replace(
            self,
            accounts=tuple(
                replace(account, account_id=account_id) if account.provider == provider else account
                for account in self.accounts
            ),
        )


def key_fingerprint(provider: str, key: str) -> str:
    """A mark of a key, the same on every machine, from which the key cannot be computed."""
    # With the provider in it: a secret that is used at two of them must not make one account of both.
    return hmac.new(key.encode(), f"ring-mcp account at {provider}".encode(), hashlib.sha256).hexdigest()[:32]
