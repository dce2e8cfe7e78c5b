"""Clean bytes of known versions, in memory and on disk. May lose any of them at any time.

Owned by the daemon, used by the reader. Every method but ``open`` and ``get`` is synchronous; all
are for the event loop's thread. Reads of the disk run in worker threads behind a limiter, writes
in one thread of their own.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, Self

import trio

from azfilesfs.cache.ancestry import Ancestry, is_untouched
from azfilesfs.cache.blocks import (
    BLOCK_BYTES,
    SLAB_BLOCKS,
    SLAB_BYTES,
    Buffer,
    block_count,
    block_range,
)
from azfilesfs.cache.memory import MemoryTier
from azfilesfs.cache.store import DiskStore, Found, Search, Source, prepare_directory
from azfilesfs.cache.write_behind import QUEUE_BYTES, WriteBehind
from azfilesfs.model.buffers import RANGES
from azfilesfs.model.limits import MIB
from azfilesfs.model.ranges import ByteRange
from azfilesfs.model.versions import Validator

_log = logging.getLogger("azfilesfs.cache")
_READERS: Final = 4
_DRAIN_SECONDS: Final = 5.0
_LEAST_QUEUE_BYTES: Final = 12 * MIB
_SPARED_BUFFERS: Final = 8
_ALL: Final = b"\1" * SLAB_BLOCKS


class CacheStatistics(NamedTuple):
    """Sizes in bytes now, and counts of visits that found something since the start.

    ``buffer_bytes`` is all that holds contents of files: the memory tier, what is on its way from
    the service, and what waits for the disk.
    """

    memory_bytes: int
    memory_limit: int
    buffer_bytes: int
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
        self._lent = 0
        self._kept = 0
        self._writer = WriteBehind(store, queue_limit(memory_bytes)) if store else None
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

    def get_nowait(self, validator: Validator, start: int, stop: int) -> memoryview | None:
        """Return bytes from ``start`` on that are in memory, up to ``stop`` at most."""
        chunk = self._memory.find(validator, start // BLOCK_BYTES)
        if chunk is None:
            return None
        self._memory_hits += 1
        # Blocks of a chunk may have been replaced since, but only by the same bytes.
        return chunk.data[start - chunk.start : stop - chunk.start]

    def read_nowait(self, validator: Validator, start: int, stop: int) -> memoryview | None:
        """Return bytes that need no wait for the disk; fewer only at the end of a slab.

        These are blocks that were verified before and that are in the system's page cache.
        """
        if self._store is None:
            return None
        slab, skipped = divmod(start, SLAB_BYTES)
        window = ByteRange(skipped, min(skipped + stop - start, SLAB_BYTES))
        data = self._store.read_nowait(validator, slab, window)
        self._disk_hits += data is not None
        return data

    def has(self, validator: Validator, index: int) -> bool:
        """Tell whether a block is in memory; that alone is no use of it."""
        return self._memory.has(validator, index)

    async def load(
        self, validator: Validator, blocks: range, *, is_lent: bool = False
    ) -> list[tuple[int, memoryview]]:
        """Return runs of blocks that are here, by their first block, in no order.

        One visit to the disk serves all of them; none is made where the disk cannot have any. A
        cancellation takes effect when the visit ends, some milliseconds later at most.
        ``is_lent``: what is returned had room lent, which it no longer needs.
        """
        found: list[tuple[int, memoryview]] = []
        searches: list[Search] = []
        position, count = blocks.start, 0
        while position < blocks.stop:
            slab = position // SLAB_BLOCKS
            chunk = self._memory.find(validator, position)
            if chunk is not None:
                end = min(chunk.blocks.stop, blocks.stop)
                start, stop = position - chunk.first, end - chunk.first
                found.append((position, chunk.data[start * BLOCK_BYTES : stop * BLOCK_BYTES]))
                self._memory_hits += 1
                count += end - position
                position = end
                continue
            end = position + 1
            last = min(blocks.stop, (slab + 1) * SLAB_BLOCKS)
            while end < last and not self._memory.has(validator, end):
                end += 1
            first = slab * SLAB_BLOCKS
            searches += self._search(validator, slab, range(position - first, end - first))
            position = end
        loaded: list[Found] = []
        if searches and self._store:
            read = partial(self._store.read, searches)
            loaded = await trio.to_thread.run_sync(read, limiter=self._limiter)
        # From here to the end nothing waits: what the caller gets is no longer lent.
        self._lent -= sum(len(data) for _, data in found) if is_lent else 0
        for slab, position, data in loaded:
            first = slab * SLAB_BLOCKS + position
            found.append((first, data))
            self._keep(validator, first, data, is_lent=is_lent)
            self._disk_hits += 1
            count += block_count(len(data))
        self._misses += len(blocks) - count
        return found

    def put(self, validator: Validator, index: int, data: Buffer, *, is_lent: bool = False) -> None:
        """Keep one block, or consecutive ones from ``index`` on: in memory now, on disk soon.

        The data is kept as it is and must not change any more. ``is_lent`` is as for ``load``.

        Raises:
            ValueError: the data does not end where a block of this version ends.
        """
        window = ByteRange(index * BLOCK_BYTES, index * BLOCK_BYTES + len(data))
        if window.stop != validator.size and (
            window.stop % BLOCK_BYTES or window.stop > validator.size
        ):
            raise ValueError("the data does not consist of whole blocks of this version")
        view = memoryview(data).cast("B").toreadonly()
        for piece in window.split(SLAB_BYTES):
            part = view[piece.start - window.start : piece.stop - window.start]
            slab, first = divmod(piece.start // BLOCK_BYTES, SLAB_BLOCKS)
            if self._writer:
                self._writer.put(validator, slab, first, part)
            self._keep(validator, piece.start // BLOCK_BYTES, part, is_lent=is_lent)

    def lend(self, amount: int) -> None:
        """Leave room for bytes that are on their way, at the cost of the memory tier."""
        self._lent += amount
        self._fit()

    def take_back(self, amount: int) -> None:
        """Have room back that was lent."""
        self._lent -= amount
        self._fit()

    def carry_over(self, old: Validator, new: Validator, changed: Iterable[ByteRange]) -> None:
        """Let the blocks of ``old`` serve ``new``, which our upload made by changing these bytes.

        The old version's blocks leave memory: nobody should want them any more. Growth and cut
        count as changed without being named.
        """
        if old == new:
            return
        extents = self._ancestry.descend(old, new, changed)
        self._memory.rename(
            old, new, lambda index: is_untouched(extents, block_range(index, new.size))
        )

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
            memory_limit=self.memory_bytes,
            buffer_bytes=self._memory.used + self._lent + (writer.queued_bytes if writer else 0),
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

    def _search(self, validator: Validator, slab: int, blocks: range) -> list[Search]:
        """Return what to look for on disk: nothing where nothing can be."""
        if self._store is None:
            return []
        sources = [Source(validator, _ALL)]
        for ancestor in self._ancestry.ancestors(validator):
            first = slab * SLAB_BLOCKS
            usable = bytearray(blocks.stop)
            for index in blocks:
                block = block_range(first + index, validator.size)
                usable[index] = is_untouched(ancestor.changed, block)
            sources.append(Source(ancestor.validator, bytes(usable)))
        able = [each for each in sources if self._store.may_have(each.validator, slab, blocks)]
        return [Search(slab, blocks, able)] if able else []

    def _keep(self, validator: Validator, first: int, data: memoryview, *, is_lent: bool) -> None:
        self._lent -= len(data) if is_lent else 0
        self._fit()
        self._memory.put(validator, first, data)
        self._kept += len(data)
        if self._kept >= SLAB_BYTES:
            self._kept = 0
            # What has left may be buffers that only whole ranges can use.
            RANGES.trim(_SPARED_BUFFERS)

    def _fit(self) -> None:
        """Let all buffers together stay inside the limit."""
        queued = self._writer.queued_bytes if self._writer else 0
        self._memory.resize(max(0, self.memory_bytes - self._lent - queued))

    def _close(self) -> None:
        if self._writer:
            self._writer.end()
        if self._store:
            self._store.close()


def queue_limit(memory_bytes: int) -> int:
    """Return how many bytes may wait for the disk: a quarter of the memory, if that is enough."""
    return max(_LEAST_QUEUE_BYTES, min(QUEUE_BYTES, memory_bytes // 4))


def _open_store(directory: Path, limit_bytes: int) -> DiskStore | None:
    prepare_directory(directory)
    try:
        return DiskStore.open(directory, limit_bytes)
    except (OSError, sqlite3.Error) as error:
        _log.warning("no disk cache, it cannot be opened: %s", error)
        return None
