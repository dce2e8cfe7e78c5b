"""Loads that several reads share: one request, one outcome, no harm from a cancelled waiter."""

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from azfilesfs import errors
from azfilesfs.cache import BLOCK_BYTES
from azfilesfs.client import Priority
from azfilesfs.client.priority import current_urgency
from azfilesfs.model.limits import MIB
from azfilesfs.model.paths import SharePath
from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.loads import Load
from azfilesfs.vfs.reader import BlockReader
from tests.unit.vfs_reader.fakes import FakeInode


async def test_many_reads_of_a_block_are_one_request(reader, share, inode, autojump_clock):
    """Reads that come while a block is on its way wait for it."""
    results: list[bytes] = []

    async def one(offset: int) -> None:
        results.append(bytes(await reader.read(inode, offset, 100, None)))

    async with trio.open_nursery() as nursery:
        for offset in range(0, 5000, 100):
            nursery.start_soon(one, offset)

    assert len(share.requests) == 1
    assert b"".join(sorted(results)) == b"".join(
        sorted(share.content[offset : offset + 100] for offset in range(0, 5000, 100))
    )


async def test_cancelled_waiter_does_not_cancel_the_load(reader, share, inode, autojump_clock):
    """The read that started a load may be cancelled; the others get their bytes from it."""
    share.latency = 10
    results: list[bytes] = []

    async def patient() -> None:
        results.append(bytes(await reader.read(inode, 50, 100, None)))

    async with trio.open_nursery() as nursery:
        with trio.move_on_after(1) as scope:
            nursery.start_soon(patient)
            await reader.read(inode, 0, 100, None)

    assert scope.cancelled_caught
    assert results == [share.content[50:150]]
    assert len(share.requests) == 1


async def test_abandoned_load_still_fills_the_cache(reader, share, inode, autojump_clock):
    """A load whose only waiter left ends by itself and leaves nothing but a cached block."""
    share.latency = 10
    with trio.move_on_after(1):
        await reader.read(inode, 0, 100, None)
    await trio.sleep(20)

    assert reader.statistics() == (0, 0)
    assert await reader.read(inode, 0, 100, None) == share.content[:100]
    assert len(share.requests) == 1


async def test_failing_load_fails_all_its_waiters(reader, share, inode, autojump_clock):
    """Each waiter gets the failure, as an object of its own; the next read tries again."""
    caught: list[errors.AzureFilesError] = []

    def fail(_) -> None:
        raise errors.ServerBusy("slow down", status=503, request_id="r-1")

    async def one() -> None:
        with pytest.raises(errors.ServerBusy) as info:
            await reader.read(inode, 0, 100, None)
        caught.append(info.value)

    share.before_answer = fail
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(one)

    assert len(share.requests) == 1
    assert [error.request_id for error in caught] == ["r-1"] * 3
    assert len({id(error) for error in caught}) == 3
    share.before_answer = lambda _: None
    assert await reader.read(inode, 0, 100, None) == share.content[:100]


async def test_defect_in_a_load_reaches_the_waiter_only(reader, share, inode, autojump_clock):
    """An exception that nobody foresaw fails the read and leaves the reader working."""
    share.shape = lambda _: None

    with pytest.raises(errors.ProtocolError, match="AttributeError"):
        await reader.read(inode, 0, 100, None)

    share.shape = lambda answer: answer
    assert await reader.read(inode, 0, 100, None) == share.content[:100]


async def test_failure_of_reading_ahead_is_quiet(reader, share, inode, autojump_clock):
    """A range that nobody wants yet may fail; who wants it later asks again."""

    def fail_ahead(request) -> None:
        if request.byte_range.start >= 8 * MIB:
            raise errors.ConnectionFailed("broken")

    share.before_answer = fail_ahead
    pattern = reader.new_pattern()
    for index in range(8):
        data = await reader.read(inode, index * MIB, MIB, pattern)
        assert data == share.content[index * MIB : (index + 1) * MIB]
    assert any(start >= 8 * MIB for start, _ in share.ranges)
    await trio.sleep(1)

    share.before_answer = lambda _: None
    assert await reader.read(inode, 8 * MIB, MIB, pattern) == share.content[8 * MIB : 9 * MIB]


async def test_load_of_an_old_path_is_repeated(reader, share, inode, autojump_clock):
    """A load from before a rename does not fail the read that joins it later."""
    share.latency = 10
    old = inode.share_path

    def gone(request) -> None:
        if request.path == old:
            raise errors.FileNotFound("moved away", status=404)

    share.before_answer = gone
    with trio.move_on_after(1):
        await reader.read(inode, 0, 100, None)
    inode.share_path = SharePath.parse("elsewhere")

    assert await reader.read(inode, 0, 100, None) == share.content[:100]
    assert [str(request.path) for request in share.requests] == ["folder/file", "elsewhere"]


async def test_read_of_a_vanished_file_fails_at_once(reader, share, inode, autojump_clock):
    """A file that is gone when it is asked for is an error of this read, with one request."""

    def gone(_) -> None:
        raise errors.FileNotFound("gone", status=404)

    share.before_answer = gone

    with pytest.raises(errors.FileNotFound):
        await reader.read(inode, 0, 100, None)
    assert len(share.requests) == 1


async def test_stale_path_is_the_readers_error(reader, share, inode, autojump_clock):
    """A file without a path any more gives what its inode says: ESTALE."""

    @asynccontextmanager
    async def no_path() -> AsyncIterator[SharePath]:
        raise VfsError(errno.ESTALE, "replaced")
        yield

    inode.held = no_path

    with pytest.raises(VfsError) as info:
        await reader.read(inode, 0, 100, None)
    assert (info.value.errno, info.value.reason) == (errno.ESTALE, "replaced")


async def test_end_of_the_mount_fails_waiters(share, cache, inode, autojump_clock):
    """When the nursery of the loads is cancelled, waiting reads fail rather than hang."""
    share.latency = 1000
    outcome: list[BaseException] = []

    async def one(reader: BlockReader) -> None:
        try:
            await reader.read(inode, 0, 100, None)
        except errors.ConnectionFailed as error:
            outcome.append(error)

    async with trio.open_nursery() as waiters, trio.open_nursery() as loads:
        reader = BlockReader(share, cache, readahead_blocks=0, nursery=loads)
        waiters.start_soon(one, reader)
        await trio.testing.wait_all_tasks_blocked()
        loads.cancel_scope.cancel()

    assert len(outcome) == 1
    assert reader.statistics() == (0, 0)


async def test_cancelling_at_every_moment_leaves_nothing(make_reader, share, inode, autojump_clock):
    """Wherever a read is cancelled, no load, byte of the budget or request is left over."""
    reader = make_reader(budget_bytes=2 * BLOCK_BYTES)
    for delay in range(30):
        with trio.move_on_after(delay * 0.001):
            async with trio.open_nursery() as nursery:
                for index in range(6):
                    other = FakeInode(share)
                    nursery.start_soon(reader.read, other, index * 2 * MIB, 300_000, None)
        await trio.sleep(1)
        assert reader.statistics() == (0, 0)
        assert share.in_flight == 0
        share.write(len(share.content))


async def test_reads_that_are_stuck_do_not_hold_up_others(
    make_reader, inode, share, autojump_clock
):
    """However many bytes wait for an answer that does not come, another read is sent at once."""
    reader = make_reader(budget_bytes=4 * MIB)
    share.latency = 1000
    async with trio.open_nursery() as nursery:
        for number in range(30):
            nursery.start_soon(reader.read, inode, number * MIB, MIB, reader.new_pattern())
        await trio.testing.wait_all_tasks_blocked()
        share.latency = 0.01
        with trio.fail_after(1):
            found = await reader.read(inode, 35 * MIB, 100, None)
        nursery.cancel_scope.cancel()

    assert found == share.content[35 * MIB : 35 * MIB + 100]
    await trio.sleep(2000)
    assert reader.statistics() == (0, 0)


@pytest.mark.semantics("S16.2")
async def test_readahead_is_less_urgent(make_reader, inode, share, autojump_clock):
    """The requests of reading ahead say that nobody waits for them."""
    reader = make_reader()
    pattern = reader.new_pattern()
    urgencies = {}
    share.before_answer = lambda request: urgencies.update(
        {request.byte_range.start: current_urgency().priority}
    )
    for offset in range(0, 5 * MIB, MIB):
        await reader.read(inode, offset, MIB, pattern)
    await trio.sleep(100)

    assert urgencies[0] is Priority.FOREGROUND
    assert urgencies[8 * MIB] is Priority.READAHEAD


async def test_a_load_that_somebody_waits_for_is_urgent(inode, autojump_clock):
    """A read that joins a load raises its urgency."""
    load = Load(inode.validator, range(1), 1)
    before = load.urgency.priority
    with trio.move_on_after(1):
        await load.wait(2)

    assert before is Priority.READAHEAD
    assert load.urgency.priority is Priority.FOREGROUND
