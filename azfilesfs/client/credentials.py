"""Who we are to the service: a key or a signature, and where the current one comes from."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Protocol

from azfilesfs.client.secret import Secret
from azfilesfs.errors import InvalidAccountName, MissingCredentials

_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")


def check_account_name(name: str) -> None:
    """Check a storage account name: 3 to 24 lower-case letters and digits.

    Raises:
        InvalidAccountName: it is not of that form.
    """
    if _ACCOUNT.fullmatch(name) is None:
        raise InvalidAccountName(
            f"{name!r} is not a storage account name: 3 to 24 lower-case letters and digits"
        )


@dataclass(frozen=True, slots=True)
class SharedKeyCredential:
    """An account and its key (base64), which may do everything.

    Raises:
        InvalidAccountName: the account name is malformed.
        MissingCredentials: the key is empty or not base64.
    """

    account: str
    key: Secret
    # Decoded once, for it signs every request.
    _decoded: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_account_name(self.account)
        object.__setattr__(self, "_decoded", self._decode())

    def key_bytes(self) -> bytes:
        """Return the decoded key."""
        return self._decoded

    def _decode(self) -> bytes:
        try:
            decoded = base64.b64decode(self.key.reveal(), validate=True)
        except (binascii.Error, ValueError):
            # Not chained: the cause's text may quote the key.
            raise MissingCredentials("the account key is not base64") from None
        if not decoded:
            raise MissingCredentials("the account key is empty")
        return decoded


@dataclass(frozen=True, slots=True)
class SasCredential:
    """A shared access signature: the query string with or without its leading ``?``.

    Raises:
        MissingCredentials: the token carries no ``sig``.
    """

    token: Secret

    def __post_init__(self) -> None:
        if not any(part.startswith("sig=") for part in self.query().split("&")):
            raise MissingCredentials("the shared access signature has no 'sig' field")

    def query(self) -> str:
        """Return the token as it is appended to a URL, without ``?``."""
        return self.token.reveal().strip().removeprefix("?").strip("&")

    def permissions(self) -> frozenset[str] | None:
        """Return the letters of ``sp``, None where a stored policy decides and there are none."""
        letters = [part[3:] for part in self.query().split("&") if part.startswith("sp=")]
        return frozenset("".join(letters)) if letters else None


Credential = SharedKeyCredential | SasCredential


def may_write(credential: Credential) -> bool:
    """Tell whether a credential may create or write files, as far as it says so itself."""
    if isinstance(credential, SharedKeyCredential):
        return True
    permissions = credential.permissions()
    return permissions is None or not permissions.isdisjoint("cw")


class CredentialProvider(Protocol):
    """Where the client gets its credential; asked for each attempt.

    So a rotated key needs no restart.
    """

    def current(self) -> Credential:
        """Return the credential to use now."""
        ...

    async def refresh(self) -> bool:
        """Look for a newer credential after a refusal of this one; say whether it changed."""
        ...


@dataclass(frozen=True, slots=True)
class StaticCredentials:
    """One credential that never changes."""

    credential: Credential

    def current(self) -> Credential:
        """Return the credential."""
        return self.credential

    async def refresh(self) -> bool:
        """Say that nothing changed."""
        return False
