"""Put Range (update and clear) and List Ranges."""

from __future__ import annotations

from azfilesfs.client.operations import ShareOperations
from azfilesfs.client.reads import md5_digest
from azfilesfs.client.requests import (
    PRESERVE,
    Buffer,
    Target,
    Times,
    base64_text,
    lease_headers,
)
from azfilesfs.client.responses import (
    RangeList,
    RangeWritten,
    etag_of_answer,
    md5_of,
    number,
    optional,
    required,
)
from azfilesfs.client.timeouts import Budget
from azfilesfs.client.transport import WireAnswer
from azfilesfs.client.xml_documents import Element, parse_document
from azfilesfs.errors import FileTooLarge, IntegrityError, ProtocolError
from azfilesfs.model.limits import MIB, RANGE_BYTES
from azfilesfs.model.paths import SharePath
from azfilesfs.model.ranges import ByteRange
from azfilesfs.model.times import parse_iso, parse_rfc1123

_RANGES_BYTES = 64 * MIB


class RangeOperations(ShareOperations):
    """Writing the files of one share, and asking what is written."""

    async def put_range(
        self,
        path: SharePath,
        start: int,
        data: Buffer,
        *,
        preserve_last_write: bool = False,
        lease_id: str | None = None,
        check_md5: bool = False,
    ) -> RangeWritten:
        """Write bytes inside a file (Put Range). It never makes the file longer.

        Repeated after a lost answer; the same bytes arrive twice at worst.

        Args:
            path: the file.
            start: offset of the first byte.
            data: 1 byte to 4 MiB; must not change while the call runs.
            preserve_last_write: leave the last-write time as it is.
            lease_id: needed where the file is leased.
            check_md5: send the MD5 for the service to compare, and compare the one that it sends
                back.

        Raises:
            InvalidRange: it reaches past the end of the file.
            FileTooLarge: more than 4 MiB.
            FileNotFound: the file does not exist.
            FileLocked: an SMB client excludes it.
            LeaseIdMissing: the file is leased.
            IntegrityError: with ``check_md5``, the bytes arrived damaged in every attempt.
            ValueError: there are no bytes.
        """
        length = memoryview(data).nbytes
        if not length or start < 0:
            raise ValueError("a range has at least one byte")
        if length > RANGE_BYTES:
            raise FileTooLarge(f"a range has at most {RANGE_BYTES} bytes")
        headers = _range_headers(
            "update", ByteRange(start, start + length), lease_id, preserve_last_write
        )
        digest = await md5_digest(data) if check_md5 else None
        if digest is not None:
            headers["Content-MD5"] = base64_text(digest)
        return await self._write(path, headers, data, digest)

    async def clear_range(
        self,
        path: SharePath,
        byte_range: ByteRange,
        *,
        preserve_last_write: bool = False,
        lease_id: str | None = None,
    ) -> RangeWritten:
        """Turn a range of any length into zeros (Put Range, clear).

        Its whole 512-byte blocks are freed.

        Raises:
            InvalidRange: it reaches past the end of the file.
            FileNotFound: the file does not exist.
            LeaseIdMissing: the file is leased.
            ValueError: the range is empty.
        """
        if byte_range.start < 0 or byte_range.length <= 0:
            raise ValueError("an empty range cannot be cleared")
        headers = _range_headers("clear", byte_range, lease_id, preserve_last_write)
        return await self._write(path, headers, b"", None)

    async def _write(
        self, path: SharePath, headers: dict[str, str], body: Buffer, digest: bytes | None
    ) -> RangeWritten:
        call = self._call(
            "PutRange",
            "PUT",
            Target.FILE,
            path,
            query={"comp": "range"},
            headers=headers,
            body=body,
            success=frozenset({201}),
            budget=Budget.TRANSFER,
            mutates=True,
        )
        return await self._ask(call, lambda answer: _written(answer, digest))

    async def list_ranges(
        self,
        path: SharePath,
        byte_range: ByteRange | None = None,
        *,
        lease_id: str | None = None,
        snapshot: str | None = None,
    ) -> RangeList:
        """Return the written ranges of a file, over all pages (List Ranges).

        Raises:
            FileNotFound: the file does not exist.
            ProtocolError: the list is not one.
            LeaseIdMismatch: the lease id is not the active one.
        """
        headers = lease_headers(lease_id)
        if byte_range is not None:
            headers["x-ms-range"] = byte_range.format()
        ranges: list[ByteRange] = []
        marker: str | None = None
        while True:
            call = self._call(
                "ListRanges",
                "GET",
                Target.FILE,
                path,
                query={"comp": "rangelist", "marker": marker, "sharesnapshot": snapshot},
                headers=headers,
                body_limit=_RANGES_BYTES,
            )
            page, marker, etag, size = await self._ask(call, _listed_ranges)
            ranges.extend(page)
            if marker is None:
                return RangeList(tuple(ranges), etag, size)


def _listed_ranges(answer: WireAnswer) -> tuple[list[ByteRange], str | None, str, int]:
    """Return the ranges of a page, where the next begins, the ETag and the file's size."""
    document = parse_document(bytes(answer.body))
    if document.name != "Ranges":
        raise ProtocolError("the answer is not a list of ranges")
    return (
        [_range(element) for element in document.all("Range")],
        document.text_of("NextMarker"),
        etag_of_answer(answer.headers),
        required(answer.headers, "x-ms-content-length", number),
    )


def _range_headers(
    action: str, byte_range: ByteRange, lease_id: str | None, preserve_last_write: bool
) -> dict[str, str]:
    times = Times(last_write_ns=PRESERVE) if preserve_last_write else Times()
    return {
        "x-ms-write": action,
        "x-ms-range": byte_range.format(),
        **times.headers(),
        **lease_headers(lease_id),
    }


def _written(answer: WireAnswer, digest: bytes | None) -> RangeWritten:
    if digest is not None and optional(answer.headers, "content-md5", md5_of) not in {None, digest}:
        raise IntegrityError("the service received other bytes than were sent")
    return RangeWritten(
        etag=etag_of_answer(answer.headers),
        last_modified_ns=required(answer.headers, "last-modified", parse_rfc1123),
        last_write_time_ns=optional(answer.headers, "x-ms-file-last-write-time", parse_iso),
    )


def _range(element: Element) -> ByteRange:
    try:
        first = number(element.text_of("Start") or "")
        last = number(element.text_of("End") or "")
    except ValueError as error:
        raise ProtocolError("a range of the list has no start or end") from error
    if last < first:
        raise ProtocolError("a range of the list ends before it starts")
    return ByteRange(first, last + 1)
