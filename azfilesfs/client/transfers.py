"""Whole files up and down with bounded memory (specification 9.3).

Below 4 MiB one request, up to 1 GiB one range of 4 MiB after the other, beyond that several ranges
at once. In memory are never more bytes than the ranges in flight.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import trio

from azfilesfs.client.requests import Buffer, Times
from azfilesfs.client.service import ShareClient
from azfilesfs.errors import AzureFilesError, ChangedDuringRead, InvalidRange
from azfilesfs.model.limits import GIB, RANGE_BYTES
from azfilesfs.model.paths import SharePath
from azfilesfs.model.properties import ContentHeaders, Properties
from azfilesfs.model.ranges import ByteRange
from azfilesfs.model.versions import has_create_with_data

PARALLEL_FROM_BYTES: Final = GIB


class Source(Protocol):
    """What an upload reads from, such as a file of ``trio.open_file``."""

    async def read(self, size: int, /) -> bytes:
        """Return up to that many bytes, none at the end."""
        ...


class Sink(Protocol):
    """What a download writes to, such as a file of ``trio.open_file``."""

    async def write(self, data: bytes | memoryview, /) -> object:
        """Take all the bytes."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferOptions:
    """How to transfer.

    Attributes:
        parallel: ranges in flight at once for files beyond 1 GiB.
        parallel_from: size from which that many are in flight, 1 GiB by default.
        check_md5: have every range checked by MD5 on both sides.
        lease_id: needed where the file is leased.
    """

    parallel: int = 8
    parallel_from: int = PARALLEL_FROM_BYTES
    check_md5: bool = False
    lease_id: str | None = None

    def width(self, size: int) -> int:
        """Return how many ranges are in flight for a file of that size."""
        return self.parallel if size > self.parallel_from else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFile:
    """What an uploaded file gets besides its bytes."""

    content: ContentHeaders | None = None
    metadata: Mapping[str, str] | None = None
    times: Times | None = None


class _FirstError:
    """The first error of several tasks, which ends the others."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    def set(self, error: Exception, scope: trio.CancelScope) -> None:
        if self.error is None:
            self.error = error
        scope.cancel()

    def raise_it(self) -> None:
        if self.error is not None:
            raise self.error


async def upload(
    share: ShareClient,
    path: SharePath,
    source: Source,
    size: int,
    *,
    new: NewFile | None = None,
    options: TransferOptions | None = None,
) -> Properties:
    """Create a file, or overwrite the one of that name, with bytes from a source.

    Readers see the file grow from zeros while it is written; use ``create_exclusively`` or a rename
    to show it only when it is whole. A failure or a cancellation leaves it incomplete.

    Args:
        share: where.
        path: under which name.
        source: read in order, from where it stands.
        size: bytes to take from it.
        new: properties of the new file.
        options: how to transfer.

    Returns:
        The properties of the file when all is written.

    Raises:
        ValueError: the source ended before ``size`` bytes.
        AzureFilesError: as ``create_file`` and ``put_range``.
    """
    how, what = options or TransferOptions(), new or NewFile()
    if size <= RANGE_BYTES and has_create_with_data(share.service_version):
        return await share.create_file(
            path,
            size,
            data=await _take(source, size),
            times=what.times,
            content=what.content,
            metadata=what.metadata,
            lease_id=how.lease_id,
        )
    await share.create_file(
        path,
        size,
        times=what.times,
        content=what.content,
        metadata=what.metadata,
        lease_id=how.lease_id,
    )
    await write_ranges(share, path, source, size, how)
    if what.times is not None:
        # With the size, without which the HTTP properties would be cleared.
        await share.set_file_properties(path, size=size, times=what.times, lease_id=how.lease_id)
    return await share.get_file_properties(path, lease_id=how.lease_id)


async def write_ranges(
    share: ShareClient, path: SharePath, source: Source, size: int, options: TransferOptions
) -> None:
    """Write the first ``size`` bytes of a file that is large enough, from a source.

    Raises:
        ValueError: the source ended before ``size`` bytes.
        AzureFilesError: as ``put_range``; ranges written before it stay written.
    """
    slots = trio.Semaphore(options.width(size))
    first = _FirstError()
    async with trio.open_nursery() as nursery:

        async def put(start: int, data: Buffer) -> None:
            try:
                await share.put_range(
                    path, start, data, lease_id=options.lease_id, check_md5=options.check_md5
                )
            except AzureFilesError as error:
                first.set(error, nursery.cancel_scope)
            finally:
                slots.release()

        for piece in ByteRange(0, size).split(RANGE_BYTES):
            await slots.acquire()
            try:
                data = await _take(source, piece.length)
            except Exception as error:  # noqa: BLE001 - raised below, outside the nursery's group
                first.set(error, nursery.cancel_scope)
                break
            nursery.start_soon(put, piece.start, data)
    first.raise_it()


async def _take(source: Source, size: int) -> bytes:
    parts: list[bytes] = []
    missing = size
    while missing:
        part = await source.read(missing)
        if not part:
            raise ValueError(f"the source ended {missing} bytes early")
        parts.append(part)
        missing -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def download(
    share: ShareClient,
    path: SharePath,
    sink: Sink,
    *,
    options: TransferOptions | None = None,
    snapshot: str | None = None,
) -> Properties:
    """Write the bytes of a file to a sink, in order.

    Every range must be of the version that the first one showed (file id, ETag, size, change time),
    so what was written is one version of the file, or an error.

    Returns:
        The properties of that version.

    Raises:
        ChangedDuringRead: the file changed meanwhile; what the sink has is to be thrown away.
        AzureFilesError: as ``get_file``.
    """
    how = options or TransferOptions()
    try:
        first = await share.get_file(
            path,
            ByteRange(0, RANGE_BYTES),
            lease_id=how.lease_id,
            check_md5=how.check_md5,
            snapshot=snapshot,
        )
    except InvalidRange:
        # Any range of an empty file is refused. Read it whole, as it may have grown since.
        first = await share.get_file(path, lease_id=how.lease_id, snapshot=snapshot)
    await sink.write(first.data)
    size = first.properties.size
    if first.byte_range.stop < size:
        rest = _Rest(share, path, first.properties, how, snapshot)
        await rest.write_to(sink, ByteRange(first.byte_range.stop, size))
    return first.properties


class _Rest:
    """The ranges after the first: fetched several at once, written in order.

    Invariant: at most ``width`` ranges are fetched and not yet written.
    """

    def __init__(
        self,
        share: ShareClient,
        path: SharePath,
        version: Properties,
        options: TransferOptions,
        snapshot: str | None,
    ) -> None:
        self._share = share
        self._path = path
        self._version = version
        self._options = options
        self._snapshot = snapshot
        self._first = _FirstError()

    async def write_to(self, sink: Sink, span: ByteRange) -> None:
        pieces = span.split(RANGE_BYTES)
        width = self._options.width(self._version.size)
        waiting: deque[trio.MemoryReceiveChannel[bytes | memoryview]] = deque()
        async with trio.open_nursery() as nursery:
            try:
                while True:
                    while len(waiting) < width and (piece := next(pieces, None)) is not None:
                        sender, receiver = trio.open_memory_channel[bytes | memoryview](1)
                        nursery.start_soon(self._fetch, piece, sender, nursery.cancel_scope)
                        waiting.append(receiver)
                    if not waiting:
                        break
                    await sink.write(await waiting.popleft().receive())
            except Exception as error:  # noqa: BLE001 - raised below, outside the nursery's group
                self._first.set(error, nursery.cancel_scope)
        self._first.raise_it()

    async def _fetch(
        self,
        piece: ByteRange,
        sender: trio.MemorySendChannel[bytes | memoryview],
        scope: trio.CancelScope,
    ) -> None:
        try:
            content = await self._share.get_file(
                self._path,
                piece,
                lease_id=self._options.lease_id,
                check_md5=self._options.check_md5,
                snapshot=self._snapshot,
            )
            if content.properties.validator() != self._version.validator():
                raise ChangedDuringRead(
                    "the file changed while it was read", path=str(self._path), operation="GetFile"
                )
            sender.send_nowait(content.data)
        except InvalidRange as error:
            shrunk = ChangedDuringRead(
                "the file was cut while it was read", path=str(self._path), operation="GetFile"
            )
            shrunk.__cause__ = error
            self._first.set(shrunk, scope)
        except AzureFilesError as error:
            self._first.set(error, scope)
