"""Copies inside the service: Copy File, its abort, and Put Range From URL."""

from __future__ import annotations

import uuid
from dataclasses import replace

from azfilesfs.emulator.answer import Answer
from azfilesfs.emulator.auth_sas import check_token
from azfilesfs.emulator.crc64 import crc64
from azfilesfs.emulator.errors import ServiceError, invalid_header, invalid_query
from azfilesfs.emulator.lookup import (
    Place,
    find,
    lease_id,
    refuse_read_only,
    write_file,
    write_place,
)
from azfilesfs.emulator.metadata import parse_metadata
from azfilesfs.emulator.operations.files import put_file, resize_file
from azfilesfs.emulator.operations.ranges import (
    keeps_time,
    refuse_past_end,
    touch_content,
    wanted_range,
)
from azfilesfs.emulator.operations.snapshots import vars_of
from azfilesfs.emulator.request import Request
from azfilesfs.emulator.shares import Service
from azfilesfs.emulator.smb import OPTIONAL_SINCE, parse_smb, stamp_headers
from azfilesfs.emulator.sources import (
    SourceUrl,
    parse_source,
    refuse_unverified,
    source_token,
)
from azfilesfs.emulator.tree import ContentHeaders, CopyRecord, Directory, File
from azfilesfs.emulator.wire import b64, iso, unb64
from azfilesfs.model.limits import FILE_BYTES, RANGE_BYTES
from azfilesfs.model.ranges import ByteRange, parse_range
from azfilesfs.model.times import NS_PER_SECOND

_SOURCE = "x-ms-copy-source"


def copy_file(service: Service, request: Request) -> Answer:
    """Copy a file over another or to a new name."""
    place = write_place(service, request)
    _refuse_target(request, place)
    source_url = parse_source(request, _SOURCE, service.accounts)
    source = _source_file(service, request, source_url, needs_sas=False)
    metadata = parse_metadata(request) or dict(source.metadata)
    now = service.clock.tick()
    change = parse_smb(request, place.share, now, source)
    headers = ContentHeaders(**vars_of(source.headers))
    content, written, size = source.content.clone(), source.written.copy(), source.size
    file = put_file(service, place, replace(change, creation=None), now)
    file.content.discard()
    file.content, file.written, file.headers, file.metadata = content, written, headers, metadata
    resize_file(place.share, file, size)
    file.creation = now if change.creation is None else change.creation
    if change.attributes is not None and not request.flag("x-ms-file-copy-set-archive"):
        file.attributes = change.attributes
    done = now + round(service.options.copy_seconds * NS_PER_SECOND)
    pending = service.options.copy_seconds > 0
    file.copy = CopyRecord(
        id=str(uuid.uuid4()),
        source=request.headers[_SOURCE].partition("?")[0],
        status="pending" if pending else "success",
        progress=0 if pending else size,
        total=size,
        done=done,
    )
    service.save(place.share, file)
    service.store.save_share(place.share)
    headers_sent = stamp_headers(file.modified)
    headers_sent += [("x-ms-copy-id", file.copy.id), ("x-ms-copy-status", file.copy.status)]
    return Answer(202, headers_sent)


def _refuse_target(request: Request, place: Place) -> None:
    sent = lease_id(request)
    if place.parent is None:
        raise ServiceError("InvalidUri")
    if isinstance(place.node, Directory):
        raise ServiceError("ResourceTypeMismatch")
    if not isinstance(place.node, File):
        if sent is not None:
            raise ServiceError("LeaseNotPresentWithFileOperation")
        return
    if not request.grant.may_overwrite():
        raise ServiceError("AuthorizationPermissionMismatch")
    place.node.lease.check(sent, writes=True)
    if not request.flag("x-ms-file-copy-ignore-readonly"):
        refuse_read_only(place.node)
    if place.node.copy is not None and place.node.copy.status == "pending":
        raise ServiceError("PendingCopyOperation")


def _source_file(service: Service, request: Request, source: SourceUrl, *, needs_sas: bool) -> File:
    """Return the file to copy from, where the request may read it.

    Raises:
        ServiceError: CannotVerifyCopySource with the status that reading it would have.
    """
    if "x-ms-copy-source-authorization" in request.headers:
        raise refuse_unverified(401)
    try:
        if "sig" in source.query:
            grant = check_token(service, source_token(service, request, source))
            if "r" not in grant.permissions or "o" not in (grant.resource_types or "o"):
                raise ServiceError("AuthorizationPermissionMismatch")
        elif needs_sas or not request.grant.is_key or source.account != request.account:
            raise ServiceError("AuthenticationFailed")
        share = service.share(source.account, source.share, source.snapshot)
        return find(share, source.path).file(writes=False)
    except ServiceError as error:
        raise refuse_unverified(error.status, error.message) from None


def abort_copy(service: Service, request: Request) -> Answer:
    """Abort a pending copy, leaving an empty file."""
    share, file = write_file(service, request)
    if request.headers.get("x-ms-copy-action", "").lower() != "abort":
        raise invalid_header("x-ms-copy-action", request.headers.get("x-ms-copy-action", ""))
    record = file.copy
    if record is None or record.status != "pending" or service.clock.now() >= record.done:
        raise ServiceError("NoPendingCopyOperation")
    if request.query.get("copyid") != record.id:
        raise invalid_query("copyid", request.query.get("copyid", ""))
    resize_file(share, file, 0)
    file.modified = service.clock.tick()
    file.copy = replace(record, status="aborted", done=file.modified)
    service.save(share, file)
    service.store.save_share(share)
    return Answer(204, content_length=None)


def put_range_from_url(service: Service, request: Request) -> Answer:
    """Write a range with bytes of another file."""
    share, file = write_file(service, request)
    part = wanted_range(request)
    if request.required("x-ms-write").lower() != "update":
        raise invalid_header("x-ms-write", request.headers["x-ms-write"])
    if part.length > RANGE_BYTES:
        raise ServiceError("RequestBodyTooLarge")
    keeps_last_write = keeps_time(request)
    source_url = parse_source(request, _SOURCE, service.accounts)
    data = _source_bytes(service, request, source_url, part)
    checksum = b64(crc64(data).to_bytes(8, "little"))
    _check_crc(request, checksum)
    refuse_read_only(file)
    refuse_past_end(part, file)
    file.content.write(part.start, data)
    file.mark_written(*part)
    touch_content(service, request, file, keeps_last_write=keeps_last_write)
    service.save(share, file)
    headers = stamp_headers(file.modified)
    headers += [("x-ms-content-crc64", checksum), ("x-ms-request-server-encrypted", "true")]
    if request.version >= OPTIONAL_SINCE:
        headers.append(("x-ms-file-last-write-time", iso(file.last_write)))
    return Answer(201, headers)


def _source_bytes(
    service: Service, request: Request, source_url: SourceUrl, part: ByteRange
) -> bytes:
    source = _source_file(service, request, source_url, needs_sas=True)
    text = request.header("x-ms-source-range")
    try:
        wanted = ByteRange(0, source.size) if text is None else parse_range(text, FILE_BYTES)
    except ValueError:
        raise invalid_header("x-ms-source-range", text or "") from None
    if text is not None and text.endswith("-"):
        wanted = ByteRange(wanted.start, source.size)
    if wanted.length != part.length:
        raise invalid_header("x-ms-source-range", text or "")
    if wanted.stop > source.size:
        raise refuse_unverified(409, "The source does not have the requested bytes.")
    return source.content.read(*wanted)


def _check_crc(request: Request, checksum: str) -> None:
    expected = request.header("x-ms-source-content-crc64")
    wanted = request.header("x-ms-source-if-match-crc64")
    unwanted = request.header("x-ms-source-if-none-match-crc64")
    for value in (expected, wanted, unwanted):
        if value is not None and len(unb64(value) or b"") != 8:
            raise invalid_header("x-ms-source-content-crc64", value)
    if expected is not None and expected != checksum:
        raise ServiceError("Crc64Mismatch")
    if (wanted is not None and wanted != checksum) or unwanted == checksum:
        extras = {"UserSpecifiedCrc": wanted or unwanted or "", "ServerCalculatedCrc": checksum}
        raise ServiceError("Crc64ConditionNotMet", extras=extras)
