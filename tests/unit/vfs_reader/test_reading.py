"""What the reader asks the service for, and what it gives back."""

import random

import pytest
import trio
import trio.testing

from azfilesfs.cache import BLOCK_BYTES, BlockCache
from azfilesfs.model.limits import KIB, MIB
from azfilesfs.vfs.reader import BlockReader
from tests.unit.vfs_reader.conftest import SIZE
from tests.unit.vfs_reader.fakes import FakeInode, FakeShare


async def test_any_range_is_exact(reader, share, inode, autojump_clock):
    """Reads at random offsets and sizes give the file's bytes, cut at its end."""
    chance = random.Random(1)
    for _ in range(60):
        offset = chance.randrange(len(share.content) + MIB)
        size = chance.choice([1, 100, 4 * KIB, 128 * KIB, 3 * MIB])

        assert await reader.read(inode, offset, size, None) == share.content[offset : offset + size]


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES, BLOCK_BYTES + 1, 4 * MIB, 4 * MIB + 1])
async def test_whole_file_of_odd_sizes(make_reader, share, size, autojump_clock):
    """Files that end at or beside the edges of blocks and ranges are read whole, and not beyond."""
    share.write(size)
    inode = FakeInode(share)

    assert await make_reader().read(inode, 0, size + 1000, None) == share.content
    assert all(stop <= size for _, stop in share.ranges)


async def test_reads_outside_the_file_ask_nobody(reader, share, inode, autojump_clock):
    """At and after the end, and for no bytes, the answer is empty without a request."""
    assert await reader.read(inode, len(share.content), 10, None) == b""
    assert await reader.read(inode, 10**15, 10, None) == b""
    assert await reader.read(inode, 5, 0, None) == b""
    assert share.requests == []


async def test_random_read_fetches_small_ranges(reader, share, inode, autojump_clock):
    """A read of 4 KiB somewhere costs one block, and the next one in that block nothing."""
    pattern = reader.new_pattern()
    await reader.read(inode, 20 * MIB + 5000, 4096, pattern)
    await reader.read(inode, 3 * MIB, 4096, pattern)
    await reader.read(inode, 3 * MIB + 8192, 4096, pattern)

    assert share.ranges == [
        (20 * MIB, 20 * MIB + BLOCK_BYTES),
        (3 * MIB, 3 * MIB + BLOCK_BYTES),
    ]


async def test_read_across_blocks_is_one_request(reader, share, inode, autojump_clock):
    """Neighbouring missing blocks of one read come with one request."""
    await reader.read(inode, 100, MIB, None)

    assert share.ranges == [(0, MIB + BLOCK_BYTES)]


async def test_cached_middle_is_not_fetched_again(reader, share, inode, autojump_clock):
    """Only the missing blocks around a cached one are asked for."""
    await reader.read(inode, 2 * BLOCK_BYTES, 10, None)
    share.requests.clear()

    data = await reader.read(inode, 0, 5 * BLOCK_BYTES, None)

    assert data == share.content[: 5 * BLOCK_BYTES]
    assert sorted(share.ranges) == [
        (0, 2 * BLOCK_BYTES),
        (3 * BLOCK_BYTES, 5 * BLOCK_BYTES),
    ]


async def test_large_read_uses_parallel_ranges(reader, share, inode, autojump_clock):
    """One read of many MiB is fetched in ranges of 4 MiB at the same time."""
    data = await reader.read(inode, MIB, 30 * MIB, None)

    assert data == share.content[MIB : 31 * MIB]
    assert min(share.ranges) == (MIB, 4 * MIB)
    assert max(stop - start for start, stop in share.ranges) == 4 * MIB
    assert share.most_in_flight == 8


async def test_sequential_reads_go_ahead_in_whole_ranges(reader, share, inode, autojump_clock):
    """A program that reads on finds the bytes there: ranges of 4 MiB, several at once."""
    pattern = reader.new_pattern()
    whole = b""
    while data := await reader.read(inode, len(whole), 128 * KIB, pattern):
        whole += data

    assert whole == share.content
    assert len(share.requests) <= 16
    assert sorted(share.ranges)[0] == (0, 128 * KIB)
    assert share.ranges.count((8 * MIB, 12 * MIB)) == 1
    assert share.most_in_flight >= 4
    assert share.bytes_sent == len(share.content)


async def test_reading_ahead_hides_latency(make_reader, share, inode, autojump_clock):
    """A sequential pass takes far fewer round trips than it has ranges."""
    share.latency = 1.0
    reader = make_reader()
    pattern = reader.new_pattern()
    started = trio.current_time()
    for offset in range(0, len(share.content), MIB):
        await reader.read(inode, offset, MIB, pattern)

    assert trio.current_time() - started <= 6.0


async def test_start_of_a_file_takes_few_round_trips(make_reader, share, inode, autojump_clock):
    """As the kernel reads, a MiB ahead of the program: two round trips for the first 40 MiB."""
    share.latency = 1.0
    reader = make_reader()
    pattern = reader.new_pattern()
    started = trio.current_time()
    answered = [trio.Event() for _ in range(40)]

    async def read(index: int) -> None:
        await reader.read(inode, index * MIB, MIB, pattern)
        answered[index].set()

    async with trio.open_nursery() as nursery:
        for index in range(40):
            nursery.start_soon(read, index)
            await trio.testing.wait_all_tasks_blocked()
            if index:
                await answered[index - 1].wait()

    assert trio.current_time() - started <= 2.0


@pytest.mark.parametrize("head", [128 * KIB, 256 * KIB, 512 * KIB])
async def test_head_of_a_file_costs_little(reader, share, inode, autojump_clock, head):
    """A program that looks at the head of a file only makes us fetch twice of that at most."""
    pattern = reader.new_pattern()
    for offset in range(0, head, 128 * KIB):
        await reader.read(inode, offset, 128 * KIB, pattern)
    await trio.testing.wait_all_tasks_blocked()

    assert share.bytes_sent <= 2 * head


async def test_reading_ahead_can_be_switched_off(make_reader, share, inode, autojump_clock):
    """With no window each read fetches what it needs only."""
    reader = make_reader(readahead_blocks=0)
    pattern = reader.new_pattern()
    for index in range(4):
        await reader.read(inode, index * BLOCK_BYTES, BLOCK_BYTES, pattern)

    assert share.ranges == [(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES) for i in range(4)]


async def test_lease_and_path_go_with_each_request(reader, share, inode, autojump_clock):
    """A request carries the path that is true now and the lease that we hold."""
    inode.lease_id = "our-lease"
    await reader.read(inode, 0, 10, None)

    assert (share.requests[0].path, share.requests[0].lease_id) == (inode.share_path, "our-lease")


async def test_bytes_in_flight_are_bounded(make_reader, share, inode, autojump_clock):
    """However many reads come at once, what is in flight stays inside the budget."""
    reader = make_reader(budget_bytes=8 * MIB)
    async with trio.open_nursery() as nursery:
        for start in range(0, 40, 2):
            nursery.start_soon(reader.read, inode, start * MIB, 2 * MIB, None)

    assert share.most_bytes_in_flight == 8 * MIB
    assert reader.statistics() == (0, 0)


async def test_reading_ahead_leaves_half_of_the_budget(make_reader, share, inode, autojump_clock):
    """What is read ahead never takes the room that waiting reads need."""
    share.latency = 100
    reader = make_reader(budget_bytes=16 * MIB)
    pattern = reader.new_pattern()
    async with trio.open_nursery() as nursery:
        await reader.read(inode, 0, MIB, pattern)
        nursery.start_soon(reader.read, inode, MIB, MIB, pattern)
        await trio.testing.wait_all_tasks_blocked()
        assert reader.statistics().bytes_in_flight <= 8 * MIB + 4 * MIB
        started = trio.current_time()
        await reader.read(inode, 30 * MIB, 10, None)
        assert trio.current_time() - started <= 100


async def test_blocks_come_back_from_disk(tmp_path, share, inode, nursery):
    """What a reader fetched is read from disk after a restart, without a request."""
    for _ in range(2):
        async with BlockCache.open(
            tmp_path / "disk", limit_bytes=256 * MIB, memory_bytes=2 * MIB
        ) as cache:
            reader = BlockReader(share, cache, readahead_blocks=2, nursery=nursery)
            data = await reader.read(inode, 3 * MIB, 9 * MIB, None)
            assert data == share.content[3 * MIB : 12 * MIB]
            await cache.drain(10)

    assert len(share.requests) == 3


async def test_first_block_revalidates_at_open(reader, share, inode, autojump_clock):
    """An open of a file that is not cached brings its first block and its properties."""
    share.write(10_000)
    properties = await reader.open_first_block(inode)

    assert properties == share.properties
    inode.validator = share.validator
    assert await reader.read(inode, 0, 10_000, None) == share.content
    assert share.ranges == [(0, 256 * KIB)]


async def test_first_block_is_left_to_the_caller(reader, share, inode, autojump_clock):
    """Where the block is cached or the file was empty, open needs no data and asks for none."""
    await reader.read(inode, 0, 10, None)
    assert await reader.open_first_block(inode) is None

    share.write(0)
    assert await reader.open_first_block(FakeInode(share)) is None
    assert len(share.requests) == 1


async def test_first_block_of_a_file_that_became_empty(reader, share, inode, autojump_clock):
    """A range on an empty file is refused by the service: the properties tell what happened."""
    share.write(0)

    assert await reader.open_first_block(inode) == share.properties
    assert share.heads == 1


async def test_small_memory_limits_the_window(tmp_path, share, nursery):
    """A memory tier too small to hold what is read ahead switches reading ahead off."""
    async with BlockCache.open(tmp_path, limit_bytes=0, memory_bytes=8 * MIB) as cache:
        reader = BlockReader(share, cache, readahead_blocks=6, nursery=nursery)
        pattern = reader.new_pattern()
        for index in range(4):
            await reader.read(FakeInode(share), index * MIB, MIB, pattern)

    assert len(share.requests) == 4
    assert isinstance(share, FakeShare)


async def test_random_reads_cost_little(make_reader, share, inode, autojump_clock):
    """A read of 4 KiB that has not been touched costs one request, and four times its bytes."""
    reader, chance = make_reader(), random.Random(3)
    pattern = reader.new_pattern()
    count = 300
    for _ in range(count):
        offset = chance.randrange(SIZE // 4096) * 4096
        data = await reader.read(inode, offset, 4096, pattern)
        assert data == share.content[offset : offset + 4096]

    assert len(share.requests) <= count
    assert share.bytes_sent <= count * BLOCK_BYTES


async def test_head_of_a_file_costs_no_whole_range(reader, share, inode, autojump_clock):
    """A program that reads the first KiB of each file in sequence is not sent megabytes."""
    pattern = reader.new_pattern()
    for offset in range(0, 64 * KIB, 4 * KIB):
        await reader.read(inode, offset, 4 * KIB, pattern)

    assert share.bytes_sent <= 512 * KIB
    assert len(share.requests) <= 3


async def test_one_piece_is_answered_without_a_copy(reader, share, inode, autojump_clock):
    """What one request brought is shown to the kernel in the buffer that it arrived in."""
    first = await reader.read(inode, 0, 100 * KIB, None)
    again = await reader.read(inode, 10 * KIB, 20 * KIB, None)

    assert isinstance(again, memoryview)
    assert again == share.content[10 * KIB : 30 * KIB]
    assert isinstance(first, memoryview)
    assert again.obj is first.obj is share.bodies[0]


@pytest.mark.parametrize("streams", [1, 3, 8, 20])
async def test_streams_share_the_memory(tmp_path, share, nursery, streams, autojump_clock):
    """However many handles are read in sequence, each byte comes once and the memory is enough."""
    share.write(24 * MIB)
    most = 0

    async with BlockCache.open(tmp_path, limit_bytes=0, memory_bytes=64 * MIB) as cache:
        reader = BlockReader(share, cache, readahead_blocks=6, nursery=nursery)

        async def stream(file: FakeInode) -> None:
            nonlocal most
            pattern = reader.new_pattern()
            for offset in range(0, 24 * MIB, 128 * KIB):
                data = await reader.read(file, offset, 128 * KIB, pattern)
                assert data == share.content[offset : offset + 128 * KIB]
                most = max(most, cache.statistics().buffer_bytes)

        async with trio.open_nursery() as programs:
            files = [FakeInode(share) for _ in range(streams)]
            share.unsure_of_time = True
            for number, file in enumerate(files):
                # As different files, although the share has one content for all.
                file.validator = file.validator._replace(change_time_ns=number)
                programs.start_soon(stream, file)

    assert share.bytes_sent <= 1.05 * streams * 24 * MIB
    assert most <= 64 * MIB + BLOCK_BYTES


async def test_lost_readahead_shrinks_the_window(tmp_path, share, nursery, autojump_clock):
    """When what was read ahead is pushed out before it is wanted, less is read ahead."""
    async with BlockCache.open(tmp_path, limit_bytes=0, memory_bytes=64 * MIB) as cache:
        reader, file = (
            BlockReader(share, cache, readahead_blocks=4, nursery=nursery),
            FakeInode(share),
        )
        pattern = reader.new_pattern()
        for offset in range(0, 8 * MIB, MIB):
            await reader.read(file, offset, MIB, pattern)
        await trio.sleep(10)
        assert pattern.window == 4
        cache.lend(64 * MIB)
        cache.take_back(64 * MIB)
        data = await reader.read(file, 8 * MIB, MIB, pattern)

    assert data == share.content[8 * MIB : 9 * MIB]
    assert pattern.window == 2
