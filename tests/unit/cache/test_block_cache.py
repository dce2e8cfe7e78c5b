"""The cache as the reader uses it: two tiers, writes behind, versions out of versions."""

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from azfilesfs.cache import BLOCK_BYTES, SLAB_BYTES, BlockCache, block_count
from azfilesfs.cache.store import DiskStore
from azfilesfs.cache.write_behind import Waiting, WriteBehind
from azfilesfs.errors import ConfigurationError
from azfilesfs.model.limits import KIB, MIB
from azfilesfs.model.ranges import ByteRange
from tests.unit.cache.data import block, content, fill, get, in_memory, load, split, version

ONE, TWO = version(1), version(2)
LAST = block_count(ONE.size) - 1


def open_cache(directory: Path, limit: int = 64 * MIB, memory: int = 32 * MIB):
    """Open a cache with room for the tests' files."""
    return BlockCache.open(directory, limit_bytes=limit, memory_bytes=memory)


async def test_blocks_are_in_memory_at_once(tmp_path):
    """What was put is there without waiting, block by block, and only under its version."""
    async with open_cache(tmp_path / "c") as cache:
        data = fill(cache, ONE)

        assert {i: in_memory(cache, ONE, i) for i in split(data)} == split(data)
        assert in_memory(cache, ONE, len(split(data))) is None
        assert in_memory(cache, TWO, 0) is None
        assert cache.has(ONE, 0)
        assert not cache.has(TWO, 0)


async def test_blocks_survive_a_remount(tmp_path):
    """A clean shutdown writes what waits, and the next mount finds it on disk."""
    async with open_cache(tmp_path / "c") as cache:
        data = fill(cache, ONE)
    async with open_cache(tmp_path / "c") as cache:
        assert in_memory(cache, ONE, 0) is None
        assert await load(cache, ONE) == split(data)
        assert in_memory(cache, ONE, 0) == block(ONE, 0)
        assert cache.statistics().disk_hits == 3


async def test_disk_serves_what_memory_lost(tmp_path):
    """Blocks that no longer fit into memory come from disk, without a request."""
    async with open_cache(tmp_path / "c", memory=MIB) as cache:
        data = fill(cache, ONE)
        assert await cache.drain(30)

        assert await load(cache, ONE) == split(data)
        assert cache.statistics().memory_bytes <= MIB


@pytest.mark.parametrize("size", [1, 4 * KIB, BLOCK_BYTES, BLOCK_BYTES + 1, 4 * MIB, 4 * MIB + 1])
async def test_files_of_odd_sizes_survive(tmp_path, size):
    """Small files and files that end beside the edges of blocks and slabs come back whole."""
    validator = version(1, size)
    async with open_cache(tmp_path / "c") as cache:
        data = fill(cache, validator)
    async with open_cache(tmp_path / "c") as cache:
        assert await load(cache, validator) == split(data)


async def test_single_blocks_survive(tmp_path):
    """Blocks put one by one, as random reads do, come back; their neighbours are misses."""
    async with open_cache(tmp_path / "c") as cache:
        for index in (0, 5, 17, LAST):
            cache.put(ONE, index, block(ONE, index))
    async with open_cache(tmp_path / "c") as cache:
        assert await load(cache, ONE) == {index: block(ONE, index) for index in (0, 5, 17, LAST)}
        assert await get(cache, ONE, 6) is None


async def test_run_across_slabs_survives(tmp_path):
    """A run that begins and ends in the middle of slabs is stored as parts of slabs."""
    data = content(ONE)
    async with open_cache(tmp_path / "c") as cache:
        cache.put(ONE, 100, data[100 * BLOCK_BYTES : 560 * BLOCK_BYTES])
    async with open_cache(tmp_path / "c") as cache:
        found = await load(cache, ONE)
    assert found == {index: split(data)[index] for index in range(100, 560)}


async def test_half_a_block_is_refused(tmp_path):
    """Data that does not end where a block ends would be taken for a whole one later."""
    async with open_cache(tmp_path / "c") as cache:
        for index, length in ((0, 100), (LAST, BLOCK_BYTES), (0, BLOCK_BYTES + 1)):
            with pytest.raises(ValueError, match="whole blocks"):
                cache.put(ONE, index, bytes(length))
        assert cache.statistics().memory_bytes == 0


async def test_without_a_disk_tier(tmp_path):
    """Limit 0 means memory only: nothing is made on disk, and misses are misses."""
    async with open_cache(tmp_path / "c", limit=0) as cache:
        fill(cache, ONE)
        assert await get(cache, ONE, 0) == block(ONE, 0)
        assert await get(cache, TWO, 0) is None
        assert await cache.drain(1)
    assert not (tmp_path / "c").exists()


async def test_statistics_tell_what_happened(tmp_path):
    """Hits by tier, misses and sizes are counted."""
    async with open_cache(tmp_path / "c", memory=6 * MIB) as cache:
        data = fill(cache, ONE)
        await cache.drain(30)
        cache.put(ONE, LAST, block(ONE, LAST))
        await cache.drain(30)
        in_memory(cache, ONE, LAST)
        await get(cache, ONE, 0)
        await get(cache, TWO, 0)
        figures = cache.statistics()

    assert (figures.memory_hits, figures.disk_hits, figures.misses) == (1, 1, 1)
    assert len(data) < figures.disk_bytes <= figures.disk_limit == 64 * MIB
    assert (figures.queued_bytes, figures.dropped_writes, figures.damaged) == (0, 0, 0)


async def test_many_tasks_at_once(tmp_path):
    """Reads of the disk from many tasks, with writes going on, give each its own block."""
    async with open_cache(tmp_path / "c", memory=0) as cache:
        fill(cache, ONE)
        await cache.drain(30)
        expected = split(content(ONE))
        results: dict[int, bytes | None] = {}

        async def one(index: int) -> None:
            results[index] = await get(cache, ONE, index)

        async with trio.open_nursery() as nursery:
            for index in expected:
                nursery.start_soon(one, index)
            fill(cache, TWO)

    assert results == expected


class SlowStore:
    """Stands in for the writing half of a store: each write waits for a permit."""

    def __init__(self) -> None:
        self.permits = threading.Semaphore(0)
        self.written: list[list[int]] = []

    def all_written(self) -> list[int]:
        return [slab for batch in self.written for slab in batch]

    def sweep(self) -> None:
        pass

    def stop(self) -> None:
        self.permits.release()

    def write(self, batch: Sequence[Waiting]) -> None:
        self.written.append([waiting.slab for waiting in batch])
        assert self.permits.acquire(timeout=30)


SHORT = version(size=3 * SLAB_BYTES + 10)
"""The fourth slab is complete with ten bytes."""


def test_full_queue_drops_and_counts():
    """Writes beyond the queue's bytes are dropped at once; nobody waits for the disk."""
    store = SlowStore()
    writer = WriteBehind(store, limit_bytes=25)
    writer.start()
    for number in range(4):
        writer.put(version(number, SHORT.size), 3, 0, bytes(10))
    assert (writer.dropped, writer.queued_bytes) == (2, 20)

    store.permits.release(2)
    assert writer.wait_idle(30)
    writer.put(SHORT, 3, 0, bytes(10))
    store.permits.release()
    assert writer.wait_idle(30)
    writer.end()

    assert store.all_written() == [3, 3, 3]


def test_end_drops_what_waits():
    """The end finishes the write in progress, drops the rest and takes no more."""
    store = SlowStore()
    writer = WriteBehind(store)
    writer.start()
    for number in range(3):
        writer.put(version(number, SHORT.size), 3, 0, bytes(10))
    assert not writer.wait_idle(0.01)

    writer.end()
    writer.put(SHORT, 3, 0, bytes(10))

    assert len(store.all_written()) + writer.dropped == 4
    assert writer.queued_bytes == 0


def started(linger: float) -> tuple[SlowStore, WriteBehind]:
    """Start a writer whose store lets one batch pass."""
    store = SlowStore()
    store.permits.release()
    writer = WriteBehind(store, linger=linger)
    writer.start()
    return store, writer


def wait_for_queue(writer: WriteBehind, most: int) -> None:
    """Wait until no more than so many bytes are left to write; nothing wakes the writer."""
    deadline = time.monotonic() + 30
    while writer.queued_bytes > most:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_small_pieces_are_written_in_bulk():
    """What random reads and small files bring gathers, and goes in one batch."""
    store, writer = started(linger=3600)
    for slab in (0, 1, 0, 2):
        writer.put(SHORT, slab, 5, bytes(BLOCK_BYTES))
    writer.put(SHORT, 3, 0, bytes(10))
    assert store.written == []

    assert writer.wait_idle(30)
    writer.end()

    assert store.written == [[0, 1, 2, 3]]


def test_a_large_slab_does_not_wait():
    """A slab that is complete is written without anything else happening, others stay."""
    store, writer = started(linger=3600)
    writer.put(SHORT, 0, 5, bytes(BLOCK_BYTES))
    writer.put(SHORT, 1, 0, bytes(SLAB_BYTES))
    wait_for_queue(writer, BLOCK_BYTES)

    assert store.written == [[1]]
    store.permits.release()
    writer.end()


def test_parts_of_slabs_do_not_wait_for_ever():
    """What has waited long enough is written without anything else happening."""
    store, writer = started(linger=0.01)
    writer.put(SHORT, 0, 5, bytes(BLOCK_BYTES))
    wait_for_queue(writer, 0)
    writer.end()

    assert store.written == [[0]]


async def test_cancelled_mount_drops_what_waits(tmp_path, monkeypatch):
    """A mount that is cancelled does not wait for its cache, and ends its thread."""
    gate = threading.Event()
    monkeypatch.setattr(DiskStore, "write", lambda *_: gate.wait(30))
    monkeypatch.setattr(DiskStore, "stop", lambda self: gate.set())
    with trio.CancelScope() as scope:
        async with open_cache(tmp_path / "c") as cache:
            fill(cache, ONE)
            scope.cancel()
            await trio.lowlevel.checkpoint()

    assert scope.cancelled_caught
    assert cache.statistics().dropped_writes >= 1
    assert not [t for t in threading.enumerate() if t.name == "azfilesfs-cache"]


async def test_errors_of_the_mount_pass_through(tmp_path):
    """An exception out of the block that uses the cache is not wrapped or lost."""
    with pytest.raises(ZeroDivisionError):
        async with open_cache(tmp_path / "c"):
            raise ZeroDivisionError
    assert not [t for t in threading.enumerate() if t.name == "azfilesfs-cache"]


async def test_carry_over_in_memory(tmp_path):
    """After our upload the untouched blocks serve the new version instead of the old."""
    new = version(2, ONE.size)
    async with open_cache(tmp_path / "c", limit=0) as cache:
        fill(cache, ONE)
        used = cache.statistics().memory_bytes
        cache.carry_over(ONE, new, [ByteRange(3 * BLOCK_BYTES, 3 * BLOCK_BYTES + 1)])

        assert in_memory(cache, new, 2) == block(ONE, 2)
        assert in_memory(cache, new, 3) is None
        assert in_memory(cache, ONE, 2) is None
        assert cache.statistics().memory_bytes < used


async def test_carry_over_on_disk(tmp_path):
    """Blocks that are on disk only serve later versions as well, but not where they changed."""
    last = version(3, ONE.size + 10)
    async with open_cache(tmp_path / "c", memory=0) as cache:
        fill(cache, ONE)
        await cache.drain(30)
        cache.carry_over(ONE, TWO, [ByteRange(0, 1)])
        cache.carry_over(TWO, last, [ByteRange(20 * BLOCK_BYTES, 20 * BLOCK_BYTES + 1)])
        found = await load(cache, last)

    end = ONE.size // BLOCK_BYTES
    assert set(range(end + 1)) - set(found) == {0, 20, end}
    blocks = split(content(ONE))
    assert all(found[index] == blocks[index] for index in found)


async def test_carry_over_to_itself_changes_nothing(tmp_path):
    """An upload that did not move the version keeps its blocks."""
    async with open_cache(tmp_path / "c", limit=0) as cache:
        fill(cache, ONE)
        cache.carry_over(ONE, ONE, [ByteRange(0, ONE.size)])

        assert in_memory(cache, ONE, 0) == block(ONE, 0)


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o701])
async def test_open_directory_is_refused(tmp_path, mode):
    """A cache directory that others may enter is not used."""
    (tmp_path / "c").mkdir()
    (tmp_path / "c").chmod(mode)

    with pytest.raises(ConfigurationError, match="0700"):
        async with open_cache(tmp_path / "c"):
            pass


@pytest.mark.parametrize("kind", ["file", "symlink"])
async def test_what_is_no_directory_is_refused(tmp_path, kind):
    """A file, or a link to somewhere else, is not taken for the cache directory."""
    if kind == "file":
        (tmp_path / "c").touch(mode=0o600)
    else:
        (tmp_path / "d").mkdir(mode=0o700)
        (tmp_path / "c").symlink_to(tmp_path / "d")

    with pytest.raises(ConfigurationError, match="not a directory"):
        async with open_cache(tmp_path / "c"):
            pass


async def test_directory_of_another_user_is_refused(tmp_path, monkeypatch):
    """A cache directory that somebody else made for us is not used."""
    (tmp_path / "c").mkdir(mode=0o700)
    owner = (tmp_path / "c").stat().st_uid
    monkeypatch.setattr("azfilesfs.cache.store.os.geteuid", lambda: owner + 1)

    with pytest.raises(ConfigurationError, match="another user"):
        async with open_cache(tmp_path / "c"):
            pass


async def test_directory_is_made_private(tmp_path):
    """A directory that does not exist yet is made for us alone."""
    async with open_cache(tmp_path / "a" / "c"):
        pass

    for path in (tmp_path / "a" / "c", tmp_path / "a" / "c" / "blocks-3"):
        assert path.stat().st_mode & 0o777 == 0o700


@pytest.mark.expect_log("no disk cache")
async def test_unusable_disk_costs_a_warning(tmp_path, monkeypatch):
    """A disk tier that cannot be opened leaves a mount with its memory."""

    def full(*_) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(DiskStore, "open", full)
    async with open_cache(tmp_path / "c") as cache:
        fill(cache, ONE)
        assert await get(cache, ONE, 0) == block(ONE, 0)
        assert cache.statistics().disk_limit == 0


async def test_cut_chunks_keep_no_foreign_bytes(tmp_path):
    """After our upload a read over a changed block never continues into the old bytes."""
    new = version(2, ONE.size)
    async with open_cache(tmp_path / "c", limit=0) as cache:
        fill(cache, ONE)
        cache.carry_over(ONE, new, [ByteRange(3 * BLOCK_BYTES, 3 * BLOCK_BYTES + 1)])

        data = cache.get_nowait(new, 0, SLAB_BYTES)
        assert data == content(ONE)[: 3 * BLOCK_BYTES]


async def test_bytes_on_their_way_take_room(tmp_path):
    """All buffers together stay inside the limit: what is lent leaves the memory tier."""
    async with open_cache(tmp_path / "c", limit=0, memory=12 * MIB) as cache:
        fill(cache, ONE)
        cache.lend(8 * MIB)
        figures = cache.statistics()
        assert figures.memory_bytes <= 4 * MIB
        assert 8 * MIB <= figures.buffer_bytes <= 12 * MIB

        cache.put(TWO, 0, content(TWO)[:SLAB_BYTES])
        assert cache.statistics().buffer_bytes <= 12 * MIB
        cache.take_back(8 * MIB)
        fill(cache, TWO)
        assert cache.statistics().memory_bytes > 8 * MIB


def reads_without_waiting(folder: Path) -> bool:
    """Tell whether a filesystem has RWF_NOWAIT; older ones of memory have not."""
    path = folder / "probe"
    path.write_bytes(b"probe")
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.preadv(descriptor, [bytearray(5)], 0, os.RWF_NOWAIT) == 5
    except OSError:
        return False
    finally:
        os.close(descriptor)


async def test_verified_blocks_are_read_without_a_thread(tmp_path):
    """Blocks that this mount wrote singly or has read from disk are had at once, others not."""
    if not reads_without_waiting(tmp_path):
        pytest.skip("the filesystem of the tests has no reads that do not wait")
    data = content(ONE)
    async with open_cache(tmp_path / "c", memory=0) as cache:
        cache.put(ONE, 4, data[4 * BLOCK_BYTES : 5 * BLOCK_BYTES])
        await cache.drain(30)
        assert cache.read_nowait(ONE, 70_000, 80_000) == data[70_000:80_000]
        assert cache.read_nowait(TWO, 70_000, 80_000) is None
    async with open_cache(tmp_path / "c", memory=0) as cache:
        assert cache.read_nowait(ONE, 70_000, 80_000) is None
        await get(cache, ONE, 4)
        assert cache.read_nowait(ONE, 70_000, 80_000) == data[70_000:80_000]
        assert cache.read_nowait(ONE, 70_000, 90_000) is None


async def test_no_thread_for_what_cannot_be_on_disk(tmp_path, monkeypatch):
    """Once a version was looked for, blocks that are not on disk cost no visit."""
    visits: list[object] = []
    real = DiskStore.read

    def counted(self, searches):
        visits.append(searches)
        return real(self, searches)

    monkeypatch.setattr(DiskStore, "read", counted)
    blocks = split(content(ONE))
    async with open_cache(tmp_path / "c", memory=0) as cache:
        for index in range(0, LAST, 20):
            assert await get(cache, ONE, index) is None
            cache.put(ONE, index, blocks[index])
        assert len(visits) == 1
        await cache.drain(30)
        for index in range(1, LAST, 20):
            assert await get(cache, ONE, index) is None
        assert len(visits) == 1
        assert await get(cache, ONE, 20) == blocks[20]
        assert len(visits) == 2
