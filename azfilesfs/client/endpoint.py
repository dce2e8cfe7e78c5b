"""Where the service is: endpoints, and the connection strings that name them."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, urlsplit

from azfilesfs.client.credentials import (
    Credential,
    SasCredential,
    SharedKeyCredential,
    check_account_name,
)
from azfilesfs.client.secret import Secret
from azfilesfs.errors import ConfigurationError, MissingCredentials

DEFAULT_SUFFIX: Final = "core.windows.net"


def is_loopback(host: str) -> bool:
    """Tell whether the host of a URL is ``localhost`` or a loopback address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The base URL of an account's file service.

    Attributes:
        url: ``scheme://host[:port]`` (host-style), or with ``/account`` behind it (path-style, as
            emulators have it); never ends with a slash.
        account: the account that signs, and stands in signatures.
        path: what stands before the share in a path: empty, or ``/account``.
        origin: ``scheme://host[:port]``.
        authority: ``host[:port]``.

    Raises:
        ConfigurationError: the URL is not http(s), carries a user, query or fragment, or is plain
            http to a host other than loopback.
        InvalidAccountName: the account name is malformed.
    """

    url: str
    account: str
    # Taken apart once, for every request needs them.
    path: str = field(init=False, repr=False, compare=False)
    origin: str = field(init=False, repr=False, compare=False)
    authority: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_account_name(self.account)
        object.__setattr__(self, "url", self.url.rstrip("/"))
        parts = self._parts()
        self._check(parts)
        origin = self.url.removesuffix(parts.path)
        object.__setattr__(self, "path", parts.path)
        object.__setattr__(self, "origin", origin)
        object.__setattr__(self, "authority", origin.partition("://")[2])

    @classmethod
    def of_account(cls, account: str, suffix: str = DEFAULT_SUFFIX) -> Endpoint:
        """Return the host-style endpoint of an account."""
        check_account_name(account)
        return cls(f"https://{account}.file.{suffix}", account)

    @classmethod
    def of_url(cls, url: str, account: str | None = None) -> Endpoint:
        """Return the endpoint at a URL; the account is that of its path or host unless given.

        Raises:
            ConfigurationError: the URL is unusable, or names no account.
        """
        try:
            parts = urlsplit(url)
            host = parts.hostname or ""
        except ValueError:
            raise ConfigurationError("the endpoint is not a URL") from None
        if account is None:
            account = parts.path.strip("/") or host.partition(".")[0]
        return cls(url, account)

    @property
    def host(self) -> str:
        """Host name or address, lower case, without brackets."""
        return self._parts().hostname or ""

    @property
    def is_https(self) -> bool:
        """Whether the connection is encrypted."""
        return self._parts().scheme == "https"

    def _parts(self) -> SplitResult:
        try:
            parts = urlsplit(self.url)
            _ = parts.port
        except ValueError:
            raise ConfigurationError("the endpoint is not a URL") from None
        return parts

    def _check(self, parts: SplitResult) -> None:
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigurationError("the endpoint must be an http or https URL")
        if parts.username is not None or parts.password is not None:
            raise ConfigurationError("the endpoint must not contain a user name or password")
        if parts.query or parts.fragment:
            raise ConfigurationError("the endpoint must not contain a query or a fragment")
        if parts.path not in {"", f"/{self.account}"}:
            raise ConfigurationError("the endpoint's path must be empty or the account name")
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            raise ConfigurationError(
                f"plain http is accepted for loopback addresses only, not for {parts.hostname}"
            )


_KNOWN_FIELDS = {
    name.lower(): name
    for name in (
        "DefaultEndpointsProtocol",
        "AccountName",
        "AccountKey",
        "EndpointSuffix",
        "FileEndpoint",
        "SharedAccessSignature",
        "UseDevelopmentStorage",
    )
}


def _fields(text: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for part in text.strip().split(";"):
        if not part.strip():
            continue
        name, equals, value = part.strip().partition("=")
        if not equals:
            raise ConfigurationError(
                "a part of the connection string is not of the form NAME=VALUE"
            )
        fields[_KNOWN_FIELDS.get(name.strip().lower(), name.strip())] = value.strip()
    return fields


def parse_connection_string(text: str) -> tuple[Endpoint, Credential]:
    """Read a connection string of a storage account.

    Known fields: AccountName, AccountKey, SharedAccessSignature, FileEndpoint, EndpointSuffix,
    DefaultEndpointsProtocol; those of other services are ignored. A FileEndpoint rules over the
    suffix. A signature is preferred to a key, as it is narrower.

    Raises:
        ConfigurationError: a part is malformed, no account can be told, or it asks for
            UseDevelopmentStorage, which has no file service.
        MissingCredentials: there is neither a key nor a signature.
    """
    fields = _fields(text)
    if fields.get("UseDevelopmentStorage", "").lower() == "true":
        raise ConfigurationError(
            "UseDevelopmentStorage=true names an emulator without a file service;"
            " name a FileEndpoint"
        )
    endpoint = _endpoint(fields)
    if token := fields.get("SharedAccessSignature"):
        return endpoint, SasCredential(Secret(token))
    if key := fields.get("AccountKey"):
        return endpoint, SharedKeyCredential(endpoint.account, Secret(key))
    raise MissingCredentials(
        "the connection string has neither an AccountKey nor a SharedAccessSignature"
    )


def _endpoint(fields: dict[str, str]) -> Endpoint:
    account = fields.get("AccountName") or None
    if url := fields.get("FileEndpoint"):
        return Endpoint.of_url(url, account)
    if account is None:
        raise ConfigurationError("the connection string has neither AccountName nor FileEndpoint")
    scheme = fields.get("DefaultEndpointsProtocol", "https")
    suffix = fields.get("EndpointSuffix", DEFAULT_SUFFIX)
    return Endpoint(f"{scheme}://{account}.file.{suffix}", account)
