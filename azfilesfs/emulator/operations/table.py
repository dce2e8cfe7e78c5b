"""Which operation a request means: by level, method, ``restype`` and ``comp``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from azfilesfs.emulator.answer import Answer
from azfilesfs.emulator.errors import ServiceError, invalid_query
from azfilesfs.emulator.grants import Level, Need
from azfilesfs.emulator.operations import (
    copy,
    directories,
    files,
    lease_file,
    lease_share,
    listing,
    metadata,
    ranges,
    rename,
    service,
    shares,
    snapshots,
)
from azfilesfs.emulator.request import Request
from azfilesfs.emulator.shares import Service

Handler = Callable[[Service, Request], Answer]
Key = tuple[Level, str, str, str]


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation: its name in the REST reference, what does it, what it needs."""

    name: str
    handler: Handler
    need: Need


_READ = Need(Level.OBJECT, "r")
_WRITE = Need(Level.OBJECT, "w")
_CREATE = Need(Level.OBJECT, "cw")
_DELETE = Need(Level.OBJECT, "d")
_LIST = Need(Level.SHARE, "l")
_READ_SHARE = Need(Level.SHARE, "r", service_sas=False)
_WRITE_SHARE = Need(Level.SHARE, "w", service_sas=False)
_CREATE_SHARE = Need(Level.SHARE, "cw", service_sas=False)
_DELETE_SHARE = Need(Level.SHARE, "d", service_sas=False)
_LIST_SHARES = Need(Level.SERVICE, "l", service_sas=False)
_READ_SERVICE = Need(Level.SERVICE, "r", service_sas=False)
_WRITE_SERVICE = Need(Level.SERVICE, "w", service_sas=False)
_S, _C, _O = Level.SERVICE, Level.SHARE, Level.OBJECT

_ROWS: Final[tuple[tuple[Key, str, Handler, Need], ...]] = (
    ((_S, "GET", "", "list"), "ListShares", service.list_shares, _LIST_SHARES),
    (
        (_S, "GET", "service", "properties"),
        "GetFileServiceProperties",
        service.get_service_properties,
        _READ_SERVICE,
    ),
    (
        (_S, "PUT", "service", "properties"),
        "SetFileServiceProperties",
        service.set_service_properties,
        _WRITE_SERVICE,
    ),
    (
        (_S, "POST", "service", "userdelegationkey"),
        "GetUserDelegationKey",
        service.get_user_delegation_key,
        _READ_SERVICE,
    ),
    ((_C, "PUT", "share", ""), "CreateShare", shares.create_share, _CREATE_SHARE),
    ((_C, "GET", "share", ""), "GetShareProperties", shares.get_share_properties, _READ_SHARE),
    ((_C, "DELETE", "share", ""), "DeleteShare", snapshots.delete_share, _DELETE_SHARE),
    (
        (_C, "PUT", "share", "properties"),
        "SetShareProperties",
        shares.set_share_properties,
        _WRITE_SHARE,
    ),
    ((_C, "GET", "share", "metadata"), "GetShareMetadata", shares.get_share_metadata, _READ_SHARE),
    ((_C, "PUT", "share", "metadata"), "SetShareMetadata", shares.set_share_metadata, _WRITE_SHARE),
    ((_C, "GET", "share", "acl"), "GetShareACL", service.get_share_acl, _READ_SHARE),
    ((_C, "PUT", "share", "acl"), "SetShareACL", service.set_share_acl, _WRITE_SHARE),
    ((_C, "GET", "share", "stats"), "GetShareStats", shares.get_share_stats, _READ_SHARE),
    ((_C, "PUT", "share", "snapshot"), "SnapshotShare", snapshots.snapshot_share, _CREATE_SHARE),
    ((_C, "PUT", "share", "undelete"), "RestoreShare", snapshots.restore_share, _WRITE_SHARE),
    ((_C, "PUT", "share", "lease"), "LeaseShare", lease_share.lease_share, _WRITE_SHARE),
    (
        (_C, "PUT", "share", "filepermission"),
        "CreatePermission",
        shares.create_permission,
        _CREATE_SHARE,
    ),
    ((_C, "GET", "share", "filepermission"), "GetPermission", shares.get_permission, _READ_SHARE),
    ((_O, "PUT", "directory", ""), "CreateDirectory", directories.create_directory, _CREATE),
    (
        (_O, "GET", "directory", ""),
        "GetDirectoryProperties",
        directories.get_directory_properties,
        _READ,
    ),
    ((_O, "DELETE", "directory", ""), "DeleteDirectory", directories.delete_directory, _DELETE),
    (
        (_O, "PUT", "directory", "properties"),
        "SetDirectoryProperties",
        directories.set_directory_properties,
        _WRITE,
    ),
    (
        (_O, "GET", "directory", "metadata"),
        "GetDirectoryMetadata",
        metadata.get_directory_metadata,
        _READ,
    ),
    (
        (_O, "PUT", "directory", "metadata"),
        "SetDirectoryMetadata",
        metadata.set_directory_metadata,
        _WRITE,
    ),
    (
        (_O, "GET", "directory", "list"),
        "ListDirectoriesAndFiles",
        listing.list_directories_and_files,
        _LIST,
    ),
    ((_O, "PUT", "directory", "rename"), "RenameDirectory", rename.rename_directory, _WRITE),
    ((_O, "PUT", "", ""), "CreateFile", files.create_file, _CREATE),
    ((_O, "GET", "", ""), "GetFile", files.get_file, _READ),
    ((_O, "HEAD", "", ""), "GetFileProperties", files.get_file_properties, _READ),
    ((_O, "DELETE", "", ""), "DeleteFile", files.delete_file, _DELETE),
    ((_O, "PUT", "", "properties"), "SetFileProperties", files.set_file_properties, _WRITE),
    ((_O, "GET", "", "metadata"), "GetFileMetadata", metadata.get_file_metadata, _READ),
    ((_O, "PUT", "", "metadata"), "SetFileMetadata", metadata.set_file_metadata, _WRITE),
    ((_O, "PUT", "", "range"), "PutRange", ranges.put_range, _WRITE),
    ((_O, "GET", "", "rangelist"), "ListRanges", ranges.list_ranges, _READ),
    ((_O, "PUT", "", "lease"), "LeaseFile", lease_file.lease_file, _WRITE),
    ((_O, "PUT", "", "rename"), "RenameFile", rename.rename_file, _WRITE),
    ((_O, "PUT", "", "copy"), "AbortCopyFile", copy.abort_copy, _WRITE),
    ((_O, "GET", "", "listhandles"), "ListHandles", listing.list_handles, _LIST),
    (
        (_O, "PUT", "", "forceclosehandles"),
        "ForceCloseHandles",
        listing.force_close_handles,
        _WRITE,
    ),
)

OPERATIONS: Final[Mapping[Key, Operation]] = MappingProxyType(
    {key: Operation(name, handler, need) for key, name, handler, need in _ROWS}
)
COPY_FILE: Final = Operation("CopyFile", copy.copy_file, _CREATE)
PUT_RANGE_FROM_URL: Final = Operation("PutRangeFromURL", copy.put_range_from_url, _WRITE)

# HEAD works wherever a GET answers with headers only.
_HEAD_ALIASES: Final = MappingProxyType(
    {
        (level, "HEAD", kind, comp): (level, "GET", kind, comp)
        for level, kind, comp in (
            (_C, "share", ""),
            (_C, "share", "metadata"),
            (_O, "directory", ""),
            (_O, "directory", "metadata"),
            (_O, "", "metadata"),
        )
    }
)


def find_operation(request: Request) -> Operation:
    """Return the operation that a request means.

    Raises:
        ServiceError: there is none.
    """
    kind = request.query.get("restype", "")
    comp = request.query.get("comp", "")
    level = _level(request, kind)
    key = (level, request.method, kind, comp)
    operation = OPERATIONS.get(_HEAD_ALIASES.get(key, key))
    if operation is None:
        raise _unknown(key)
    if "x-ms-copy-source" in request.headers:
        if operation.name == "CreateFile":
            return COPY_FILE
        if operation.name == "PutRange":
            return PUT_RANGE_FROM_URL
    return operation


def _level(request: Request, kind: str) -> Level:
    if not request.segments:
        return Level.SERVICE
    if kind == "share":
        return Level.SHARE
    return Level.OBJECT


def _unknown(key: Key) -> ServiceError:
    level, _, kind, comp = key
    known = {row[2:] for row in OPERATIONS if row[0] is level}
    if (kind, comp) in known:
        return ServiceError("UnsupportedHttpVerb")
    return invalid_query("restype", comp or kind) if comp or kind else ServiceError("InvalidUri")
