"""How cached bytes are cut, named and sealed. Pure; used by every module of the block cache.

A *block* is the unit that is present or not, and the least that a read asks the service for. A
*slab* is a run of 256 aligned blocks, 4 MiB, which is what one sequential request brings. On disk a
slab is one sparse file with a table of its blocks in front: a new file and a transaction per block
would cost more than the bytes themselves. Each block has its own checksum, so that one can be read
back without the rest.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final, NamedTuple, Self

from xxhash import xxh3_64_intdigest

from azfilesfs.model.limits import KIB
from azfilesfs.model.ranges import ByteRange
from azfilesfs.model.versions import Validator

# A random read that misses fetches whole blocks. 16 KiB are the page of many databases and take a
# fraction of a round trip to transfer (0.3 ms at 60 MiB/s); larger ones would make random reads pay
# for bytes nobody asked for, smaller ones would make the next read nearby pay for a request.
BLOCK_BYTES: Final = 16 * KIB
SLAB_BLOCKS: Final = 256
SLAB_BYTES: Final = SLAB_BLOCKS * BLOCK_BYTES

HEADER_BYTES: Final = 4 * KIB
"""Where the bytes of a slab begin in its file, so that they lie on the disk's own blocks."""

Buffer = bytes | bytearray | memoryview

_MAGIC: Final = b"azb3"
_HEAD: Final = struct.Struct("<4sII")  # magic, number of blocks, number of bytes
_CHECKSUM_BYTES: Final = 8
_REMEMBERED_PLACES: Final = 4096


def block_count(size: int) -> int:
    """Return the number of blocks of a file of ``size`` bytes."""
    return -(-size // BLOCK_BYTES)


def block_range(index: int, size: int) -> ByteRange:
    """Return the bytes of one block of a file of ``size`` bytes; the last block is short."""
    start = index * BLOCK_BYTES
    return ByteRange(start, max(start, min(start + BLOCK_BYTES, size)))


def slab_range(slab: int, size: int) -> ByteRange:
    """Return the bytes of one slab of a file of ``size`` bytes; the last slab is short."""
    start = slab * SLAB_BYTES
    return ByteRange(start, max(start, min(start + SLAB_BYTES, size)))


class Place(NamedTuple):
    """Where a slab is on disk, and what it must look like to be believed.

    A slab of one block stands in the database; it is there whole or not at all.
    """

    key: str
    blocks: int
    length: int

    @property
    def seed(self) -> int:
        """What checksums begin with, so that no slab is taken for another."""
        return xxh3_64_intdigest(self.key.encode())

    @property
    def data_start(self) -> int:
        """Where the bytes begin."""
        return HEADER_BYTES if self.blocks > 1 else _table_bytes(1)

    def window(self, first: int, stop: int) -> ByteRange:
        """Return the bytes of consecutive blocks, counted from the start of the slab."""
        return ByteRange(first * BLOCK_BYTES, min(stop * BLOCK_BYTES, self.length))


@lru_cache(_REMEMBERED_PLACES)
def place_of(validator: Validator, slab: int) -> Place:
    """Return where a slab of a version is."""
    length = slab_range(slab, validator.size).length
    return Place(f"{version_prefix(validator)}{slab}", block_count(length), length)


def version_prefix(validator: Validator) -> str:
    """Return what the keys of all slabs of a version begin with; the number of the slab follows."""
    return f"{validator.key()}/"


def block_runs(indexes: Iterable[int]) -> Iterator[range]:
    """Group ascending block numbers into consecutive runs that do not cross a slab."""
    run = range(0)
    for index in indexes:
        if run and index == run.stop and index % SLAB_BLOCKS:
            run = range(run.start, index + 1)
            continue
        if run:
            yield run
        run = range(index, index + 1)
    if run:
        yield run


def runs_of(present: Buffer, first: int, stop: int) -> list[range]:
    """Return the runs of blocks between two that are marked by a byte of 1."""
    runs = []
    marks = bytes(present)
    start = marks.find(1, first, stop)
    while start >= 0:
        end = marks.find(0, start, stop)
        end = stop if end < 0 else end
        runs.append(range(start, end))
        start = marks.find(1, end, stop)
    return runs


class Table:
    """Which blocks of a slab are there, and their checksums.

    Attributes:
        present: one byte a block, 1 for those that are there.
    """

    __slots__ = ("_sums", "place", "present")

    def __init__(self, place: Place) -> None:
        """Start with no block."""
        self.place = place
        self.present = bytearray(place.blocks)
        self._sums = array("Q", bytes(_CHECKSUM_BYTES * place.blocks))

    @classmethod
    def unpack(cls, place: Place, data: Buffer) -> Self:
        """Read a table from the start of a slab.

        Raises:
            ValueError: it is damaged, or of another slab.
        """
        end = _table_bytes(place.blocks) - _CHECKSUM_BYTES
        head = bytes(data[:end])
        if bytes(data[end : end + _CHECKSUM_BYTES]) != _checksum(head, place.seed):
            raise ValueError("the header is damaged")
        if _HEAD.unpack_from(head) != (_MAGIC, place.blocks, place.length):
            raise ValueError("the header does not fit the key")
        table = cls(place)
        table.present[:] = head[_HEAD.size : _HEAD.size + place.blocks]
        table._sums = array("Q", head[_HEAD.size + place.blocks :])
        return table

    def pack(self) -> bytes:
        """Return the bytes that stand at the start of the slab."""
        head = _HEAD.pack(_MAGIC, self.place.blocks, self.place.length)
        head += bytes(self.present) + self._sums.tobytes()
        return head + _checksum(head, self.place.seed)

    def seal(self, first: int, data: Buffer) -> None:
        """Compute the checksums of consecutive blocks; ``mark`` makes them present.

        Raises:
            ValueError: the data does not end where a block of this slab ends.
        """
        view = memoryview(data).cast("B")
        stop = first + block_count(len(view))
        if len(view) != self.place.window(first, stop).length:
            raise ValueError("the data does not consist of whole blocks")
        seed = self.place.seed
        for position in range(first, stop):
            start = (position - first) * BLOCK_BYTES
            self._sums[position] = xxh3_64_intdigest(view[start : start + BLOCK_BYTES], seed)

    def mark(self, first: int, stop: int) -> None:
        """Count consecutive blocks as present."""
        self.present[first:stop] = b"\1" * (stop - first)

    def check(self, first: int, data: Buffer) -> None:
        """Compare consecutive blocks with their checksums.

        Raises:
            ValueError: one of them is damaged.
        """
        view = memoryview(data).cast("B")
        seed = self.place.seed
        for position in range(first, first + block_count(len(view))):
            start = (position - first) * BLOCK_BYTES
            if xxh3_64_intdigest(view[start : start + BLOCK_BYTES], seed) != self._sums[position]:
                raise ValueError(f"block {position} of the slab is damaged")


def _table_bytes(blocks: int) -> int:
    return _HEAD.size + blocks + _CHECKSUM_BYTES * blocks + _CHECKSUM_BYTES


def _checksum(data: bytes, seed: int) -> bytes:
    return xxh3_64_intdigest(data, seed).to_bytes(_CHECKSUM_BYTES, "little")
