"""Sending the ranges of an upload pass: several at once, without zeros that are there already."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from mmap import mmap

import trio

from azfilesfs.errors import AzureFilesError
from azfilesfs.model.extents import ExtentMap
from azfilesfs.model.limits import RANGE_BYTES
from azfilesfs.model.ranges import ByteRange
from azfilesfs.vfs.context import Context
from azfilesfs.vfs.dirty import DirtyFile
from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.inodes import Inode

ZERO_UNIT = 4096
"""Zeros are looked for in stretches of this length and alignment."""

_WORTH_A_REQUEST = 256 * 1024
"""Zeros between two stretches of data that are fewer than this are sent with them."""

_NOTHING = bytes(ZERO_UNIT)

_SPARED = 2
"""Large bodies beyond what one file may send at once: one without answers leaves others a way."""

SMALL_BYTES = 64 * 1024
_SMALL_AT_ONCE = 64
"""Small bodies have slots of their own: large ones without answers do not hold them up."""


class Foreign(Exception):
    """The answer to a range shows that another client has written the file."""


class Buffers:
    """Page-aligned memory for the bodies: fresh memory for each would cost as much as sending it.

    A buffer whose request did not end well is dropped, since somebody may still be reading it.
    """

    def __init__(self) -> None:
        self._free: list[memoryview] = []

    def take(self) -> memoryview:
        """Return a buffer of one range."""
        return self._free.pop() if self._free else memoryview(mmap(-1, RANGE_BYTES))

    def give_back(self, buffer: memoryview) -> None:
        """Take a buffer back whose request has been answered."""
        self._free.append(buffer)

    def drop(self) -> None:
        """Free what is not in use."""
        self._free.clear()


class RangeSender:
    """Sends pieces of dirty files: ``upload_parallelism`` of one file at once at most, and of the
    whole mount little more.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._of_a_file = context.options.upload_parallelism
        self._large = trio.CapacityLimiter(self._of_a_file + _SPARED)
        self._small = trio.CapacityLimiter(_SMALL_AT_ONCE)
        self._buffers = Buffers()

    @property
    def is_busy(self) -> bool:
        """Whether as many large bodies are under way as one file may have."""
        return bool(self._large.borrowed_tokens >= self._of_a_file)

    def slot(self, length: int) -> trio.CapacityLimiter:
        """Return what limits the bodies in memory; held while one of this length is sent."""
        return self._small if length <= SMALL_BYTES else self._large

    def trim(self) -> None:
        """Free the memory of the bodies where nothing is being sent."""
        if not self._large.borrowed_tokens:
            self._buffers.drop()

    async def send(
        self,
        inode: Inode,
        dirty: DirtyFile,
        pieces: Iterable[ByteRange],
        answered: Callable[[ByteRange, bool], AsyncIterator[ByteRange]],
    ) -> set[str]:
        """Send pieces of at most one range each and return the ETags that they led to.

        ``answered`` hears of each piece that the service has, and whether anything of it had to be
        sent, and yields what else to send; it may take its time, and its failures count as those of
        a piece.

        Stretches of zeros are left out where the service has zeros already, and a piece that is
        nothing else is cleared where it has not. After a failure no further piece starts, and
        ``answered`` hears of no other; those under way come to their end.

        Raises:
            Foreign: an answer shows a time of last writing that is not ours.
            AzureFilesError: a request failed.
            OSError: the staging area could not be read.
        """
        etags: set[str] = set()
        failures: list[Exception] = []
        share_of_file = trio.CapacityLimiter(self._of_a_file)

        async def send_one(piece: ByteRange) -> None:
            try:
                async with share_of_file, self.slot(piece.length):
                    if failures:
                        return
                    led_to = await self._piece(inode, dirty, piece)
                    etags.update(led_to)
                if not failures:
                    async for further in answered(piece, bool(led_to)):
                        nursery.start_soon(send_one, further)
            except (AzureFilesError, VfsError, OSError, Foreign) as error:
                failures.append(error)

        async with trio.open_nursery() as nursery:
            for piece in pieces:
                nursery.start_soon(send_one, piece)
        if failures:
            raise failures[0]
        return etags

    async def _piece(self, inode: Inode, dirty: DirtyFile, piece: ByteRange) -> set[str]:
        is_small = piece.length <= SMALL_BYTES
        buffer = memoryview(bytearray(piece.length)) if is_small else self._buffers.take()
        data = buffer[: piece.length]
        dirty.staged.read_into(piece, data)
        etags = set()
        if is_zeros(data) and next(dirty.blank.gaps(piece), None) is not None:
            etags.add(await self._write(inode, dirty, piece, None))
        else:
            for part in to_send(data, piece, dirty.blank):
                body = data[part.start - piece.start : part.stop - piece.start]
                etags.add(await self._write(inode, dirty, part, body))
        if not is_small:
            self._buffers.give_back(buffer)
        return etags

    async def _write(
        self, inode: Inode, dirty: DirtyFile, part: ByteRange, body: memoryview | None
    ) -> str:
        share = self._context.share
        dirty.blank.remove(part)
        async with self._context.gate.path(inode) as path:
            if body is None:
                answer = await share.clear_range(
                    path, part, preserve_last_write=True, lease_id=inode.lease_id
                )
            else:
                answer = await share.put_range(
                    path, part.start, body, preserve_last_write=True, lease_id=inode.lease_id
                )
        if not dirty.is_our_time(answer.last_write_time_ns):
            raise Foreign
        return answer.etag


def is_zeros(data: memoryview) -> bool:
    """Tell whether there is nothing but zeros; quick where there is something else."""
    if not data or data[0] or data[-1] or data[len(data) // 2]:
        return False
    return all(
        bytes(data[start : start + ZERO_UNIT]) == _NOTHING[: len(data) - start]
        for start in range(0, len(data), ZERO_UNIT)
    )


def to_send(data: memoryview, piece: ByteRange, blank: ExtentMap) -> list[ByteRange]:
    """Return the parts of a piece that must be sent, in order.

    What is left out are zeros in ``blank``, where the service has zeros; between two parts there
    are many of them.
    """
    parts: list[ByteRange] = []
    for start, stop in _without_zeros(data, piece, blank):
        if parts and start - parts[-1].stop < _WORTH_A_REQUEST:
            parts[-1] = ByteRange(parts[-1].start, stop)
        else:
            parts.append(ByteRange(start, stop))
    return parts


def _without_zeros(
    data: memoryview, piece: ByteRange, blank: ExtentMap
) -> Iterator[tuple[int, int]]:
    position = piece.start
    for window in blank.within(piece):
        for unit in _units_of_zeros(data, piece, window):
            if position < unit.start:
                yield position, unit.start
            position = unit.stop
    if position < piece.stop:
        yield position, piece.stop


def _units_of_zeros(data: memoryview, piece: ByteRange, window: ByteRange) -> Iterator[ByteRange]:
    for start in _starts_of_units(data, piece, window):
        unit = ByteRange(start, min((start // ZERO_UNIT + 1) * ZERO_UNIT, window.stop))
        if bytes(data[start - piece.start : unit.stop - piece.start]) == _NOTHING[: unit.length]:
            yield unit


def _starts_of_units(data: memoryview, piece: ByteRange, window: ByteRange) -> Iterator[int]:
    """Yield where the units of a window begin that begin with a zero.

    All of them are looked at in one call: one by one costs a third of what sending them costs.
    """
    aligned = -(-window.start // ZERO_UNIT) * ZERO_UNIT
    if window.start < aligned and data[window.start - piece.start] == 0:
        yield window.start
    firsts = bytes(data[aligned - piece.start : window.stop - piece.start : ZERO_UNIT])
    index = firsts.find(0)
    while index >= 0:
        yield aligned + index * ZERO_UNIT
        index = firsts.find(0, index + 1)
