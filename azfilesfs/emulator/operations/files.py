"""Create, get, set and delete files."""

from __future__ import annotations

import hashlib
from dataclasses import fields
from typing import Final

from azfilesfs.emulator.answer import Answer
from azfilesfs.emulator.content import PIECE_BYTES, ContentSlice
from azfilesfs.emulator.errors import ServiceError, invalid_header
from azfilesfs.emulator.lookup import (
    Place,
    lease_id,
    read_file,
    refuse_read_only,
    write_file,
    write_place,
)
from azfilesfs.emulator.metadata import metadata_headers, parse_metadata
from azfilesfs.emulator.offload import OFFLOAD_BYTES
from azfilesfs.emulator.request import Request
from azfilesfs.emulator.shares import INHERITED_KEY, Service, Share
from azfilesfs.emulator.smb import (
    SmbChange,
    apply_smb,
    new_attributes,
    parse_smb,
    require_smb,
    smb_headers,
    stamp_headers,
)
from azfilesfs.emulator.tree import ContentHeaders, CopyRecord, Directory, File
from azfilesfs.emulator.wire import b64, rfc1123, unb64
from azfilesfs.model.attributes import FileAttributes
from azfilesfs.model.limits import FILE_BYTES, MD5_RANGE_BYTES, RANGE_BYTES
from azfilesfs.model.ranges import ByteRange, parse_range
from azfilesfs.model.versions import has_create_with_data

LEASES_SINCE: Final = "2019-02-02"
DEFAULT_TYPE: Final = "application/octet-stream"


def create_file(service: Service, request: Request) -> Answer:
    """Create or overwrite a file; with data from the version that has it."""
    place = write_place(service, request)
    existing = _may_replace(place, request)
    if request.headers.get("x-ms-type", "").lower() != "file":
        raise invalid_header("x-ms-type", request.headers.get("x-ms-type", ""))
    size = file_size(request.required("x-ms-content-length"), request)
    require_smb(request)
    headers = content_headers(request) or ContentHeaders()
    if headers.content_type is None:
        headers.content_type = request.header("content-type") or DEFAULT_TYPE
    metadata = parse_metadata(request)
    data = _data_of_create(request, size)
    now = service.clock.tick()
    change = parse_smb(request, place.share, now)
    if existing is not None:
        refuse_read_only(existing)
    file = put_file(service, place, change, now)
    if request.headers.get("x-ms-file-property-semantics", "").lower() == "restore":
        file.attributes = change.attributes or FileAttributes.NONE
    file.headers, file.metadata = headers, metadata
    resize_file(place.share, file, size)
    answer = Answer(201, stamp_headers(file.modified))
    answer.headers.append(("x-ms-request-server-encrypted", "true"))
    answer.headers += smb_headers(file, request.version)
    if data:
        file.content.write(0, request.body)
        file.mark_written(0, len(request.body))
        if request.wants_body_md5:
            answer.headers.append(("content-md5", b64(request.body_md5())))
    service.save(place.share, file)
    return answer


def _may_replace(place: Place, request: Request) -> File | None:
    if request.has_trailing_slash or place.parent is None:
        raise ServiceError("InvalidUri")
    sent = lease_id(request)
    if isinstance(place.node, Directory):
        raise ServiceError("ResourceTypeMismatch")
    if isinstance(place.node, File):
        if not request.grant.may_overwrite():
            raise ServiceError("AuthorizationPermissionMismatch")
        place.node.lease.check(sent, writes=True)
        return place.node
    if sent is not None:
        raise ServiceError("LeaseNotPresentWithFileOperation")
    return None


def _data_of_create(request: Request, size: int) -> bool:
    length = len(request.body)
    if not length:
        return False
    if not has_create_with_data(request.version):
        raise invalid_header("Content-Length", str(length))
    if length > RANGE_BYTES:
        raise ServiceError("RequestBodyTooLarge")
    if length > size:
        raise invalid_header("Content-Length", str(length))
    check_body_md5(request)
    return True


def put_file(service: Service, place: Place, change: SmbChange, now: int) -> File:
    """Put an empty file in place: a new one, or the old one, which keeps its id and lease."""
    creation = now if change.creation is None else change.creation
    file = place.node
    if not isinstance(file, File):
        if place.parent is None:
            raise ServiceError("InvalidUri")
        file = File(
            id=place.share.next_id(),
            name=place.path.name,
            parent=place.parent,
            attributes=FileAttributes.NONE,
            creation=creation,
            last_write=now,
            change=now,
            modified=creation,
            permission_key=INHERITED_KEY,
            size=0,
            content=service.contents.new(),
        )
        place.parent.add(file)
        service.store.save_share(place.share)
    else:
        place.share.used -= file.size
        file.content.discard()
        file.content, file.size = service.contents.new(), 0
        file.written.clear()
        file.epochs.clear()
        file.copy = None
    file.attributes = new_attributes(change.attributes, is_directory=False)
    file.creation, file.modified = creation, now if change.creation is None else creation
    file.last_write = now if change.last_write is None else change.last_write
    file.change = now if change.change is None else change.change
    file.permission_key = change.permission_key or INHERITED_KEY
    return file


def file_size(text: str, request: Request) -> int:
    """Return the size that ``x-ms-content-length`` asks for.

    Raises:
        ServiceError: it is not a number, or beyond the limit.
    """
    size = request.number("x-ms-content-length")
    if size is None:
        raise invalid_header("x-ms-content-length", text)
    if not 0 <= size <= FILE_BYTES:
        raise ServiceError("OutOfRangeInput")
    return size


def resize_file(share: Share, file: File, size: int) -> None:
    """Resize a file and keep the share's account of used bytes."""
    share.used += size - file.size
    file.resize(size)


def content_headers(request: Request) -> ContentHeaders | None:
    """Return the group of HTTP properties that a request sets, None where it sets none of them.

    Raises:
        ServiceError: the MD5 is not one.
    """
    values = {
        item.name: request.headers.get("x-ms-" + item.name.replace("_", "-"))
        for item in fields(ContentHeaders)
    }
    if all(value is None for value in values.values()):
        return None
    md5 = values["content_md5"]
    # The service stores any base64 here, of whatever length.
    if md5 and unb64(md5) is None:
        raise ServiceError("InvalidMd5")
    return ContentHeaders(**{name: value or None for name, value in values.items()})


def check_body_md5(request: Request) -> None:
    """Compare the body with ``Content-MD5``, where it is sent.

    Raises:
        ServiceError: InvalidMd5 or Md5Mismatch.
    """
    sent = request.header("content-md5")
    if sent is None:
        return
    if len(unb64(sent) or b"") != 16:
        raise ServiceError("InvalidMd5")
    actual = b64(request.body_md5())
    if actual != sent:
        extras = {"UserSpecifiedMd5": sent, "ServerCalculatedMd5": actual}
        raise ServiceError("Md5Mismatch", extras=extras)


def delete_file(service: Service, request: Request) -> Answer:
    """Delete a file."""
    share, file = write_file(service, request)
    refuse_read_only(file)
    if file.parent is not None:
        file.parent.remove(file)
    service.forget(share, file)
    service.store.save_share(share)
    return Answer(202)


def set_file_properties(service: Service, request: Request) -> Answer:
    """Set size, HTTP properties and SMB properties."""
    share, file = write_file(service, request)
    require_smb(request)
    text = request.header("x-ms-content-length")
    size = None if text is None else file_size(text, request)
    headers = content_headers(request)
    now = service.clock.tick()
    change = parse_smb(request, share, now)
    stays_read_only = change.attributes is None or change.attributes & FileAttributes.READ_ONLY
    if size is not None and stays_read_only:
        refuse_read_only(file)
    if size is not None:
        resize_file(share, file, size)
    if headers is not None:
        file.headers = headers
    elif size is None:
        # Recorded: a request without size and HTTP properties clears the latter all the same.
        file.headers = ContentHeaders()
    apply_smb(file, change, now)
    service.save(share, file)
    if size is not None:
        service.store.save_share(share)
    answer = Answer(200, stamp_headers(file.modified))
    answer.headers.append(("x-ms-request-server-encrypted", "true"))
    answer.headers += smb_headers(file, request.version)
    return answer


def settle_copy(service: Service, share: Share, file: File) -> None:
    """Complete a pending copy whose time has come."""
    record = file.copy
    if record is not None and record.status == "pending" and service.clock.now() >= record.done:
        record.status, record.progress = "success", record.total
        service.save(share, file)


def property_headers(file: File, request: Request) -> list[tuple[str, str]]:
    """Return the headers that Get File and Get File Properties share."""
    headers = stamp_headers(file.modified)
    headers += metadata_headers(file.metadata)
    shown = dict(request.grant.overrides)
    for name, value in (
        ("content-type", file.headers.content_type),
        ("content-encoding", file.headers.content_encoding),
        ("content-language", file.headers.content_language),
        ("content-disposition", file.headers.content_disposition),
        ("cache-control", file.headers.cache_control),
    ):
        if name in shown or value is not None:
            headers.append((name, shown.get(name, value or "")))
    headers += [("x-ms-type", "File"), ("x-ms-server-encrypted", "true")]
    headers += smb_headers(file, request.version)
    if request.version >= LEASES_SINCE and request.snapshot is None:
        headers += file.lease.headers()
    if file.copy is not None:
        headers += _copy_headers(file.copy)
    return headers


def _copy_headers(record: CopyRecord) -> list[tuple[str, str]]:
    headers = [
        ("x-ms-copy-id", record.id),
        ("x-ms-copy-source", record.source),
        ("x-ms-copy-status", record.status),
        ("x-ms-copy-progress", f"{record.progress}/{record.total}"),
    ]
    if record.status != "pending":
        headers.append(("x-ms-copy-completion-time", rfc1123(record.done)))
    if record.description:
        headers.append(("x-ms-copy-status-description", record.description))
    return headers


def get_file_properties(service: Service, request: Request) -> Answer:
    """Return all properties as headers."""
    if len(request.segments) == 1:
        raise ServiceError("InvalidUri")
    share, file = read_file(service, request)
    settle_copy(service, share, file)
    headers = property_headers(file, request)
    if file.headers.content_md5 is not None:
        headers.append(("content-md5", file.headers.content_md5))
    return Answer(200, headers, content_length=file.size)


def get_file(service: Service, request: Request) -> Answer:
    """Return the content, whole or a range of it."""
    if len(request.segments) == 1:
        raise ServiceError("InvalidUri")
    share, file = read_file(service, request)
    settle_copy(service, share, file)
    headers = property_headers(file, request)
    headers.append(("accept-ranges", "bytes"))
    wants_md5 = request.flag("x-ms-range-get-content-md5")
    name = "x-ms-range" if request.header("x-ms-range") else "range"
    text = request.header(name)
    if text is None:
        if wants_md5:
            raise invalid_header("x-ms-range-get-content-md5", "true")
        if file.headers.content_md5 is not None:
            headers.append(("content-md5", file.headers.content_md5))
        return _content_answer(200, headers, file, ByteRange(0, file.size), request)
    part = readable_range(name, text, file)
    if wants_md5 and part.length > MD5_RANGE_BYTES:
        raise ServiceError("OutOfRangeInput")
    headers.append(("content-range", f"bytes {part.start}-{part.stop - 1}/{file.size}"))
    if file.headers.content_md5 is not None:
        headers.append(("x-ms-content-md5", file.headers.content_md5))
    answer = _content_answer(206, headers, file, part, request)
    if wants_md5 and isinstance(answer.body, bytes):
        digest = hashlib.md5(answer.body, usedforsecurity=False).digest()
        headers.append(("content-md5", b64(digest)))
    return answer


def readable_range(name: str, text: str, file: File) -> ByteRange:
    """Return the range to read, cut at the end of the file.

    Raises:
        ServiceError: InvalidRange, with the size in Content-Range; InvalidHeaderValue.
    """
    try:
        wanted = parse_range(text, file.size)
    except ValueError:
        raise invalid_header(name, text) from None
    if wanted.start >= file.size:
        raise ServiceError("InvalidRange", headers={"content-range": f"bytes */{file.size}"})
    return ByteRange(wanted.start, min(wanted.stop, file.size))


def _content_answer(
    status: int,
    headers: list[tuple[str, str]],
    file: File,
    part: ByteRange,
    request: Request,
) -> Answer:
    passes_by = request.is_offloaded and "x-ms-range-get-content-md5" not in request.headers
    if part.length <= (OFFLOAD_BYTES if passes_by else PIECE_BYTES):
        body = file.content.read(part.start, part.stop)
        return Answer(status, headers, body, len(body))
    if passes_by:
        file.content.reach(file.size, *part)
    return Answer(status, headers, ContentSlice(file.content, part.start, part.length), part.length)
