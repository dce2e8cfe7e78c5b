"""Get File: whole or by range, at once or streamed."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from azfilesfs.client.operations import ShareOperations
from azfilesfs.client.requests import Buffer, Call, Target, lease_headers
from azfilesfs.client.responses import (
    Answer,
    FileContent,
    md5_of,
    number,
    optional,
    required,
    shown_properties,
)
from azfilesfs.client.timeouts import Budget
from azfilesfs.client.transport import WireAnswer, WireStream
from azfilesfs.errors import IntegrityError
from azfilesfs.model.limits import MD5_RANGE_BYTES, MIB, RANGE_BYTES
from azfilesfs.model.paths import SharePath
from azfilesfs.model.properties import EntryKind, Properties
from azfilesfs.model.ranges import ByteRange, parse_content_range

_SMALL_READ_BYTES = 4 * MIB
_INLINE_HASH_BYTES = MIB // 4


@dataclass(frozen=True, slots=True)
class FileStream:
    """A read in progress: what the headers said, and the bytes as they come.

    Attributes:
        properties: of the file; ``size`` is that of the whole file.
        byte_range: what is being read, cut at the end of the file.
        chunks: the bytes; a short body or a broken connection raises here.
    """

    properties: Properties
    byte_range: ByteRange
    chunks: AsyncIterator[bytes]

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.chunks


class ReadOperations(ShareOperations):
    """Reading the files of one share."""

    async def get_file(
        self,
        path: SharePath,
        byte_range: ByteRange | None = None,
        *,
        lease_id: str | None = None,
        check_md5: bool = False,
        snapshot: str | None = None,
    ) -> FileContent:
        """Read a file, or a range of it, into memory (Get File).

        Length and Content-Range of the answer are checked against the request. A range is cut at
        the end of the file.

        Args:
            path: the file.
            byte_range: what to read; None for the whole file.
            lease_id: to be checked by the service.
            check_md5: for a range of at most 4 MiB have the service send its MD5 and compare; for a
                whole file compare with the stored MD5 if there is one.
            snapshot: read from this snapshot of the share.

        Raises:
            FileNotFound: it does not exist.
            InvalidRange: the range begins at or past the end; ``file_size`` has the size if the
                service said it. Any range of an empty file does.
            IntegrityError: the bytes are not those that were asked for, or arrived damaged, in
                every attempt.
            LeaseIdMismatch: the lease id is not the active one.
            ValueError: the range is empty, or longer than 4 MiB with ``check_md5``.
        """
        call = self._read_call(path, byte_range, lease_id, snapshot)
        if check_md5 and byte_range is not None:
            if byte_range.length > MD5_RANGE_BYTES:
                raise ValueError("the service computes an MD5 for at most 4 MiB")
            call = _with_header(call, "x-ms-range-get-content-md5", "true")

        async def read(answer: WireAnswer) -> FileContent:
            return await _content(answer, byte_range, check_md5=check_md5)

        return await self._pipeline.execute(call, read)

    @asynccontextmanager
    async def stream_file(
        self,
        path: SharePath,
        byte_range: ByteRange | None = None,
        *,
        lease_id: str | None = None,
        snapshot: str | None = None,
    ) -> AsyncIterator[FileStream]:
        """Read a file, or a range of it, chunk by chunk (Get File).

        One request in memory-bounded form: it is repeated only until its headers are there. It
        occupies a connection until the block ends, whatever has been read by then; the deadline
        covers the headers, each chunk has the idle limit.

        Raises:
            As ``get_file``; the iteration raises NetworkError and IntegrityError too.
        """
        call = self._read_call(path, byte_range, lease_id, snapshot)

        def opened(answer: WireStream) -> FileStream:
            return FileStream(*_what_was_read(answer, byte_range), answer.chunks)

        async with self._pipeline.stream(call, opened) as stream:
            yield stream

    def _read_call(
        self,
        path: SharePath,
        byte_range: ByteRange | None,
        lease_id: str | None,
        snapshot: str | None,
    ) -> Call:
        headers = lease_headers(lease_id)
        if byte_range is not None:
            if byte_range.start < 0 or byte_range.length <= 0:
                raise ValueError("an empty range cannot be read")
            headers["x-ms-range"] = byte_range.format()
        is_small = byte_range is not None and byte_range.length < _SMALL_READ_BYTES
        return self._call(
            "GetFile",
            "GET",
            Target.FILE,
            path,
            query={"sharesnapshot": snapshot},
            headers=headers,
            success=frozenset({200 if byte_range is None else 206}),
            budget=Budget.SMALL if is_small else Budget.TRANSFER,
            reads=RANGE_BYTES if byte_range is None else byte_range.length,
            body_limit=None if byte_range is None else byte_range.length,
        )


def _with_header(call: Call, name: str, value: str) -> Call:
    return dataclasses.replace(call, headers={**call.headers, name: value})


async def _content(answer: WireAnswer, asked: ByteRange | None, *, check_md5: bool) -> FileContent:
    properties, read = _what_was_read(answer, asked)
    if len(answer.body) != read.length:
        raise IntegrityError(f"{len(answer.body)} bytes arrived where {read.length} were announced")
    if check_md5:
        await _compare_md5(answer.body, answer, is_required=asked is not None)
    return FileContent(answer.body, properties, read)


def _what_was_read(answer: Answer, asked: ByteRange | None) -> tuple[Properties, ByteRange]:
    """Check the headers of a read against the request; return properties and range of the body."""
    if asked is None:
        size = required(answer.headers, "content-length", number)
        return shown_properties(answer, EntryKind.FILE, size=size), ByteRange(0, size)
    read, size = required(answer.headers, "content-range", parse_content_range)
    if read != ByteRange(asked.start, min(asked.stop, size)):
        raise IntegrityError(
            f"the service answered {read.format()} where {asked.format()} was asked for"
        )
    return shown_properties(answer, EntryKind.FILE, size=size), read


async def _compare_md5(data: Buffer, answer: Answer, *, is_required: bool) -> None:
    expected = optional(answer.headers, "content-md5", md5_of)
    if expected is None:
        if is_required:
            raise IntegrityError("the service sent no MD5")
        return
    if await md5_digest(data) != expected:
        raise IntegrityError("the bytes do not match their MD5")


async def md5_digest(data: Buffer) -> bytes:
    """Return the MD5 of some bytes, in a thread where there are many."""
    if memoryview(data).nbytes <= _INLINE_HASH_BYTES:
        return _md5(data)
    return await trio.to_thread.run_sync(_md5, data)


def _md5(data: Buffer) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()
