"""Create, get, set and delete shares; their statistics, permissions and access policies."""

from __future__ import annotations

import json
import re
from typing import Final

from azfilesfs.emulator.answer import Answer, xml_answer
from azfilesfs.emulator.errors import ServiceError, invalid_header, invalid_query
from azfilesfs.emulator.lookup import lease_id
from azfilesfs.emulator.metadata import metadata_headers, parse_metadata
from azfilesfs.emulator.request import Request
from azfilesfs.emulator.shares import Service, Share
from azfilesfs.emulator.smb import stamp_headers, store_permission
from azfilesfs.emulator.wire import rfc1123
from azfilesfs.errors import InvalidShareName
from azfilesfs.model.paths import check_share_name
from azfilesfs.model.times import NS_PER_SECOND

MAX_QUOTA_GIB: Final = 102_400
TIERS: Final = ("TransactionOptimized", "Hot", "Cool")
LEASES_SINCE: Final = "2020-02-10"
TIERS_SINCE: Final = "2019-12-12"
_SETTINGS: Final = re.compile(
    r"x-ms-(enabled-protocols|root-squash|enable-snapshot-virtual-directory-access"
    r"|enable-smb-directory-lease)"
)


def create_share(service: Service, request: Request) -> Answer:
    """Create a share."""
    name = request.share
    try:
        check_share_name(name)
    except InvalidShareName:
        raise ServiceError("InvalidResourceName") from None
    account = service.account(request.account)
    if name in account.shares:
        raise ServiceError("ShareAlreadyExists")
    hold = round(service.options.deletion_seconds * NS_PER_SECOND)
    if name in account.gone and service.clock.now() < account.gone[name] + hold:
        raise ServiceError("ShareBeingDeleted")
    quota, tier, metadata = _quota(request), _tier(request), parse_metadata(request)
    if request.headers.get("x-ms-enabled-protocols", "SMB").upper() != "SMB":
        raise invalid_header("x-ms-enabled-protocols", request.headers["x-ms-enabled-protocols"])
    share = service.add_share(account, name)
    share.metadata = metadata
    share.quota, share.tier = quota or share.quota, tier or share.tier
    _store_settings(request, share)
    service.store.save_share(share)
    return Answer(201, stamp_headers(share.modified))


def _quota(request: Request) -> int | None:
    quota = request.number("x-ms-share-quota")
    if quota is not None and not 1 <= quota <= MAX_QUOTA_GIB:
        raise invalid_header("x-ms-share-quota", str(quota))
    return quota


def _tier(request: Request) -> str | None:
    wanted = request.header("x-ms-access-tier")
    if wanted is None:
        return None
    for tier in TIERS:
        if tier.lower() == wanted.lower():
            return tier
    raise invalid_header("x-ms-access-tier", wanted)


def _store_settings(request: Request, share: Share) -> None:
    for name, value in request.headers.items():
        if _SETTINGS.fullmatch(name):
            share.settings[name] = value


def read_share(service: Service, request: Request) -> Share:
    """Return the share that a reading request means, its lease checked.

    Raises:
        ServiceError: it is missing, or the lease id is wrong.
    """
    share = service.share(request.account, request.share, request.snapshot)
    share.lease.check(lease_id(request), writes=False)
    return share


def write_share(service: Service, request: Request) -> Share:
    """Return the share that a changing request means, its lease checked.

    Raises:
        ServiceError: it is missing, a snapshot is named, or the lease id is missing or wrong.
    """
    if request.snapshot is not None:
        raise invalid_query("sharesnapshot", request.snapshot)
    share = service.share(request.account, request.share)
    share.lease.check(lease_id(request), writes=True)
    return share


def get_share_properties(service: Service, request: Request) -> Answer:
    """Return all properties as headers."""
    share = read_share(service, request)
    headers = stamp_headers(share.modified) + metadata_headers(share.metadata)
    headers.append(("x-ms-share-quota", str(share.quota)))
    version = request.version
    if version >= TIERS_SINCE:
        headers.append(("x-ms-access-tier", share.tier))
        headers.append(("x-ms-access-tier-change-time", rfc1123(share.tier_changed)))
    if version >= LEASES_SINCE:
        headers += share.lease.headers()
    headers += [("x-ms-has-immutability-policy", "false"), ("x-ms-has-legal-hold", "false")]
    headers += share.settings.items()
    return Answer(200, headers)


def get_share_metadata(service: Service, request: Request) -> Answer:
    """Return the metadata as headers."""
    share = read_share(service, request)
    return Answer(200, stamp_headers(share.modified) + metadata_headers(share.metadata))


def set_share_properties(service: Service, request: Request) -> Answer:
    """Set quota, tier and other settings."""
    share = write_share(service, request)
    quota, tier = _quota(request), _tier(request)
    share.modified = service.clock.tick()
    if quota is not None:
        share.quota = quota
    if tier is not None and tier != share.tier:
        share.tier, share.tier_changed = tier, share.modified
    _store_settings(request, share)
    service.store.save_share(share)
    return Answer(200, stamp_headers(share.modified))


def set_share_metadata(service: Service, request: Request) -> Answer:
    """Replace the metadata."""
    share = write_share(service, request)
    share.metadata = parse_metadata(request)
    share.modified = service.clock.tick()
    service.store.save_share(share)
    return Answer(200, stamp_headers(share.modified))


def get_share_stats(service: Service, request: Request) -> Answer:
    """Return how many bytes the files have together."""
    share = read_share(service, request)
    if request.version < "2018-03-28":
        used = f"<ShareUsage>{-(-share.used // 2**30)}</ShareUsage>"
    else:
        used = f"<ShareUsageBytes>{share.used}</ShareUsageBytes>"
    return xml_answer(f"<ShareStats>{used}</ShareStats>")


def create_permission(service: Service, request: Request) -> Answer:
    """Store a permission and return its key."""
    share = write_share(service, request)
    try:
        text = json.loads(bytes(request.body))["permission"]
    except (ValueError, KeyError, TypeError):
        raise ServiceError("InvalidInput") from None
    if not isinstance(text, str):
        raise ServiceError("InvalidInput")
    key = store_permission(share, text)
    service.store.save_share(share)
    return Answer(201, [("x-ms-file-permission-key", key)], content_length=None)


def get_permission(service: Service, request: Request) -> Answer:
    """Return a stored permission."""
    share = read_share(service, request)
    key = request.required("x-ms-file-permission-key")
    text = share.permissions.get(key)
    if text is None:
        raise invalid_header("x-ms-file-permission-key", key)
    body = json.dumps({"permission": text + "S:NO_ACCESS_CONTROL"}).encode()
    return Answer(200, [], body, len(body))
