"""From the headers of an answer to what it says; what is missing or garbled is a ProtocolError."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar

from azfilesfs.client.listing import quoted_etag
from azfilesfs.client.transport import WireAnswer, WireStream
from azfilesfs.client.xml_documents import Element
from azfilesfs.errors import ProtocolError
from azfilesfs.model.attributes import parse_attributes
from azfilesfs.model.properties import (
    UNKNOWN_SIZE,
    ContentHeaders,
    CopyState,
    EntryKind,
    LeaseInfo,
    ListedEntry,
    Properties,
)
from azfilesfs.model.ranges import ByteRange
from azfilesfs.model.times import parse_iso, parse_rfc1123

T = TypeVar("T")
Answer = WireAnswer | WireStream


@dataclass(frozen=True, slots=True)
class FileContent:
    """Bytes of a file.

    Attributes:
        data: the bytes of ``byte_range``.
        properties: of the file at that moment; ``size`` is that of the whole file.
        byte_range: what was read, cut at the end of the file.
    """

    data: bytes | memoryview
    properties: Properties
    byte_range: ByteRange


@dataclass(frozen=True, slots=True)
class RangeWritten:
    """What Put Range answers; ``last_write_time_ns`` is None where the service does not say."""

    etag: str
    last_modified_ns: int
    last_write_time_ns: int | None


@dataclass(frozen=True, slots=True)
class RangeList:
    """The written ranges of a file, sorted; what lies between them reads as zeros."""

    ranges: tuple[ByteRange, ...]
    etag: str
    file_size: int


@dataclass(frozen=True, slots=True)
class FileLease:
    """A lease that is held, the ETag, and the service's clock at the answer (whole seconds)."""

    lease_id: str
    etag: str
    service_time_ns: int


@dataclass(frozen=True, slots=True)
class ListPage:
    """One page of a listing.

    Attributes:
        entries: in the service's order, names as stored, not checked.
        next_marker: pass it to get the next page; None on the last one.
        directory_id: file id of the directory, None where the service version has none.
        service_time_ns: the service's clock when it answered, in whole seconds.
    """

    entries: tuple[ListedEntry, ...]
    next_marker: str | None
    directory_id: int | None
    service_time_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareProperties:
    """Properties of a share; fields that the service version does not send are None."""

    quota_gib: int
    etag: str
    last_modified_ns: int
    metadata: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    lease: LeaseInfo = field(default_factory=LeaseInfo)
    access_tier: str | None = None
    enabled_protocols: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareItem:
    """A share as List Shares shows it."""

    name: str
    quota_gib: int
    etag: str
    last_modified_ns: int
    snapshot: str | None = None
    is_deleted: bool = False
    metadata: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    lease: LeaseInfo = field(default_factory=LeaseInfo)


def optional(headers: Mapping[str, str], name: str, parse: Callable[[str], T]) -> T | None:
    """Return a header as parsed, None where it is absent or empty.

    Raises:
        ProtocolError: it cannot be parsed.
    """
    text = headers.get(name)
    if not text:
        return None
    try:
        return parse(text)
    except (ValueError, OverflowError) as error:
        raise ProtocolError(f"the answer's {name} cannot be read") from error


def required(headers: Mapping[str, str], name: str, parse: Callable[[str], T]) -> T:
    """Return a header as parsed.

    Raises:
        ProtocolError: it is absent, empty or cannot be parsed.
    """
    value = optional(headers, name, parse)
    if value is None:
        raise ProtocolError(f"the answer has no {name}")
    return value


def number(text: str) -> int:
    """Read a non-negative decimal number of at most 64 bits.

    Raises:
        ValueError: it is not one.
    """
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        raise ValueError("not a number")
    return int(text)


def md5_of(text: str) -> bytes:
    """Read a base64 MD5.

    Raises:
        ValueError: it is not base64.
    """
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("not base64") from None


def etag_of_answer(headers: Mapping[str, str]) -> str:
    """Return the ETag.

    Raises:
        ProtocolError: there is none.
    """
    return required(headers, "etag", quoted_etag)


def service_time(headers: Mapping[str, str]) -> int:
    """Return the service's clock (``Date``).

    Raises:
        ProtocolError: there is none.
    """
    return required(headers, "date", parse_rfc1123)


def metadata_of(answer: Answer) -> Mapping[str, str]:
    """Return the metadata of an answer, names as spelled on the wire."""
    prefix = "x-ms-meta-"
    return MappingProxyType(
        {
            name[len(prefix) :]: value
            for name, value in answer.raw_headers
            if name.lower().startswith(prefix)
        }
    )


def lease_of(headers: Mapping[str, str]) -> LeaseInfo:
    """Return the lease headers of an answer."""
    return LeaseInfo(
        state=headers.get("x-ms-lease-state"),
        status=headers.get("x-ms-lease-status"),
        duration=headers.get("x-ms-lease-duration"),
    )


def copy_of(headers: Mapping[str, str]) -> CopyState | None:
    """Return the last copy onto a file, None where there was none."""
    copy_id = headers.get("x-ms-copy-id")
    status = headers.get("x-ms-copy-status")
    if not copy_id or not status:
        return None
    return CopyState(
        copy_id=copy_id,
        status=status,
        source=headers.get("x-ms-copy-source"),
        progress=headers.get("x-ms-copy-progress"),
        description=headers.get("x-ms-copy-status-description"),
    )


def _content_of(headers: Mapping[str, str], *, is_partial: bool) -> ContentHeaders:
    # The plain Content-MD5 of a partial answer is that of the range.
    md5_name = "x-ms-content-md5" if is_partial else "content-md5"
    return ContentHeaders(
        content_type=headers.get("content-type"),
        content_encoding=headers.get("content-encoding"),
        content_language=headers.get("content-language"),
        content_disposition=headers.get("content-disposition"),
        cache_control=headers.get("cache-control"),
        content_md5=optional(headers, md5_name, md5_of),
    )


def properties_of(
    answer: Answer, kind: EntryKind, *, size: int = UNKNOWN_SIZE, shows_file: bool = False
) -> Properties:
    """Return what an answer says of a file or directory.

    Args:
        answer: of any operation that answers with the ``x-ms-file-`` headers.
        kind: what it is about.
        size: of the whole file, which only the caller can tell; directories have 0.
        shows_file: whether the answer is that of a read (GET or HEAD of a file), whose plain
            headers describe the file.

    Raises:
        ProtocolError: it has no ETag, or a value cannot be read.
    """
    headers = answer.headers
    is_partial = answer.status == 206
    return Properties(
        kind=kind,
        size=0 if kind is EntryKind.DIRECTORY else size,
        etag=etag_of_answer(headers),
        last_modified_ns=optional(headers, "last-modified", parse_rfc1123),
        file_id=optional(headers, "x-ms-file-id", number),
        parent_id=optional(headers, "x-ms-file-parent-id", number),
        creation_time_ns=optional(headers, "x-ms-file-creation-time", parse_iso),
        last_write_time_ns=optional(headers, "x-ms-file-last-write-time", parse_iso),
        change_time_ns=optional(headers, "x-ms-file-change-time", parse_iso),
        attributes=optional(headers, "x-ms-file-attributes", parse_attributes),
        permission_key=headers.get("x-ms-file-permission-key"),
        metadata=metadata_of(answer),
        content=_content_of(headers, is_partial=is_partial) if shows_file else ContentHeaders(),
        lease=lease_of(headers),
        copy=copy_of(headers) if shows_file else None,
    )


def shown_properties(answer: Answer, kind: EntryKind, *, size: int = UNKNOWN_SIZE) -> Properties:
    """Return the properties of a read, which must be complete.

    Raises:
        ProtocolError: the file id or one of the times is missing.
    """
    properties = properties_of(answer, kind, size=size, shows_file=kind is EntryKind.FILE)
    if (
        properties.file_id is None
        or properties.change_time_ns is None
        or properties.last_write_time_ns is None
    ):
        raise ProtocolError("the answer lacks the file id or a time")
    return properties


def shown_file(answer: Answer) -> Properties:
    """Return the properties that the HEAD of a file shows.

    Raises:
        ProtocolError: the size, the file id or one of the times is missing.
    """
    size = required(answer.headers, "content-length", number)
    return shown_properties(answer, EntryKind.FILE, size=size)


def shown_directory(answer: Answer) -> Properties:
    """Return the properties of a directory as its own read shows them.

    Raises:
        ProtocolError: the file id or one of the times is missing.
    """
    return shown_properties(answer, EntryKind.DIRECTORY)


def changed_directory(answer: Answer) -> Properties:
    """Return what the answer to a change of a directory says of it.

    Raises:
        ProtocolError: it has no ETag.
    """
    return properties_of(answer, EntryKind.DIRECTORY)


def changed_file(size: int = UNKNOWN_SIZE) -> Callable[[Answer], Properties]:
    """Return what reads the answer to a change of a file, whose size only the caller can tell.

    Raises:
        ProtocolError: when called, if the answer has no ETag.
    """

    def read(answer: Answer) -> Properties:
        return properties_of(answer, EntryKind.FILE, size=size)

    return read


def share_properties_of(answer: Answer) -> ShareProperties:
    """Return the properties of a share.

    Raises:
        ProtocolError: a header is missing or garbled.
    """
    headers = answer.headers
    return ShareProperties(
        quota_gib=required(headers, "x-ms-share-quota", number),
        etag=etag_of_answer(headers),
        last_modified_ns=required(headers, "last-modified", parse_rfc1123),
        metadata=metadata_of(answer),
        lease=lease_of(headers),
        access_tier=headers.get("x-ms-access-tier"),
        enabled_protocols=headers.get("x-ms-enabled-protocols"),
    )


def share_item_of(element: Element) -> ShareItem:
    """Return one share of a listing.

    Raises:
        ProtocolError: its name or a property is missing or garbled.
    """
    shown = element.find("Properties") or Element("Properties")
    fields = {child.name.lower(): child.text for child in shown.children}
    name = element.text_of("Name")
    if name is None:
        raise ProtocolError("a share of the listing has no name")
    metadata = element.find("Metadata")
    return ShareItem(
        name=name,
        quota_gib=required(fields, "quota", number),
        etag=required(fields, "etag", quoted_etag),
        last_modified_ns=required(fields, "last-modified", parse_rfc1123),
        snapshot=element.text_of("Snapshot"),
        is_deleted=element.text_of("Deleted") == "true",
        metadata=MappingProxyType(
            {child.name: child.text for child in metadata.children} if metadata else {}
        ),
        lease=LeaseInfo(
            state=fields.get("leasestate"),
            status=fields.get("leasestatus"),
            duration=fields.get("leaseduration"),
        ),
    )
