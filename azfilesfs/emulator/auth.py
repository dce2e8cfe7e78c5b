"""Who sends a request, and with which service version: SharedKey, SAS, or refused."""

from __future__ import annotations

from typing import Final

from azfilesfs.emulator.auth_sas import authenticate_sas
from azfilesfs.emulator.auth_shared_key import check_shared_key
from azfilesfs.emulator.errors import ServiceError, invalid_header, missing_header
from azfilesfs.emulator.grants import KEY_GRANT, Grant, Need
from azfilesfs.emulator.request import Request
from azfilesfs.emulator.shares import Service
from azfilesfs.model.versions import SERVICE_VERSIONS

OLDER_VERSIONS: Final = [
    "2023-08-03",
    "2023-05-03",
    "2023-01-03",
    "2022-11-02",
    "2021-12-02",
    "2021-10-04",
    "2021-08-06",
    "2021-06-08",
    "2021-04-10",
    "2021-02-12",
    "2020-12-06",
    "2020-10-02",
    "2020-08-04",
    "2020-06-12",
    "2020-04-08",
    "2020-02-10",
    "2019-12-12",
    "2019-07-07",
    "2019-02-02",
    "2018-11-09",
    "2018-03-28",
    "2017-11-09",
    "2017-07-29",
    "2017-04-17",
    "2016-05-31",
    "2015-12-11",
    "2015-07-08",
    "2015-04-05",
    "2015-02-21",
    "2014-02-14",
]
"""Versions that the service still takes and that our client does not step down to."""

_NEWER_GAPS: Final = ("2024-02-04", "2025-01-05", "2026-12-06", "2027-03-07")
_KNOWN: Final = frozenset((*SERVICE_VERSIONS, *OLDER_VERSIONS, *_NEWER_GAPS))
_CHALLENGE: Final = (
    "Bearer authorization_uri=https://login.microsoftonline.com/common/oauth2/authorize "
    "resource_id=https://storage.azure.com"
)


def decide_version(service: Service, request: Request) -> str:
    """Return the version that applies: the header's, else that of a SAS.

    Raises:
        ServiceError: the version is missing, unknown, or newer than this emulator admits to be.
    """
    version = request.header("x-ms-version")
    if version is None:
        version = request.query.get("api-version") or request.query.get("sv")
        if version is None:
            raise missing_header("x-ms-version")
    if version not in _KNOWN or version > service.options.newest_version:
        raise invalid_header("x-ms-version", version)
    return version


def authenticate(service: Service, request: Request, need: Need) -> None:
    """Check version and credential, note them in the request, and refuse what is not allowed.

    Raises:
        ServiceError: 400, 401 or 403.
    """
    request.version = decide_version(service, request)
    grant = request.grant = _grant(service, request)
    grant.check(need)


def _grant(service: Service, request: Request) -> Grant:
    authorization = request.header("authorization")
    account = service.accounts.get(request.account)
    if authorization is None:
        if "sig" in request.query:
            return authenticate_sas(service, request)
        raise ServiceError("NoAuthenticationInformation", headers={"www-authenticate": _CHALLENGE})
    scheme = authorization.partition(" ")[0].lower()
    if scheme == "bearer":
        raise ServiceError("InvalidAuthenticationInfo", headers={"www-authenticate": _CHALLENGE})
    if scheme not in {"sharedkey", "sharedkeylite"}:
        raise ServiceError("InvalidAuthenticationInfo", status=400)
    if account is None:
        raise ServiceError("AuthenticationFailed")
    now = service.clock.now() if service.options.check_date else None
    check_shared_key(request, account.key, authorization, now)
    return KEY_GRANT
