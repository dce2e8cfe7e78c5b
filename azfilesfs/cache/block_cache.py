"""Clean bytes of known versions, in memory and on disk. May lose any of them at any time.

Owned by the daemon, used by the reader. Every method but ``open`` and ``get`` is synchronous; all
are for the event loop's thread. Reads of the disk run in worker threads behind a limiter, writes
in one thread of their own.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, Self

import trio

from azfilesfs.cache.ancestry import Ancestry, is_untouched
from azfilesfs.cache.blocks import (
    BLOCK_BYTES,
    SLAB_BLOCKS,
    Lookup,
    block_count,
    block_range,
    lookups,
    slab_range,
)
from azfilesfs.cache.memory import MemoryTier
from azfilesfs.cache.store import DiskStore, prepare_directory
from azfilesfs.cache.write_behind import WriteBehind
from azfilesfs.model.ranges import ByteRange
from azfilesfs.model.versions import Validator

_log = logging.getLogger("azfilesfs.cache")
_READERS: Final = 4
_DRAIN_SECONDS: Final = 5.0


class CacheStatistics(NamedTuple):
    """Sizes in bytes now, and counts of blocks and values since the start."""

    memory_bytes: int
    memory_limit: int
    disk_bytes: int
    disk_limit: int
    queued_bytes: int
    memory_hits: int
    disk_hits: int
    misses: int
    dropped_writes: int
    damaged: int


class BlockCache:
    """Blocks keyed by (version, index); a block of the last index is as short as the file ends."""

    def __init__(self, memory_bytes: int, disk_limit: int, store: DiskStore | None) -> None:
        """Use ``open``; without a store the cache lives in memory only."""
        self.memory_bytes = memory_bytes
        self._disk_limit = disk_limit
        self._memory = MemoryTier(memory_bytes)
        self._ancestry = Ancestry()
        self._store = store
        self._writer = WriteBehind(store) if store else None
        self._limiter = trio.CapacityLimiter(_READERS)
        self._memory_hits = 0
        self._disk_hits = 0
        self._misses = 0

    @classmethod
    @asynccontextmanager
    async def open(
        cls, directory: Path, *, limit_bytes: int, memory_bytes: int
    ) -> AsyncIterator[Self]:
        """Open the cache below a directory; what an earlier mount stored there is found again.

        Leaving the block normally gives queued writes 5 seconds; leaving it by an exception or a
        cancellation drops them. A disk tier that cannot be opened costs a warning, not the mount.
        ``limit_bytes`` 0: no disk tier.

        Raises:
            ConfigurationError: the directory is not ours alone (mode 0700).
        """
        store = None
        if limit_bytes > 0:
            store = await trio.to_thread.run_sync(_open_store, directory, limit_bytes)
        cache = cls(memory_bytes, limit_bytes, store)
        try:
            if cache._writer:
                cache._writer.start()
            yield cache
            await cache.drain(_DRAIN_SECONDS)
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(cache._close)

    def get_nowait(self, validator: Validator, index: int) -> bytes | None:
        """Return a block that is in memory."""
        data = self._memory.get(validator, index)
        self._memory_hits += data is not None
        return data

    def has(self, validator: Validator, index: int) -> bool:
        """Tell whether a block is in memory; that alone is no use of it."""
        return self._memory.has(validator, index)

    async def get(self, validator: Validator, index: int) -> bytes | None:
        """Return a block from memory or disk; None where it is not here or damaged."""
        return (await self.get_many(validator, (index,))).get(index)

    async def get_many(self, validator: Validator, indexes: Sequence[int]) -> dict[int, bytes]:
        """Return those of the blocks that are here, with one visit to the disk for all of them.

        A cancellation takes effect when the visit ends, some milliseconds later at most.
        """
        found: dict[int, bytes] = {}
        wanted: dict[int, list[Lookup]] = {}
        for index in indexes:
            data = self.get_nowait(validator, index)
            if data is not None:
                found[index] = data
            else:
                wanted[index] = [
                    lookup
                    for source in self._ancestry.sources(validator, index)
                    for lookup in lookups(source, index)
                ]
        if wanted and self._store:
            read = partial(self._store.read, wanted)
            loaded = await trio.to_thread.run_sync(read, limiter=self._limiter)
            for index, data in loaded.items():
                self._memory.put(validator, index, data)
            self._disk_hits += len(loaded)
            found |= loaded
        self._misses += len(indexes) - len(found)
        return found

    def put(self, validator: Validator, index: int, data: bytes) -> None:
        """Keep one block, or consecutive ones from ``index`` on: in memory now, on disk soon.

        Raises:
            ValueError: the data does not end where a block of this version ends.
        """
        window = ByteRange(index * BLOCK_BYTES, index * BLOCK_BYTES + len(data))
        if window.stop != validator.size and (
            window.stop % BLOCK_BYTES or window.stop > validator.size
        ):
            raise ValueError("the data does not consist of whole blocks of this version")
        view = memoryview(data)
        for offset in range(0, len(data), BLOCK_BYTES):
            block = data if len(data) <= BLOCK_BYTES else bytes(view[offset : offset + BLOCK_BYTES])
            self._memory.put(validator, index + offset // BLOCK_BYTES, block)
        if self._writer:
            for piece in window.split(SLAB_BLOCKS * BLOCK_BYTES):
                part = view[piece.start - window.start : piece.stop - window.start]
                self._write_behind(self._writer, validator, piece, part)

    def carry_over(self, old: Validator, new: Validator, changed: Iterable[ByteRange]) -> None:
        """Let the blocks of ``old`` serve ``new``, which our upload made by changing these bytes.

        The old version's blocks leave memory: nobody should want them any more. Growth and cut
        count as changed without being named.
        """
        if old == new:
            return
        extents = self._ancestry.descend(old, new, changed)
        for index in self._memory.indexes(old):
            data = self._memory.get(old, index)
            self._memory.discard(old, index)
            if data is not None and is_untouched(extents, block_range(index, new.size)):
                self._memory.put(new, index, data)

    async def drain(self, seconds: float) -> bool:
        """Wait until all queued writes are on disk, or the time is up; return whether they are."""
        if self._writer is None:
            return True
        return await trio.to_thread.run_sync(self._writer.wait_idle, seconds)

    def statistics(self) -> CacheStatistics:
        """Return figures for metrics and tests."""
        store, writer = self._store, self._writer
        return CacheStatistics(
            memory_bytes=self._memory.used,
            memory_limit=self._memory.limit,
            disk_bytes=store.used_bytes if store else 0,
            disk_limit=self._disk_limit if store else 0,
            queued_bytes=writer.queued_bytes if writer else 0,
            memory_hits=self._memory_hits,
            disk_hits=self._disk_hits,
            misses=self._misses,
            dropped_writes=(writer.dropped if writer else 0)
            + (store.failed_writes if store else 0),
            damaged=store.damaged if store else 0,
        )

    def _write_behind(
        self, writer: WriteBehind, validator: Validator, piece: ByteRange, data: memoryview
    ) -> None:
        index = piece.start // BLOCK_BYTES
        whole = slab_range(index // SLAB_BLOCKS, validator.size)
        if piece == whole and block_count(whole.length) > 1:
            writer.put(lookups(validator, index)[0].key, data)
            return
        for offset in range(0, len(data), BLOCK_BYTES):
            alone = lookups(validator, index + offset // BLOCK_BYTES)[-1]
            writer.put(alone.key, data[offset : offset + BLOCK_BYTES])

    def _close(self) -> None:
        if self._writer:
            self._writer.end()
        if self._store:
            self._store.close()


def _open_store(directory: Path, limit_bytes: int) -> DiskStore | None:
    prepare_directory(directory)
    try:
        return DiskStore.open(directory, limit_bytes)
    except (OSError, sqlite3.Error) as error:
        _log.warning("no disk cache, it cannot be opened: %s", error)
        return None
