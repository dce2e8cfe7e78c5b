"""S5: what renaming guarantees, on one host and between hosts."""

import errno
import os

import pytest
import trio
from trio.testing import MockClock

from azfilesfs.model.paths import SharePath
from tests.semantics.harness import Request, World, get, put, refused

NOREPLACE, EXCHANGE = 1, 2


@pytest.mark.semantics("S5.1")
async def test_there_is_always_a_file(world: World):
    """Readers elsewhere find one of the versions at every moment of many replacements."""
    seen: set[bytes] = set()
    async with world.mount() as here, world.client() as share:
        await here.write(b"file", b"0")

        async def watch(scope: object) -> None:
            seen.add(await get(share, "file"))

        world.front.before.append(watch)
        world.front.after.append(watch)
        for number in range(1, 20):
            await here.write(b"new", b"%d" % number)
            await here.rename(b"new", b"file")
        world.front.before.clear()
        world.front.after.clear()

        assert seen == {b"%d" % number for number in range(20)}
        assert await here.listdir() == [b"file"]


@pytest.mark.semantics("S5.1")
async def test_replacing_is_one_request(world: World):
    """The replacement itself is a single request to the service."""
    async with world.mount() as here:
        await here.write(b"file", b"old")
        await here.write(b"new", b"new")
        await here.listdir()
        with world.counted() as requests:
            await here.rename(b"new", b"file")

        assert requests == {"RenameFile": 1}


@pytest.mark.semantics("S5.2")
async def test_no_replace_against_an_unknown_file(world: World, mock_clock: MockClock):
    """RENAME_NOREPLACE is EEXIST for a file that this mount has not heard of."""
    async with world.mount() as here, world.client() as share:
        await here.write(b"file", b"ours")
        assert await here.listdir() == [b"file"]
        await put(share, "target", b"theirs")

        with refused(errno.EEXIST):
            await here.rename(b"file", b"target", NOREPLACE)

        assert await get(share, "target") == b"theirs"
        assert await here.read(b"file") == b"ours"


@pytest.mark.semantics("S5.2")
async def test_no_replace_and_exchange(world: World):
    """RENAME_NOREPLACE moves to a free name; RENAME_EXCHANGE is EINVAL."""
    async with world.mount() as here:
        await here.write(b"one", b"1")
        await here.write(b"two", b"2")
        with refused(errno.EEXIST):
            await here.rename(b"one", b"two", NOREPLACE)
        with refused(errno.EINVAL):
            await here.rename(b"one", b"two", EXCHANGE)

        await here.rename(b"one", b"three", NOREPLACE)

        assert sorted(await here.listdir()) == [b"three", b"two"]


def is_rename(request: Request) -> bool:
    """Tell whether a request is a rename."""
    return "comp=rename" in request.query


@pytest.mark.semantics("S5.3")
async def test_directory_over_an_empty_one(world: World):
    """It works, in two steps between which the new name does not exist."""
    between: list[list[str]] = []
    async with world.mount() as here, world.client() as share:
        await here.mkdir(b"source")
        await here.write(b"source/file", b"content")
        await here.mkdir(b"target")

        async def look() -> None:
            page = await share.list_page(SharePath.ROOT)
            between.append([entry.name for entry in page.entries])

        world.before(is_rename, look)
        await here.rename(b"source", b"target")

        assert between == [["source"]]
        assert await here.read(b"target/file") == b"content"
        assert await here.listdir() == [b"target"]


@pytest.mark.semantics("S5.3")
async def test_directory_over_something_else(world: World, mock_clock: MockClock):
    """A directory that has entries is ENOTEMPTY; a file is never replaced, known here or not."""
    async with world.mount() as here, world.client() as share:
        await here.mkdir(b"source")
        await here.mkdir(b"full")
        await here.write(b"full/file", b"")
        await here.write(b"file", b"")
        await here.listdir()

        with refused(errno.ENOTEMPTY):
            await here.rename(b"source", b"full")
        with refused(errno.ENOTDIR):
            await here.rename(b"source", b"file")
        with refused(errno.EISDIR):
            await here.rename(b"file", b"source")
        with refused(errno.EINVAL):
            await here.rename(b"full", b"full/below")
        await put(share, "unknown", b"theirs")
        with refused(errno.EEXIST, errno.ENOTDIR):
            await here.rename(b"source", b"unknown")

        assert await get(share, "unknown") == b"theirs"


@pytest.mark.semantics("S5.4")
async def test_unsent_bytes_go_before_the_rename(world: World):
    """The new name never shows less than what was written before the rename."""
    async with world.mount() as here, world.client() as share:
        await here.write(b"file", b"old")
        file = await here.create(b"new")
        await file.pwrite(b"complete")

        await here.rename(b"new", b"file")

        assert await get(share, "file") == b"complete"
        await file.close()


@pytest.mark.semantics("S5.4")
@pytest.mark.expect_log("is not on the service")
async def test_rename_fails_where_its_bytes_cannot_be_sent(world: World):
    """Where the bytes cannot be sent nothing is renamed, and the rename says so."""
    async with world.mount() as here, world.client() as share:
        await here.write(b"file", b"old")
        file = await here.create(b"new")
        await file.pwrite(b"complete")
        fault = {"operation": "CreateFile", "status": 500}

        with world.faults(fault), refused(errno.EIO):
            await here.rename(b"new", b"file")

        assert await get(share, "file") == b"old"
        await file.close()
        assert await here.read(b"new") == b"complete"


@pytest.mark.semantics("S5.4")
async def test_descriptors_follow(world: World):
    """Reading and writing go on through renames of the file and of directories above it."""
    async with world.mount() as here, world.client() as share:
        await here.mkdir(b"a")
        await here.mkdir(b"a/b")
        await here.write(b"a/b/file", b"content")
        file = await here.open(b"a/b/file", os.O_RDWR)

        await here.rename(b"a/b/file", b"a/b/moved")
        await here.rename(b"a", b"c")
        await file.pwrite(b"C")
        assert await file.read() == b"Content"
        await file.close()

        assert await get(share, "c/b/moved") == b"Content"


@pytest.mark.semantics("S5.4")
async def test_renames_while_uploading(world: World):
    """An upload and a rename of the directory above it do not get into each other's way."""
    names = (b"folder", b"moved")
    async with world.mount() as here, world.client() as share:
        await here.mkdir(b"folder")
        for number in range(10):
            old, new = names[number % 2], names[1 - number % 2]
            file = await here.create(old + b"/file")
            await file.pwrite(b"%d" % number)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(file.flush)
                nursery.start_soon(here.rename, old, new)
            await file.release()
            assert await get(share, f"{new.decode()}/file") == b"%d" % number
