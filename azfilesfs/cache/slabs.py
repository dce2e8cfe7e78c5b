"""Slabs of the disk tier that are open: their tables, descriptors, and reads that never wait."""

from __future__ import annotations

import errno
import os
import resource
import threading
from collections import OrderedDict
from contextlib import suppress
from typing import Final, Self

from azfilesfs.cache.blocks import BLOCK_BYTES, Buffer, Place, Table, block_count
from azfilesfs.cache.disk import Descriptor, write_at
from azfilesfs.model.buffers import RANGES
from azfilesfs.model.ranges import ByteRange

_OPEN_SLABS: Final = 256
_SHARE_OF_DESCRIPTORS: Final = 4


class OpenSlab:
    """One slab, with what of it has been verified since it was opened.

    Read by any thread, extended by one: a block is marked after its bytes and its checksum are in
    place, so whoever sees the mark finds the rest.
    """

    __slots__ = ("_blob", "_descriptor", "_table", "_verified", "place")

    def __init__(
        self, table: Table, source: Descriptor | bytes, *, is_verified: bool = False
    ) -> None:
        self.place = table.place
        self._table = table
        self._descriptor = source if isinstance(source, Descriptor) else None
        self._blob = source if isinstance(source, bytes) else b""
        self._verified = bytearray(table.present if is_verified else len(table.present))

    @classmethod
    def open(cls, place: Place, source: Descriptor | bytes) -> Self:
        """Read the table of a slab that is in a file or in a row.

        Raises:
            ValueError: it is damaged, or not the slab that is expected.
            OSError: it cannot be read.
        """
        if isinstance(source, Descriptor):
            return cls(Table.unpack(place, os.pread(source.number, place.data_start, 0)), source)
        return cls(Table.unpack(place, source), source)

    @property
    def present(self) -> bytearray:
        """One byte a block, 1 for those that are there."""
        return self._table.present

    def covers(self, first: int, stop: int) -> bool:
        """Tell whether all of some consecutive blocks are there."""
        return self._table.present.find(0, first, stop) < 0

    def read(self, blocks: range) -> memoryview:
        """Return consecutive blocks that are there, verified if they were not before.

        Raises:
            ValueError: they are damaged.
            OSError: they cannot be read.
        """
        window = self.place.window(blocks.start, blocks.stop)
        start = self.place.data_start + window.start
        if self._descriptor is None:
            data = memoryview(self._blob)[start : start + window.length]
        else:
            is_range = window.length == RANGES.length
            data = RANGES.lend() if is_range else memoryview(bytearray(window.length))
            if self._descriptor.read_into(data, start) != window.length:
                raise ValueError("the file is cut short")
        if self._verified.find(0, blocks.start, blocks.stop) >= 0:
            self._table.check(blocks.start, data)
            self._verified[blocks.start : blocks.stop] = b"\1" * len(blocks)
        return data

    def read_nowait(self, window: ByteRange) -> memoryview | None:
        """Return bytes of verified blocks if that needs no wait for the disk.

        ``window`` counts from the start of the slab.
        """
        first, stop = window.start // BLOCK_BYTES, block_count(window.stop)
        if self._descriptor is None or self._verified.find(0, first, stop) >= 0:
            return None
        data = memoryview(bytearray(window.length))
        start = self.place.data_start + window.start
        try:
            count = os.preadv(self._descriptor.number, [data], start, os.RWF_NOWAIT)
        except OSError as error:
            if error.errno not in {errno.EAGAIN, errno.EOPNOTSUPP}:
                self._verified[first:stop] = bytes(stop - first)
            return None
        # Less than that is in the page cache, or the file was cut: a full read finds out.
        return data if count == window.length else None

    def extend(self, first: int, data: Buffer) -> int:
        """Write consecutive blocks that are not there yet; return how many bytes that took.

        ``finish`` must follow before the slab is opened again.

        Raises:
            ValueError: the data is not made of whole blocks of this slab.
            OSError: they cannot be written.
        """
        stop = first + block_count(len(data))
        if self._descriptor is None or self.covers(first, stop):
            return 0
        self._table.seal(first, data)
        start = self.place.data_start + self.place.window(first, stop).start
        write_at(self._descriptor.number, start, data)
        self._verified[first:stop] = b"\1" * (stop - first)
        self._table.mark(first, stop)
        return len(data)

    def finish(self) -> None:
        """Write the table, after blocks were added.

        Raises:
            OSError: it cannot be written.
        """
        if self._descriptor is not None:
            write_at(self._descriptor.number, 0, self._table.pack())


class OpenSlabs:
    """The slabs that were used last, by key. Safe from any thread."""

    def __init__(self) -> None:
        """Start empty; the limit leaves most descriptors of the process to others."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        unlimited = soft == resource.RLIM_INFINITY
        self.limit = (
            _OPEN_SLABS if unlimited else max(1, min(_OPEN_SLABS, soft // _SHARE_OF_DESCRIPTORS))
        )
        self._slabs: OrderedDict[str, OpenSlab] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> OpenSlab | None:
        """Return a slab and mark it as used, unless the table is being changed just now."""
        slab = self._slabs.get(key)
        # The event loop must not wait for a thread here: its order in the table is no matter.
        if slab is not None and self._lock.acquire(blocking=False):
            with suppress(KeyError):
                self._slabs.move_to_end(key)
            self._lock.release()
        return slab

    def add(self, slab: OpenSlab) -> OpenSlab:
        """Keep a slab open; return the one that is kept under its key if there was one."""
        with self._lock:
            kept = self._slabs.setdefault(slab.place.key, slab)
            closing = self._slabs.popitem(last=False) if len(self._slabs) > self.limit else None
        # Its descriptor, if nobody else uses it, is closed here and not under the lock.
        del closing
        return kept

    def discard(self, key: str) -> None:
        """Forget a slab; those who use it may finish."""
        with self._lock:
            closing = self._slabs.pop(key, None)
        del closing

    def clear(self) -> None:
        """Forget all slabs."""
        with self._lock:
            self._slabs.clear()

    def __contains__(self, key: object) -> bool:
        return key in self._slabs

    def __len__(self) -> int:
        return len(self._slabs)
