"""How cached bytes are cut, named and sealed. Pure; used by every module of the block cache.

A *block* is the unit in which the reader asks. A *slab* is a run of 16 aligned blocks, 4 MiB,
which is what one sequential request brings: it is written to disk as one value, because a new file
and a transaction per block would cost more than the bytes themselves. Each block of a value
carries its own checksum, so that one block can be read back without the rest.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from typing import BinaryIO, Final, NamedTuple, Self

from azfilesfs.model.limits import KIB
from azfilesfs.model.ranges import ByteRange
from azfilesfs.model.versions import Validator

# A random read that misses fetches whole blocks: 256 KiB take about as long to transfer (4 ms at
# 60 MiB/s) as the request takes to travel, so a smaller block would save little time, and a larger
# one would make random reads pay for bytes nobody asked for.
BLOCK_BYTES: Final = 256 * KIB
SLAB_BLOCKS: Final = 16
SLAB_BYTES: Final = SLAB_BLOCKS * BLOCK_BYTES

_MAGIC: Final = b"azb1"
_HEAD: Final = struct.Struct("<4sII")  # magic, number of blocks, number of bytes
_CHECKSUM_BYTES: Final = 4


def block_count(size: int) -> int:
    """Return the number of blocks of a file of ``size`` bytes."""
    return -(-size // BLOCK_BYTES)


def block_range(index: int, size: int) -> ByteRange:
    """Return the bytes of one block of a file of ``size`` bytes; the last block is short."""
    start = index * BLOCK_BYTES
    return ByteRange(start, max(start, min(start + BLOCK_BYTES, size)))


class Lookup(NamedTuple):
    """A value on disk that may hold a block, and what it must look like to be believed."""

    key: str
    position: int
    blocks: int
    length: int


def lookups(validator: Validator, index: int) -> tuple[Lookup, ...]:
    """Return where a block of a version may be stored: in its slab, or alone."""
    version = validator.key()
    alone = Lookup(f"{version}/b{index}", 0, 1, block_range(index, validator.size).length)
    slab, position = divmod(index, SLAB_BLOCKS)
    whole = slab_range(slab, validator.size)
    blocks = block_count(whole.length)
    if blocks <= 1:
        return (alone,)
    return (Lookup(f"{version}/s{slab}", position, blocks, whole.length), alone)


def slab_range(slab: int, size: int) -> ByteRange:
    """Return the bytes of one slab of a file of ``size`` bytes; the last slab is short."""
    start = slab * SLAB_BYTES
    return ByteRange(start, max(start, min(start + SLAB_BYTES, size)))


class Value(NamedTuple):
    """What one key holds on disk: a header with checksums, then the bytes of its blocks."""

    header: bytes
    data: memoryview

    @classmethod
    def seal(cls, key: str, data: bytes | memoryview) -> Self:
        """Compute the header; checksums cover the key too, so no value is taken for another."""
        view = memoryview(data).cast("B")
        seed = zlib.crc32(key.encode())
        sums = array(
            "I",
            (
                zlib.crc32(view[start : start + BLOCK_BYTES], seed)
                for start in range(0, len(view), BLOCK_BYTES)
            ),
        )
        head = _HEAD.pack(_MAGIC, len(sums), len(view)) + sums.tobytes()
        return cls(head + _checksum(head, seed), view)


class SealedReader:
    """Reads blocks of one value and believes only what checksums confirm. Owns the stream."""

    __slots__ = ("_header_bytes", "_length", "_seed", "_stream", "_sums")

    def __init__(self, stream: BinaryIO, lookup: Lookup) -> None:
        """Read and check the header.

        Raises:
            ValueError: the value is not what the lookup expects; the stream stays the caller's to
                close.
            OSError: it cannot be read.
        """
        self._stream = stream
        self._seed = zlib.crc32(lookup.key.encode())
        self._length = lookup.length
        head_bytes = _HEAD.size + _CHECKSUM_BYTES * lookup.blocks
        self._header_bytes = head_bytes + _CHECKSUM_BYTES
        header = stream.read(self._header_bytes)
        head = header[:head_bytes]
        if header[head_bytes:] != _checksum(head, self._seed):
            raise ValueError("the header is damaged")
        if _HEAD.unpack_from(head) != (_MAGIC, lookup.blocks, lookup.length):
            raise ValueError("the header does not fit the key")
        self._sums = array("I", head[_HEAD.size :])

    def block(self, position: int) -> bytes:
        """Return one block of the value.

        Raises:
            ValueError: its length or its checksum is wrong.
            OSError: it cannot be read.
        """
        start = position * BLOCK_BYTES
        length = min(BLOCK_BYTES, self._length - start)
        self._stream.seek(self._header_bytes + start)
        data = self._stream.read(length)
        if len(data) != length or zlib.crc32(data, self._seed) != self._sums[position]:
            raise ValueError(f"block {position} of the value is damaged")
        return data

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()


def _checksum(data: bytes, seed: int) -> bytes:
    return zlib.crc32(data, seed).to_bytes(_CHECKSUM_BYTES, "little")
