"""Operations of the whole service, and the access policies of a share."""

from __future__ import annotations

from typing import Final
from xml.etree import ElementTree

from azfilesfs.emulator.answer import Answer, xml_answer
from azfilesfs.emulator.errors import ServiceError, invalid_query
from azfilesfs.emulator.operations.listing import marked_name, marker_for
from azfilesfs.emulator.operations.shares import LEASES_SINCE, TIERS_SINCE, read_share, write_share
from azfilesfs.emulator.request import Request
from azfilesfs.emulator.shares import AccessPolicy, Account, Service, Share
from azfilesfs.emulator.smb import stamp_headers
from azfilesfs.emulator.wire import iso, rfc1123, sas_time
from azfilesfs.emulator.xml import attribute, element, invalid_document, parse
from azfilesfs.model.limits import LIST_PAGE_ENTRIES
from azfilesfs.model.times import etag_of

MAX_POLICIES: Final = 5
MAX_CORS_RULES: Final = 5
RETENTION_DAYS: Final = 7
_DETAILS: Final = frozenset({"snapshots", "metadata", "deleted"})
_METRICS: Final = (
    "<Version>1.0</Version><Enabled>false</Enabled>"
    "<RetentionPolicy><Enabled>false</Enabled></RetentionPolicy>"
)
_CORS_ORDER: Final = {
    name: index
    for index, name in enumerate(
        ("AllowedMethods", "AllowedOrigins", "AllowedHeaders", "ExposedHeaders", "MaxAgeInSeconds")
    )
}
DEFAULT_PROPERTIES: Final = (
    f"<HourMetrics>{_METRICS}</HourMetrics><MinuteMetrics>{_METRICS}</MinuteMetrics><Cors />"
    "<ProtocolSettings><SMB><Multichannel><Enabled>false</Enabled></Multichannel></SMB>"
    "</ProtocolSettings>"
)
PROTOCOLS_SINCE: Final = "2020-02-10"


def list_shares(service: Service, request: Request) -> Answer:
    """List one page of the account's shares, with snapshots and deleted ones where asked for."""
    text = request.query.get("include", "")
    details = frozenset(part.strip().lower() for part in text.split(",") if part.strip())
    if not details <= _DETAILS:
        raise invalid_query("include", text)
    limit = request.page_size(LIST_PAGE_ENTRIES)
    prefix, marker = request.query.get("prefix", ""), request.query.get("marker", "")
    first = marked_name(marker) if marker else ""
    account = service.account(request.account)
    rows = [
        (key, share)
        for key, share in _rows(account, details)
        if share.name.startswith(prefix) and key >= first
    ]
    size = min(limit or LIST_PAGE_ENTRIES, LIST_PAGE_ENTRIES)
    head = f'<EnumerationResults ServiceEndpoint="{attribute(request.endpoint)}">'
    head += element("Prefix", prefix) if prefix else ""
    head += element("Marker", marker) if marker else ""
    head += f"<MaxResults>{limit}</MaxResults>" if limit is not None else ""
    now = service.clock.now()
    entries = "".join(_share_entry(share, request, details, now) for _, share in rows[:size])
    body = f"<Shares>{entries}</Shares>" if entries else "<Shares />"
    following = marker_for(rows[size][0]) if len(rows) > size else ""
    return xml_answer(f"{head}{body}{element('NextMarker', following)}</EnumerationResults>")


def _rows(account: Account, details: frozenset[str]) -> list[tuple[str, Share]]:
    """Return what may be listed with its sort key: by name, snapshots before the share itself."""
    rows = [(f"{share.name}\t~", share) for share in account.shares.values()]
    if "snapshots" in details:
        for family in account.snapshots.values():
            rows += [(f"{share.name}\t{share.snapshot}", share) for share in family.values()]
    if "deleted" in details:
        rows += [(f"{share.name}\t!{share.version}", share) for share in account.deleted]
    return sorted(rows, key=lambda row: row[0])


def _share_entry(share: Share, request: Request, details: frozenset[str], now: int) -> str:
    share.lease.settle(now)
    version = request.version
    text = element("Name", share.name)
    if share.snapshot is not None:
        text += element("Snapshot", share.snapshot)
    if share.version is not None:
        text += f"<Deleted>true</Deleted>{element('Version', share.version)}"
    text += f"<Properties>{_share_properties(share, version)}</Properties>"
    if "metadata" in details and share.metadata:
        pairs = "".join(element(name, value) for name, value in share.metadata.items())
        text += f"<Metadata>{pairs}</Metadata>"
    return f"<Share>{text}</Share>"


def _share_properties(share: Share, version: str) -> str:
    text = f"<Last-Modified>{rfc1123(share.modified)}</Last-Modified>"
    text += f"<Etag>{etag_of(share.modified)}</Etag>"
    if version >= LEASES_SINCE:
        shown = dict(share.lease.headers())
        text += element("LeaseStatus", shown["x-ms-lease-status"])
        text += element("LeaseState", shown["x-ms-lease-state"])
        if "x-ms-lease-duration" in shown:
            text += element("LeaseDuration", shown["x-ms-lease-duration"])
    text += f"<Quota>{share.quota}</Quota>"
    if version >= PROTOCOLS_SINCE and "x-ms-enabled-protocols" in share.settings:
        text += element("EnabledProtocols", share.settings["x-ms-enabled-protocols"])
    if version >= TIERS_SINCE:
        text += element("AccessTier", share.tier)
        text += element("AccessTierChangeTime", rfc1123(share.tier_changed))
        text += (
            "<DefaultEncryptionScope>$account-encryption-key</DefaultEncryptionScope>"
            "<DenyEncryptionScopeOverride>false</DenyEncryptionScopeOverride>"
        )
    if share.deleted_at is not None:
        text += element("DeletedTime", rfc1123(share.deleted_at))
        text += f"<RemainingRetentionDays>{RETENTION_DAYS}</RemainingRetentionDays>"
    return text


def get_service_properties(service: Service, request: Request) -> Answer:
    """Return the properties as they were set."""
    account = service.account(request.account)
    body = account.properties or DEFAULT_PROPERTIES
    return xml_answer(f"<StorageServiceProperties>{body}</StorageServiceProperties>")


def set_service_properties(service: Service, request: Request) -> Answer:
    """Replace the sections of the properties that the document has."""
    root = parse(request.body)
    if (
        root.tag != "StorageServiceProperties"
        or len(root.findall("Cors/CorsRule")) > MAX_CORS_RULES
    ):
        raise invalid_document()
    account = service.account(request.account)
    kept = parse(f"<X>{account.properties or DEFAULT_PROPERTIES}</X>".encode())
    for rule in root.findall("Cors/CorsRule"):
        rule[:] = sorted(rule, key=lambda item: _CORS_ORDER.get(item.tag, len(_CORS_ORDER)))
    sections = {child.tag: child for child in kept}
    sections |= {child.tag: child for child in root}
    account.properties = "".join(
        ElementTree.tostring(child, encoding="unicode") for child in sections.values()
    )
    service.store.save_account(account)
    return Answer(202)


def get_user_delegation_key(service: Service, request: Request) -> Answer:
    """Refuse: only OAuth may ask for such a key, and this emulator has no tenant."""
    detail = "Only authentication scheme Bearer is supported"
    raise ServiceError("AuthenticationFailed", extras={"AuthenticationErrorDetail": detail})


def get_share_acl(service: Service, request: Request) -> Answer:
    """Return the stored access policies."""
    share = read_share(service, request)
    entries = "".join(_policy_entry(policy) for policy in share.policies)
    body = (
        f"<SignedIdentifiers>{entries}</SignedIdentifiers>" if entries else "<SignedIdentifiers />"
    )
    return xml_answer(body, stamp_headers(share.modified))


def _policy_entry(policy: AccessPolicy) -> str:
    fields = (
        ("Start", policy.start),
        ("Expiry", policy.expiry),
        ("Permission", policy.permission),
    )
    inner = "".join(element(name, value) for name, value in fields if value)
    access = f"<AccessPolicy>{inner}</AccessPolicy>" if inner else "<AccessPolicy />"
    return f"<SignedIdentifier>{element('Id', policy.id)}{access}</SignedIdentifier>"


def set_share_acl(service: Service, request: Request) -> Answer:
    """Replace the stored access policies."""
    share = write_share(service, request)
    share.policies = _parse_policies(request)
    share.modified = service.clock.tick()
    service.store.save_share(share)
    return Answer(200, stamp_headers(share.modified))


def _parse_policies(request: Request) -> list[AccessPolicy]:
    if not len(request.body):
        return []
    root = parse(request.body)
    found = root.findall("SignedIdentifier")
    if root.tag != "SignedIdentifiers" or len(found) > MAX_POLICIES:
        raise invalid_document()
    policies = []
    for item in found:
        identifier = item.findtext("Id") or ""
        if not identifier or len(identifier) > 64:
            raise ServiceError(
                "InvalidXmlNodeValue", extras={"XmlNodeName": "Id", "XmlNodeValue": identifier}
            )
        policies.append(
            AccessPolicy(
                id=identifier,
                start=_policy_time(item, "Start"),
                expiry=_policy_time(item, "Expiry"),
                permission=item.findtext("AccessPolicy/Permission") or "",
            )
        )
    return policies


def _policy_time(item: ElementTree.Element, name: str) -> str:
    text = item.findtext(f"AccessPolicy/{name}") or ""
    try:
        return iso(sas_time(text)) if text else ""
    except ValueError:
        raise ServiceError(
            "InvalidXmlNodeValue", extras={"XmlNodeName": name, "XmlNodeValue": text}
        ) from None
