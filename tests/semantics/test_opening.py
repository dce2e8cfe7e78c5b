"""S1: what an open and a read see of other hosts' changes."""

import errno
import os

import pytest
import trio
from trio.testing import MockClock

from azfilesfs.model.limits import MIB
from azfilesfs.model.paths import SharePath
from azfilesfs.vfs.types import Consistency
from tests.semantics.harness import Request, World, get, put, refused

FILE = SharePath.parse("file")


@pytest.mark.semantics("S1.1")
@pytest.mark.parametrize(
    "content", [b"longer than before", b"short", b"same size!", b""], ids=lambda c: str(len(c))
)
async def test_open_sees_what_was_closed(world: World, mock_clock: MockClock, content: bytes):
    """An open sees what another host closed, though not one moment of the TTL has passed."""
    async with world.mount() as here, world.mount() as there:
        await here.write(b"file", b"ten bytes!")
        assert await there.read(b"file") == b"ten bytes!"

        await here.write(b"file", content)

        opened = await there.open(b"file")
        assert await opened.read() == content
        assert (await opened.stat()).size == len(content)
        await opened.close()


@pytest.mark.semantics("S1.1")
async def test_open_sees_what_was_fsynced(world: World, mock_clock: MockClock):
    """An fsync is enough; the file need not be closed."""
    async with world.mount() as here, world.mount() as there:
        await here.write(b"file", b"old")
        assert await there.read(b"file") == b"old"
        file = await here.open(b"file", os.O_WRONLY)

        await file.pwrite(b"new bytes")
        await file.fsync()

        assert await there.read(b"file") == b"new bytes"
        await file.close()


@pytest.mark.semantics("S1.1")
async def test_changed_file_is_opened_without_the_kernels_pages(
    world: World, mock_clock: MockClock
):
    """The kernel is told to drop what it has of another version before the open returns."""
    async with world.mount() as here, world.mount() as there:
        await here.write(b"file", b"old")
        first = await there.open(b"file")
        again = await there.open(b"file")
        assert again.keep_cache
        await here.write(b"file", b"newer")
        there.kernel.attributes.clear()

        opened = await there.open(b"file")

        assert not opened.keep_cache
        assert there.kernel.attributes == [opened.ino]
        for file in (opened, again, first):
            await file.close()


@pytest.mark.semantics("S1.1", "S1.7")
async def test_open_sees_that_another_file_took_the_name(world: World, mock_clock: MockClock):
    """A file that was renamed over the name elsewhere is what the next open finds."""
    async with world.mount() as here, world.mount() as there:
        await here.write(b"file", b"first")
        before = await there.open(b"file")
        await here.write(b"other", b"second")

        await here.rename(b"other", b"file")

        opened = await there.open(b"file")
        assert await opened.read() == b"second"
        assert opened.ino != before.ino
        await opened.close()
        await before.close()


@pytest.mark.semantics("S1.7")
async def test_open_of_a_removed_file(world: World, mock_clock: MockClock):
    """A name that was removed elsewhere is ENOENT for an open, within the TTL too."""
    async with world.mount() as here, world.mount() as there:
        await here.write(b"file", b"content")
        assert (await there.stat(b"file")).size == 7

        await here.unlink(b"file")

        with refused(errno.ENOENT):
            await there.open(b"file")


@pytest.mark.semantics("S1.7")
@pytest.mark.parametrize("replaced", [False, True])
async def test_open_file_that_went_away(world: World, replaced: bool):
    """Reading on through a descriptor is ESTALE once the service is asked, never other content."""
    async with world.mount() as here, world.mount() as there, world.client() as share:
        await put(share, "file", bytes(9 * MIB))
        file = await there.open(b"file")
        assert await file.pread(4096, 0) == bytes(4096)

        if replaced:
            await here.write(b"new", b"x" * 9 * MIB)
            await here.rename(b"new", b"file")
        else:
            await here.unlink(b"file")

        with refused(errno.ESTALE):
            await file.pread(4096, 8 * MIB)
        await file.close()


@pytest.mark.semantics("S1.2")
async def test_attributes_within_and_after_the_ttl(world: World, mock_clock: MockClock):
    """stat may show an old size within the TTL, and shows the present one after it."""
    async with world.mount() as here, world.mount() as there:
        await here.write(b"file", b"old")
        assert (await there.stat(b"file")).size == 3

        await here.write(b"file", b"newer")
        within = (await there.stat(b"file")).size
        mock_clock.jump(1.01)
        after = (await there.stat(b"file")).size

        assert (within, after) == (3, 5)


@pytest.mark.semantics("S1.2", "S8.2")
async def test_names_within_and_after_the_ttl(world: World, mock_clock: MockClock):
    """lookup and readdir may miss a new name within the TTL, and find it after it."""
    async with world.mount() as here, world.mount() as there:
        assert await there.listdir() == []

        await here.write(b"file", b"")
        within = (await there.exists(b"file"), await there.listdir())
        mock_clock.jump(1.01)
        after = (await there.exists(b"file"), await there.listdir())

        assert within == (False, [])
        assert after == (True, [b"file"])


@pytest.mark.semantics("S1.2")
async def test_kernel_believes_no_longer_than_the_ttl(world: World, mock_clock: MockClock):
    """What is already old when the kernel hears it gets only the rest of the TTL."""
    async with world.mount() as here:
        await here.write(b"file", b"")
        mock_clock.jump(2)
        await here.listdir()
        mock_clock.jump(0.75)

        entry = await here.fs.lookup(1, b"file")

        assert entry.entry_timeout == pytest.approx(0.25)
        assert entry.attr_timeout == pytest.approx(0.25)
        await here.fs.forget([(entry.attrs.ino, 1)])


@pytest.mark.semantics("S1.3")
async def test_first_open_fetches_the_first_block(world: World):
    """Opening and reading a small file that is not cached is one request beside the listing."""
    async with world.mount() as here, world.client() as share:
        await put(share, "file", b"content")
        await here.listdir()

        with world.counted() as requests:
            assert await here.read(b"file") == b"content"

        assert requests == {"GetFile": 1}


@pytest.mark.semantics("S1.3")
async def test_second_open_asks_for_properties(world: World):
    """Opening what is cached is one question for the properties, and reads no byte."""
    async with world.mount() as here, world.client() as share:
        await put(share, "file", b"content")
        await here.read(b"file")

        with world.counted() as requests:
            assert await here.read(b"file") == b"content"

        assert requests == {"GetFileProperties": 1}


@pytest.mark.semantics("S1.3")
async def test_open_of_a_dirty_file_asks_nobody(world: World):
    """A file with unsent changes is opened, and read where it was written, without a request."""
    async with world.mount() as here:
        await here.write(b"file", b"content")
        writer = await here.open(b"file", os.O_RDWR)
        await writer.pwrite(b"CONTENT")

        with world.counted() as requests:
            reader = await here.open(b"file")
            assert await reader.read() == b"CONTENT"
            await reader.close()

        # The reader's close waits for nothing either.
        assert requests == {}
        await writer.close()


@pytest.mark.semantics("S1.4")
async def test_relaxed_consistency(world: World, mock_clock: MockClock):
    """With --consistency=ttl an open within the TTL asks nobody; after it, it does."""
    async with world.mount() as here, world.mount(consistency=Consistency.TTL) as there:
        await here.write(b"file", b"old")
        assert await there.read(b"file") == b"old"
        await here.write(b"file", b"new")

        with world.counted() as requests:
            within = await there.read(b"file")
        mock_clock.jump(1.01)

        assert (within, requests) == (b"old", {})
        assert await there.read(b"file") == b"new"


@pytest.mark.semantics("S1.5")
async def test_one_read_is_of_one_version(world: World):
    """A version that appears between the parts of a read is read as a whole."""
    async with world.mount() as here, world.client() as share:
        await put(share, "file", b"a" * 6 * MIB)
        file = await here.open(b"file")
        first_part_sent = trio.Event()

        async def note() -> None:
            first_part_sent.set()

        async def rewrite() -> None:
            await first_part_sent.wait()
            await put(share, "file", b"b" * 6 * MIB)

        world.after(lambda request: request.is_get and not _is_second_part(request), note)
        world.before(lambda request: request.is_get and _is_second_part(request), rewrite)
        seen = await file.pread(MIB, 4 * MIB - MIB // 2)

        assert seen == b"b" * MIB
        await file.close()


def _is_second_part(request: Request) -> bool:
    return request.headers["x-ms-range"].startswith(f"bytes={4 * MIB}-")


@pytest.mark.semantics("S1.5")
async def test_file_that_keeps_changing(world: World):
    """A file that has another version at each request is ESTALE in the end, not a mixture."""
    async with world.mount() as here, world.client() as share:
        await put(share, "file", bytes(6 * MIB))
        file = await here.open(b"file")

        async def touch(scope: object) -> None:
            await share.put_range(FILE, 0, b"x")

        world.front.before.append(touch)
        with refused(errno.ESTALE):
            await file.pread(MIB, 4 * MIB - MIB // 2)
        world.front.before.remove(touch)

        assert (await file.pread(1, 0)) == b"x"
        await file.close()


@pytest.mark.semantics("S1.6")
async def test_descriptor_follows_the_newest_version(world: World):
    """A descriptor shows the newer version as soon as a request has told of it."""
    async with world.mount() as here, world.client() as share:
        await put(share, "file", b"a" * 6 * MIB)
        file = await here.open(b"file")
        assert await file.pread(1, 0) == b"a"
        await share.put_range(FILE, 0, b"b")

        await file.pread(1, 5 * MIB)

        assert await file.pread(1, 0) == b"b"
        assert here.kernel.pages == [file.ino]
        await file.close()


@pytest.mark.semantics("S1.6")
async def test_cached_bytes_stay_until_the_next_open(world: World):
    """What is cached may be read on; the next open brings the newer version to both descriptors."""
    async with world.mount() as here, world.client() as share:
        await put(share, "file", b"old")
        file = await here.open(b"file")
        assert await file.read() == b"old"

        await put(share, "file", b"new")
        assert await file.read() == b"old"
        again = await here.open(b"file")

        assert await again.read() == b"new"
        assert await file.read() == b"new"
        await again.close()
        await file.close()
        assert await get(share, "file") == b"new"
