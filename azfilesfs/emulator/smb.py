"""The SMB properties of files and directories: what a request sets, what an answer shows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from azfilesfs.emulator.errors import ServiceError, invalid_header, missing_header
from azfilesfs.emulator.request import Request
from azfilesfs.emulator.shares import INHERITED_KEY, Share, permission_key
from azfilesfs.emulator.tree import Directory, Node
from azfilesfs.emulator.wire import attributes_text, iso, rfc1123
from azfilesfs.model.attributes import FileAttributes, parse_attributes
from azfilesfs.model.times import etag_of, parse_iso

SMB_SINCE: Final = "2019-02-02"
OPTIONAL_SINCE: Final = "2021-06-08"
"""Before it attributes, times and a permission were required; from it on Put Range sets times."""

_SDDL = re.compile(r"O:[^:]+G:[^:]+D:.+", re.DOTALL)
_PERMISSION_KEY = re.compile(r"\d+\*\d+")
MAX_PERMISSION_CHARACTERS: Final = 8192


@dataclass(frozen=True, slots=True)
class SmbChange:
    """What a request says of the SMB properties; None stands for not sent or ``preserve``.

    A time may be ``now`` (as the time of the change) already resolved.
    """

    attributes: FileAttributes | None = None
    creation: int | None = None
    last_write: int | None = None
    change: int | None = None
    permission_key: str | None = None


def parse_smb(request: Request, share: Share, now: int, source: Node | None = None) -> SmbChange:
    """Read the SMB headers.

    Args:
        request: the request.
        share: stores a permission given as text, and knows those given by key.
        now: what ``now`` means.
        source: what ``source`` means (Copy File).

    Raises:
        ServiceError: a value is malformed.
    """
    return SmbChange(
        attributes=_attributes(request, source),
        creation=_time(
            request, "x-ms-file-creation-time", now, source.creation if source else None
        ),
        last_write=_time(
            request, "x-ms-file-last-write-time", now, source.last_write if source else None
        ),
        change=_time(request, "x-ms-file-change-time", now, source.change if source else None),
        permission_key=_permission(request, share, source),
    )


def require_smb(request: Request) -> None:
    """Refuse a request of the versions that required these headers, where one is missing.

    Raises:
        ServiceError: MissingRequiredHeader.
    """
    if not SMB_SINCE <= request.version < OPTIONAL_SINCE:
        return
    for name in (
        "x-ms-file-attributes",
        "x-ms-file-creation-time",
        "x-ms-file-last-write-time",
    ):
        if not request.header(name):
            raise missing_header(name)
    if not (request.header("x-ms-file-permission") or request.header("x-ms-file-permission-key")):
        raise missing_header("x-ms-file-permission")


def _attributes(request: Request, source: Node | None) -> FileAttributes | None:
    text = request.header("x-ms-file-attributes")
    if text is None or text.lower() == "preserve":
        return None
    if source is not None and text.lower() == "source":
        return source.attributes
    try:
        return parse_attributes(text)
    except ValueError:
        raise invalid_header("x-ms-file-attributes", text) from None


def _time(request: Request, name: str, now: int, source: int | None) -> int | None:
    text = request.header(name)
    if text is None:
        return None
    word = text.lower()
    if word == "preserve":
        return None
    if word == "now":
        return now
    if word == "source" and source is not None:
        return source
    try:
        return parse_iso(text)
    except (ValueError, OverflowError):
        raise invalid_header(name, text) from None


def _permission(request: Request, share: Share, source: Node | None) -> str | None:
    key = request.header("x-ms-file-permission-key")
    text = request.header("x-ms-file-permission")
    if source is not None and request.headers.get("x-ms-file-permission-copy-mode") == "source":
        return source.permission_key
    if key is not None:
        if key.lower() == "preserve":
            return None
        if not _PERMISSION_KEY.fullmatch(key) or key not in share.permissions:
            raise ServiceError("FileInvalidPermissionKey")
        return key
    if text is None or text.lower() == "preserve":
        return None
    if text.lower() == "inherit":
        return INHERITED_KEY
    return store_permission(share, text)


def store_permission(share: Share, sddl: str) -> str:
    """Store a permission and return its key.

    Raises:
        ServiceError: FileInvalidPermission, where owner, group or DACL is missing.
    """
    if len(sddl) > MAX_PERMISSION_CHARACTERS * 8 or not _SDDL.fullmatch(sddl):
        raise ServiceError("FileInvalidPermission")
    key = permission_key(sddl)
    share.permissions[key] = sddl
    return key


def new_attributes(wanted: FileAttributes | None, *, is_directory: bool) -> FileAttributes:
    """Return the attributes of something created: Archive for files, Directory for directories."""
    forced = FileAttributes.DIRECTORY if is_directory else FileAttributes.ARCHIVE
    return (wanted or FileAttributes.NONE) | forced


def apply_smb(node: Node, change: SmbChange, now: int) -> None:
    """Change a node as Set Properties does: what was not sent stays, the ETag becomes now."""
    if change.attributes is not None:
        forced = FileAttributes.DIRECTORY if isinstance(node, Directory) else FileAttributes.NONE
        node.attributes = change.attributes | forced
    if change.creation is not None:
        node.creation = change.creation
    if change.last_write is not None:
        node.last_write = change.last_write
    if change.permission_key is not None:
        node.permission_key = change.permission_key
    node.change = now if change.change is None else change.change
    node.modified = now


def stamp_headers(modified: int) -> list[tuple[str, str]]:
    """Return ETag and Last-Modified."""
    return [("last-modified", rfc1123(modified)), ("etag", etag_of(modified))]


def smb_headers(node: Node, version: str) -> list[tuple[str, str]]:
    """Return the SMB properties as headers."""
    if version < SMB_SINCE:
        return []
    return [
        ("x-ms-file-permission-key", node.permission_key),
        ("x-ms-file-attributes", attributes_text(node.attributes)),
        ("x-ms-file-creation-time", iso(node.creation)),
        ("x-ms-file-last-write-time", iso(node.last_write)),
        ("x-ms-file-change-time", iso(node.change)),
        ("x-ms-file-id", str(node.id)),
        ("x-ms-file-parent-id", str(node.parent_id)),
    ]
