"""Shared access signatures, by the emulator's own reading of the rules (rest.md 6.2 and 6.3)."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from azfilesfs.emulator.auth_shared_key import sign
from azfilesfs.emulator.errors import ServiceError
from azfilesfs.emulator.grants import Grant
from azfilesfs.emulator.request import Request
from azfilesfs.emulator.shares import AccessPolicy, Service
from azfilesfs.emulator.wire import iso, sas_time, unb64

ENCRYPTION_SCOPE_SINCE: Final = "2020-12-06"
_DELEGATION: Final = ("skoid", "sktid", "skt", "ske", "sks", "skv", "skdutid", "sduoid")
_OVERRIDES: Final = (
    ("rscc", "cache-control"),
    ("rscd", "content-disposition"),
    ("rsce", "content-encoding"),
    ("rscl", "content-language"),
    ("rsct", "content-type"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A SAS and what it is used for."""

    query: Mapping[str, str]
    account: str
    share: str
    path: str
    scheme: str
    peer: str
    now: int

    def get(self, name: str) -> str:
        """Return a field, empty where it is absent."""
        return self.query.get(name, "")


def authenticate_sas(service: Service, request: Request) -> Grant:
    """Check the SAS of a request.

    Raises:
        ServiceError: 403, with the code for what is wrong.
    """
    return check_token(
        service,
        Token(
            query=request.query,
            account=request.account,
            share=request.share,
            path="/".join(request.segments[1:]),
            scheme=request.scheme,
            peer=request.peer,
            now=service.clock.now(),
        ),
    )


def check_token(service: Service, token: Token) -> Grant:
    """Check a SAS and return what it allows.

    Raises:
        ServiceError: 403, with the code for what is wrong.
    """
    account = service.accounts.get(token.account)
    if account is None:
        raise failed("The account does not exist.")
    if token.get("skoid"):
        return _check_delegated(service, token)
    if "ss" in token.query or "srt" in token.query:
        _check_signature(account.key, account_text(token), token)
        policy = AccessPolicy(
            id="", start=token.get("st"), expiry=token.get("se"), permission=token.get("sp")
        )
        _check_validity(token, policy)
        if "f" not in token.get("ss"):
            raise ServiceError("AuthorizationServiceMismatch")
        return Grant(permissions=policy.permission, resource_types=token.get("srt"))
    return _check_service_sas(service, token, account.key)


def failed(detail: str) -> ServiceError:
    """Return the refusal of a SAS."""
    return ServiceError("AuthenticationFailed", extras={"AuthenticationErrorDetail": detail})


def account_text(token: Token) -> str:
    """Return what the signature of an account SAS is made of."""
    version = token.get("sv")
    fields = [token.account, *(token.get(name) for name in ("sp", "ss", "srt", "st", "se"))]
    fields += [token.get("sip"), token.get("spr"), version]
    if version >= ENCRYPTION_SCOPE_SINCE:
        fields.append(token.get("ses"))
    return "\n".join(fields) + "\n"


def _check_delegated(service: Service, token: Token) -> Grant:
    """Check a SAS that is signed with a user delegation key, as far as the options have one."""
    key = unb64(service.options.delegation_key or "")
    if not key:
        raise failed("The user delegation key is not known.")
    grant = _check_service_sas(service, token, key)
    validity = AccessPolicy(
        id="", start=token.get("skt"), expiry=token.get("ske"), permission="key"
    )
    _check_validity(token, validity)
    return grant


def _check_service_sas(service: Service, token: Token, key: bytes) -> Grant:
    kind = token.get("sr")
    if not kind:
        raise failed("sr is mandatory. Cannot be empty")
    if kind not in {"s", "f"} or not token.share or (kind == "f" and not token.path):
        raise failed("Signed resource does not match the request.")
    _check_signature(key, service_text(token, is_file=kind == "f"), token)
    policy = _policy(service, token)
    _check_validity(token, policy)
    overrides = tuple(
        (header, token.get(field)) for field, header in _OVERRIDES if token.get(field)
    )
    return Grant(permissions=policy.permission, is_file_only=kind == "f", overrides=overrides)


def service_text(token: Token, *, is_file: bool) -> str:
    """Return what the signature of a service SAS is made of."""
    resource = f"/file/{token.account}/{token.share}"
    if is_file:
        resource += f"/{token.path}"
    version = token.get("sv")
    fields = [token.get("sp"), token.get("st"), token.get("se"), resource]
    names = _DELEGATION if token.get("skoid") else ("si",)
    fields += [token.get(name) for name in names]
    if version >= "2015-04-05":
        fields += [token.get("sip"), token.get("spr")]
    fields.append(version)
    fields += [token.get(name) for name, _ in _OVERRIDES]
    return "\n".join(fields)


def _policy(service: Service, token: Token) -> AccessPolicy:
    """Return the limits of a service SAS, those of its stored policy included."""
    own = AccessPolicy(
        id=token.get("si"),
        start=token.get("st"),
        expiry=token.get("se"),
        permission=token.get("sp"),
    )
    if not own.id:
        return own
    share = service.accounts[token.account].shares.get(token.share)
    stored = next((item for item in share.policies if item.id == own.id), None) if share else None
    if stored is None:
        raise failed("Signed identifier is not known.")
    for name in ("start", "expiry", "permission"):
        if getattr(own, name) and getattr(stored, name):
            raise failed(f"{name} must not be both in the SAS and in the policy.")
    return AccessPolicy(
        id=own.id,
        start=own.start or stored.start,
        expiry=own.expiry or stored.expiry,
        permission=own.permission or stored.permission,
    )


def _check_signature(key: bytes, text: str, token: Token) -> None:
    if not hmac.compare_digest(sign(key, text).encode(), token.get("sig").encode()):
        shown = text.replace("\n", "\\n")
        raise failed(f"Signature did not match. String to sign used was {shown}")


def _check_validity(token: Token, policy: AccessPolicy) -> None:
    try:
        start = sas_time(policy.start) if policy.start else None
        expiry = sas_time(policy.expiry)
    except ValueError:
        raise failed("se is mandatory and times must be ISO 8601.") from None
    if (start is not None and token.now < start) or token.now >= expiry:
        raise failed(
            f"Signature not valid in the specified time frame: Start [{policy.start}] - "
            f"Expiry [{policy.expiry}] - Current [{iso(token.now)}]"
        )
    if not policy.permission:
        raise failed("sp is mandatory. Cannot be empty")
    if token.scheme not in (token.get("spr") or "https,http").split(","):
        raise ServiceError("AuthorizationProtocolMismatch")
    if token.get("sip") and not _is_inside(token.peer, token.get("sip")):
        raise ServiceError("AuthorizationSourceIPMismatch")


def _is_inside(peer: str, allowed: str) -> bool:
    first, _, last = allowed.partition("-")
    try:
        low = ipaddress.ip_address(first)
        high = ipaddress.ip_address(last or first)
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return low.version == address.version == high.version and int(low) <= int(address) <= int(high)
