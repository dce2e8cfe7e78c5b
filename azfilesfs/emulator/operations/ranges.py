"""Put, clear and list the ranges of a file."""

from __future__ import annotations

import base64
from collections.abc import Iterator

from azfilesfs.emulator.answer import Answer, xml_answer
from azfilesfs.emulator.errors import ServiceError, invalid_header, invalid_query, missing_header
from azfilesfs.emulator.lookup import read_file, refuse_read_only, write_file
from azfilesfs.emulator.operations.files import check_body_md5
from azfilesfs.emulator.request import Request
from azfilesfs.emulator.shares import Service
from azfilesfs.emulator.smb import OPTIONAL_SINCE, stamp_headers
from azfilesfs.emulator.tree import SECTOR, File
from azfilesfs.emulator.wire import b64, iso, unb64
from azfilesfs.model.limits import FILE_BYTES, RANGE_BYTES
from azfilesfs.model.ranges import ByteRange, parse_range
from azfilesfs.model.versions import PAGED_RANGES_SINCE

RANGES_PER_PAGE = 10_000


def put_range(service: Service, request: Request) -> Answer:
    """Write or clear a range inside a file."""
    share, file = write_file(service, request)
    part = wanted_range(request)
    action = request.required("x-ms-write").lower()
    if action not in {"update", "clear"}:
        raise invalid_header("x-ms-write", action)
    keeps_last_write = keeps_time(request)
    if action == "update":
        _check_body(request, part)
    elif len(request.body):
        raise invalid_header("Content-Length", str(len(request.body)))
    refuse_read_only(file)
    refuse_past_end(part, file)
    if action == "update":
        if request.body_file is not None:
            file.content.adopt(part.start, request.body_file)
        else:
            file.content.write(part.start, request.body)
        file.mark_written(*part)
    else:
        _clear(file, part)
    touch_content(service, request, file, keeps_last_write=keeps_last_write)
    service.save(share, file)
    return Answer(201, _written_headers(request, file, with_md5=action == "update"))


def _written_headers(request: Request, file: File, *, with_md5: bool) -> list[tuple[str, str]]:
    headers = stamp_headers(file.modified)
    if with_md5:
        if request.wants_body_md5:
            headers.append(("content-md5", b64(request.body_md5())))
        headers.append(("x-ms-request-server-encrypted", "true"))
    if request.version >= OPTIONAL_SINCE:
        headers.append(("x-ms-file-last-write-time", iso(file.last_write)))
    return headers


def wanted_range(request: Request) -> ByteRange:
    """Return the range that a request writes; both ends must be given.

    Raises:
        ServiceError: it is missing or malformed.
    """
    name = "x-ms-range" if request.header("x-ms-range") else "range"
    text = request.header(name)
    if text is None:
        raise missing_header("x-ms-range")
    if text.endswith("-"):
        raise invalid_header(name, text)
    try:
        part = parse_range(text, FILE_BYTES)
    except ValueError:
        raise invalid_header(name, text) from None
    if part.length <= 0:
        raise invalid_header(name, text)
    return part


def keeps_time(request: Request) -> bool:
    """Tell whether the last-write-time shall stay.

    Raises:
        ServiceError: InvalidHeaderValue.
    """
    if request.version < OPTIONAL_SINCE:
        return True
    mode = request.headers.get("x-ms-file-last-write-time", "now").lower() or "now"
    if mode not in {"now", "preserve"}:
        raise invalid_header("x-ms-file-last-write-time", mode)
    return mode == "preserve"


def _check_body(request: Request, part: ByteRange) -> None:
    if len(request.body) > RANGE_BYTES or part.length > RANGE_BYTES:
        extras = {"MaxLimit": str(RANGE_BYTES)}
        raise ServiceError("RequestBodyTooLarge", extras=extras)
    if "content-length" not in request.headers and not len(request.body):
        raise ServiceError("MissingContentLengthHeader")
    if len(request.body) != part.length:
        raise invalid_header("Content-Length", str(len(request.body)))
    check_body_md5(request)


def refuse_past_end(part: ByteRange, file: File) -> None:
    """Refuse a range that reaches past the end of the file.

    Raises:
        ServiceError: InvalidRange.
    """
    if part.stop > file.size:
        raise ServiceError("InvalidRange", headers={"content-range": f"bytes */{file.size}"})


def _clear(file: File, part: ByteRange) -> None:
    file.content.zero(*part)
    # Whole sectors are given back; the edges are overwritten with zeros and stay listed.
    first = -(-part.start // SECTOR) * SECTOR
    last = part.stop // SECTOR * SECTOR if part.stop < file.size else part.stop + SECTOR
    file.mark_cleared(ByteRange(first, max(first, last)))


def touch_content(
    service: Service, request: Request, file: File, *, keeps_last_write: bool
) -> None:
    """Give a file whose bytes changed its new times."""
    now = service.clock.tick()
    file.modified = now
    if request.version >= OPTIONAL_SINCE:
        file.change = now
    if not keeps_last_write:
        file.last_write = now


def list_ranges(service: Service, request: Request) -> Answer:
    """List the written ranges, or what changed since a snapshot."""
    share, file = read_file(service, request)
    window = _window(request, file)
    previous = request.query.get("prevsharesnapshot")
    if previous is None:
        found: Iterator[tuple[str, ByteRange]] = (
            ("Range", part) for part in file.written.within(window)
        )
    else:
        account = service.account(request.account)
        if previous not in account.snapshots.get(share.name, {}):
            raise ServiceError("PreviousSnapshotNotFound")
        found = _differences(file, previous, window)
    headers = stamp_headers(file.modified)
    headers.append(("x-ms-content-length", str(file.size)))
    entries, marker = _page(request, found)
    body = "".join(
        f"<{tag}><Start>{part.start}</Start><End>{part.stop - 1}</End></{tag}>"
        for tag, part in entries
    )
    if marker is not None:
        body += f"<NextMarker>{marker}</NextMarker>"
    return xml_answer(f"<Ranges>{body}</Ranges>" if body else "<Ranges />", headers)


def _window(request: Request, file: File) -> ByteRange:
    name = "x-ms-range" if request.header("x-ms-range") else "range"
    text = request.header(name)
    if text is None:
        return ByteRange(0, file.size)
    try:
        wanted = parse_range(text, file.size)
    except ValueError:
        raise invalid_header(name, text) from None
    return ByteRange(min(wanted.start, file.size), min(wanted.stop, file.size))


def _differences(file: File, snapshot: str, window: ByteRange) -> Iterator[tuple[str, ByteRange]]:
    """Yield what was written or cleared since a snapshot, in order."""
    written, cleared = file.changes_since(snapshot)
    found = [("Range", part) for part in written.within(window)]
    found += [("ClearRange", part) for part in cleared.within(window)]
    yield from sorted(found, key=lambda item: item[1].start)


def _page(
    request: Request, found: Iterator[tuple[str, ByteRange]]
) -> tuple[list[tuple[str, ByteRange]], str | None]:
    if request.version < PAGED_RANGES_SINCE:
        return list(found), None
    limit = min(request.page_size(RANGES_PER_PAGE) or RANGES_PER_PAGE, RANGES_PER_PAGE)
    start = _marked_offset(request.query.get("marker", ""))
    entries: list[tuple[str, ByteRange]] = []
    for tag, part in found:
        if part.stop <= start:
            continue
        if len(entries) == limit:
            text = base64.b64encode(str(part.start).encode()).decode().replace("=", "-")
            return entries, f"1!{len(text)}!{text}"
        entries.append((tag, ByteRange(max(part.start, start), part.stop)))
    return entries, None


def _marked_offset(marker: str) -> int:
    if not marker:
        return 0
    digits = unb64(marker.rpartition("!")[2].replace("-", "=")) or b""
    if not digits.isdigit():
        raise invalid_query("marker", marker)
    return int(digits)
