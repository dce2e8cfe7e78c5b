"""Making shared access signatures: account, share, file and user delegation (rest.md section 6).

Pure. A signature grants exactly what its fields say until it expires, to whoever has it; so give
the narrowest: ``narrow_sas`` names common needs. A path is signed for a single file only;
there is no signature for a directory.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Final
from urllib.parse import quote

from azfilesfs.client.credentials import SasCredential, SharedKeyCredential, check_account_name
from azfilesfs.client.secret import Secret
from azfilesfs.client.signing import hmac_base64
from azfilesfs.errors import ConfigurationError, MissingCredentials
from azfilesfs.model.paths import SharePath, check_share_name
from azfilesfs.model.versions import NEWEST

SHARE_PERMISSIONS: Final = "rcwdl"
FILE_PERMISSIONS: Final = "rcwd"
ACCOUNT_PERMISSIONS: Final = "rwdlacupitfxy"
RESOURCE_TYPES: Final = "sco"
_ACCOUNT_ENCRYPTION_SCOPE_SINCE: Final = "2020-12-06"
_FIELD_ORDER: Final = [
    "st",
    "se",
    "sp",
    "sip",
    "spr",
    "sv",
    "si",
    "ss",
    "srt",
    "sr",
    "skoid",
    "sktid",
    "skt",
    "ske",
    "sks",
    "skv",
    "skdutid",
    "sduoid",
    "rscc",
    "rscd",
    "rsce",
    "rscl",
    "rsct",
    "sig",
]


class Protocols(Enum):
    """Over what a signature may be used."""

    HTTPS = "https"
    HTTPS_AND_HTTP = "https,http"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseHeaders:
    """Headers that a read with the signature answers with instead of the file's own."""

    cache_control: str | None = None
    content_disposition: str | None = None
    content_encoding: str | None = None
    content_language: str | None = None
    content_type: str | None = None

    def fields(self) -> dict[str, str]:
        """Return them under their names in a signature."""
        return {
            "rscc": self.cache_control or "",
            "rscd": self.content_disposition or "",
            "rsce": self.content_encoding or "",
            "rscl": self.content_language or "",
            "rsct": self.content_type or "",
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SasLimits:
    """What bounds a signature besides its permissions.

    Attributes:
        expiry: when it ends; None only where a stored policy says it.
        start: when it begins; None for at once. Leave some minutes for clocks that differ.
        ip: an address or ``first-last`` that may use it; None for any.
        protocols: https alone unless said otherwise; None leaves the field out, which allows both.
        version: the service version by whose rules it is read.
        policy_id: name of a stored access policy of the share; the policy's fields must be left out
            here.
        headers: of the answers.

    Raises:
        ConfigurationError: a time has no zone, or the end is not after the start.
    """

    expiry: datetime | None = None
    start: datetime | None = None
    ip: str | None = None
    protocols: Protocols | None = Protocols.HTTPS
    version: str = NEWEST
    policy_id: str | None = None
    headers: ResponseHeaders = field(default_factory=ResponseHeaders)

    def __post_init__(self) -> None:
        if any(
            moment is not None and moment.tzinfo is None for moment in (self.start, self.expiry)
        ):
            raise ConfigurationError("the times of a signature need a time zone")
        if self.start is not None and self.expiry is not None and self.start >= self.expiry:
            raise ConfigurationError("a signature must not end before it begins")
        if self.expiry is None and self.policy_id is None:
            raise ConfigurationError("a signature needs an expiry or a stored access policy")

    def fields(self) -> dict[str, str]:
        """Return them under their names in a signature, absent ones empty."""
        return {
            "st": _moment(self.start),
            "se": _moment(self.expiry),
            "sip": self.ip or "",
            "spr": self.protocols.value if self.protocols is not None else "",
            "sv": self.version,
            "si": self.policy_id or "",
            **self.headers.fields(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class UserDelegationKey:
    """A key of an Entra ID principal, with which a signature is made instead of the account's key.

    Times as the service wrote them (``2024-01-01T00:00:00Z``).
    """

    object_id: str
    tenant_id: str
    start: str
    expiry: str
    version: str
    value: Secret
    service: str = "f"
    delegated_user_tenant_id: str = ""

    def fields(self) -> dict[str, str]:
        """Return them under their names in a signature."""
        return {
            "skoid": self.object_id,
            "sktid": self.tenant_id,
            "skt": self.start,
            "ske": self.expiry,
            "sks": self.service,
            "skv": self.version,
            "skdutid": self.delegated_user_tenant_id,
        }

    def key_bytes(self) -> bytes:
        """Return the decoded key.

        Raises:
            MissingCredentials: it is not base64.
        """
        try:
            return base64.b64decode(self.value.reveal(), validate=True)
        except (binascii.Error, ValueError):
            # Not chained: the cause's text may quote the key.
            raise MissingCredentials("the user delegation key is not base64") from None


@dataclass(frozen=True, slots=True)
class SasScope:
    """What a service signature is for: a share, or one file in it.

    Raises:
        InvalidShareName: the share's name is malformed.
        ConfigurationError: the path is the root, which is no file.
    """

    share: str
    file: SharePath | None = None

    def __post_init__(self) -> None:
        check_share_name(self.share)
        if self.file is not None and self.file.is_root:
            raise ConfigurationError("a file's signature needs the path of a file")

    @property
    def permissions(self) -> str:
        """Every permission there is for it, in the order that the service wants."""
        return SHARE_PERMISSIONS if self.file is None else FILE_PERMISSIONS

    @property
    def letter(self) -> str:
        """The value of ``sr``."""
        return "s" if self.file is None else "f"

    def canonical(self, account: str) -> str:
        """Return the resource as it is signed: not encoded."""
        below = "" if self.file is None else f"/{self.file}"
        return f"/file/{account}/{self.share}{below}"


def ordered(permissions: str, allowed: str) -> str:
    """Return permission letters once each and in the order that the service wants.

    Raises:
        ConfigurationError: a letter is not among those allowed.
    """
    unknown = set(permissions) - set(allowed)
    if unknown:
        raise ConfigurationError(
            f"{''.join(sorted(unknown))!r}: only {allowed!r} can be granted here"
        )
    return "".join(letter for letter in allowed if letter in permissions)


def account_sas(
    credential: SharedKeyCredential, permissions: str, resource_types: str, limits: SasLimits
) -> SasCredential:
    """Make a signature for the account's file service.

    Args:
        credential: whose key signs.
        permissions: of ``rwdlacupitfxy``; the file service uses r, w, d, l and c.
        resource_types: of ``s`` (service), ``c`` (shares and listings) and ``o`` (files,
            directories).
        limits: an expiry is required; policies and response headers do not apply.

    Raises:
        ConfigurationError: a letter is unknown, nothing is granted, or the limits do not fit.
    """
    if limits.expiry is None or limits.policy_id is not None:
        raise ConfigurationError("an account's signature needs an expiry and takes no policy")
    given = limits.fields()
    fields = {
        **{name: given[name] for name in ("st", "se", "sip", "spr", "sv")},
        "sp": ordered(permissions, ACCOUNT_PERMISSIONS),
        "ss": "f",
        "srt": ordered(resource_types, RESOURCE_TYPES),
    }
    if not fields["sp"] or not fields["srt"]:
        raise ConfigurationError("a signature must grant something")
    lines = [
        credential.account,
        *(fields[name] for name in ["sp", "ss", "srt", "st", "se", "sip", "spr", "sv"]),
    ]
    if limits.version >= _ACCOUNT_ENCRYPTION_SCOPE_SINCE:
        lines.append("")
    return _token(credential.key_bytes(), "\n".join([*lines, ""]), fields)


def service_sas(
    credential: SharedKeyCredential, scope: SasScope, permissions: str, limits: SasLimits
) -> SasCredential:
    """Make a signature for a share or one of its files.

    Args:
        credential: whose key signs.
        scope: the share or the file.
        permissions: of ``rcwdl`` for a share, ``rcwd`` for a file; empty where a policy says it.
            ``c`` without ``w`` may create files and not overwrite them.
        limits: times, addresses, policy.

    Raises:
        ConfigurationError: a letter is unknown, or nothing is granted.
    """
    fields = _service_fields(scope, permissions, limits)
    names = [
        "sp",
        "st",
        "se",
        ".",
        "si",
        "sip",
        "spr",
        "sv",
        "rscc",
        "rscd",
        "rsce",
        "rscl",
        "rsct",
    ]
    to_sign = _lines(names, fields, scope.canonical(credential.account))
    return _token(credential.key_bytes(), to_sign, fields)


def user_delegation_sas(
    account: str,
    key: UserDelegationKey,
    scope: SasScope,
    permissions: str,
    limits: SasLimits,
    *,
    delegated_user_id: str = "",
) -> SasCredential:
    """Make a signature for a share or one of its files with a principal's key (service 2026-02-06).

    Args:
        account: the storage account.
        key: of the principal who grants.
        scope: the share or the file.
        permissions: as ``service_sas``.
        limits: as ``service_sas``, without a policy.
        delegated_user_id: object id of the only user who may use the signature; empty for whoever
            has it.

    Raises:
        InvalidAccountName: the account name is malformed.
        ConfigurationError: a letter is unknown, nothing is granted, or a policy is named.
        MissingCredentials: the key is not base64.
    """
    check_account_name(account)
    if limits.policy_id is not None:
        raise ConfigurationError("a user delegation signature takes no policy")
    fields = {
        **_service_fields(scope, permissions, limits),
        **key.fields(),
        "sduoid": delegated_user_id,
    }
    names = [
        "sp",
        "st",
        "se",
        ".",
        "skoid",
        "sktid",
        "skt",
        "ske",
        "sks",
        "skv",
        "skdutid",
        "sduoid",
        "sip",
        "spr",
        "sv",
        "rscc",
        "rscd",
        "rsce",
        "rscl",
        "rsct",
    ]
    to_sign = _lines(names, fields, scope.canonical(account))
    return _token(key.key_bytes(), to_sign, fields)


def _service_fields(scope: SasScope, permissions: str, limits: SasLimits) -> dict[str, str]:
    granted = ordered(permissions, scope.permissions)
    if not granted and limits.policy_id is None:
        raise ConfigurationError("a signature must grant something")
    return {**limits.fields(), "sp": granted, "sr": scope.letter}


def _lines(names: list[str], fields: Mapping[str, str], resource: str) -> str:
    return "\n".join(resource if name == "." else fields[name] for name in names)


def _token(key: bytes, to_sign: str, fields: Mapping[str, str]) -> SasCredential:
    signed = {**fields, "sig": hmac_base64(key, to_sign)}
    pairs = ((name, signed.get(name, "")) for name in _FIELD_ORDER)
    return SasCredential(
        Secret("&".join(f"{name}={quote(value)}" for name, value in pairs if value))
    )


def _moment(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
