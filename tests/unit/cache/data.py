"""Versions and bytes for the cache's tests."""

import random
from collections.abc import Iterable

from azfilesfs.cache import BLOCK_BYTES, SLAB_BYTES, BlockCache, block_count, block_range
from azfilesfs.cache.blocks import Buffer
from azfilesfs.model.limits import MIB
from azfilesfs.model.versions import Validator

SIZE = 9 * MIB + 54_321


def version(number: int = 1, size: int = SIZE, file_id: int = 77) -> Validator:
    """Return the validator of one version of a file."""
    return Validator(file_id, f'"0x{number:X}"', size, number * 100)


def content(validator: Validator) -> bytes:
    """Return bytes that no other version has."""
    return random.Random(str(validator)).randbytes(validator.size)


def block(validator: Validator, index: int) -> bytes:
    """Return one block of the version's bytes."""
    window = block_range(index, validator.size)
    return content(validator)[window.start : window.stop]


def fill(cache: BlockCache, validator: Validator) -> bytes:
    """Put a whole file into the cache, in ranges of 4 MiB as a sequential reader does."""
    data = content(validator)
    for start in range(0, len(data), SLAB_BYTES):
        cache.put(validator, start // BLOCK_BYTES, data[start : start + SLAB_BYTES])
    return data


async def load(cache: BlockCache, validator: Validator) -> dict[int, bytes]:
    """Return all blocks of a version that the cache has."""
    return cut(await cache.load(validator, range(block_count(validator.size))))


async def get(cache: BlockCache, validator: Validator, index: int) -> bytes | None:
    """Return one block from memory or disk."""
    found = cut(await cache.load(validator, range(index, index + 1)))
    return found.get(index)


def in_memory(cache: BlockCache, validator: Validator, index: int) -> bytes | None:
    """Return one block if it is in memory."""
    window = block_range(index, validator.size)
    data = cache.get_nowait(validator, window.start, window.stop)
    return None if data is None else bytes(data)


def cut(runs: Iterable[tuple[int, Buffer]]) -> dict[int, bytes]:
    """Cut runs of blocks into blocks."""
    return {
        first + index: block for first, data in runs for index, block in split(bytes(data)).items()
    }


def split(data: bytes) -> dict[int, bytes]:
    """Cut a file's bytes into its blocks."""
    return {
        start // BLOCK_BYTES: data[start : start + BLOCK_BYTES]
        for start in range(0, len(data), BLOCK_BYTES)
    }
