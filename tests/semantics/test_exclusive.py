"""S4: who wins when several hosts create the same name; S15.5: what that leaves in the share."""

import errno
import os
from contextlib import AsyncExitStack

import pytest
import trio
from trio.testing import MockClock

from azfilesfs.client import ClientOptions
from azfilesfs.model.attributes import FileAttributes
from azfilesfs.model.paths import SharePath
from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.types import ExclusiveCreate
from tests.semantics.harness import Host, World, get, put, refused

FILE = SharePath.parse("file")
RACES = 50
HOSTS = 3


async def outcomes(hosts: list[Host], name: bytes, *, directory: bool) -> list[int]:
    """Let all hosts create one name at the same time; return the errno of each."""
    found: list[int] = []

    async def attempt(host: Host) -> None:
        try:
            if directory:
                await host.mkdir(name)
            else:
                await (await host.create(name, os.O_EXCL)).close()
            found.append(0)
        except VfsError as error:
            found.append(error.errno)

    async with trio.open_nursery() as nursery:
        for host in hosts:
            nursery.start_soon(attempt, host)
    return found


@pytest.mark.semantics("S4.1", "S4.3")
@pytest.mark.parametrize("directory", [False, True], ids=["O_EXCL", "mkdir"])
async def test_one_winner(world: World, directory: bool):
    """In each of many races between hosts exactly one creation succeeds, all others are EEXIST."""
    async with AsyncExitStack() as stack:
        hosts = [await stack.enter_async_context(world.mount()) for _ in range(HOSTS)]
        for number in range(RACES):
            found = await outcomes(hosts, b"name%d" % number, directory=directory)

            assert sorted(found) == [0, *[errno.EEXIST] * (HOSTS - 1)]


@pytest.mark.semantics("S4.1")
async def test_exclusive_creation_is_decided_at_open(world: World, mock_clock: MockClock):
    """The name is taken at the service when the open returns, before any byte is written."""
    async with world.mount() as here, world.mount() as there, world.client() as share:
        assert await there.listdir() == []
        file = await here.create(b"file", os.O_EXCL)

        assert (await share.get_file_properties(FILE)).size == 0
        with refused(errno.EEXIST):
            await there.create(b"file", os.O_EXCL)

        await file.pwrite(b"content")
        await file.close()
        assert await get(share, "file") == b"content"


@pytest.mark.semantics("S4.2")
@pytest.mark.parametrize("cut", ["after", "before"])
async def test_lost_answer_of_an_exclusive_creation(world: World, cut: str):
    """Where the answer was lost the retry finds our own file and the open succeeds."""
    async with world.mount(client=ClientOptions()) as here, world.client() as share:
        with world.faults({"operation": "RenameFile", "cut": cut, "nth": 1}):
            file = await here.create(b"file", os.O_EXCL)

        await file.pwrite(b"content")
        await file.close()
        assert await get(share, "file") == b"content"


@pytest.mark.semantics("S4.2")
async def test_lost_answer_and_a_foreign_file(world: World):
    """A foreign file under the name is not taken for ours, whatever became of the answer."""
    async with world.mount(client=ClientOptions()) as here, world.client() as share:
        await here.listdir()
        await put(share, "file", b"theirs")
        with (
            world.faults({"operation": "RenameFile", "cut": "after", "nth": 1}),
            refused(errno.EEXIST),
        ):
            await here.create(b"file", os.O_EXCL)

        assert await get(share, "file") == b"theirs"


@pytest.mark.semantics("S4.3")
async def test_lost_answer_of_mkdir(world: World):
    """A directory that we made is not reported as one that somebody else made."""
    async with world.mount(client=ClientOptions()) as here:
        with world.faults({"operation": "CreateDirectory", "cut": "after", "nth": 1}):
            await here.mkdir(b"folder")

        assert await here.listdir() == [b"folder"]
        with refused(errno.EEXIST):
            await here.mkdir(b"folder")


@pytest.mark.semantics("S4.4")
@pytest.mark.expect_log("conflict on 'file'")
async def test_decision_by_this_mount(world: World, mock_clock: MockClock):
    """With --exclusive-create=mount a collision is told by the close, and the bytes are kept."""
    async with (
        world.mount(exclusive_create=ExclusiveCreate.MOUNT) as here,
        world.client() as share,
    ):
        await here.listdir()
        with world.counted() as requests:
            file = await here.create(b"file", os.O_EXCL)
        assert requests == {}
        await file.pwrite(b"ours")
        await put(share, "file", b"theirs")
        mock_clock.jump(1.01)

        with refused(errno.EEXIST):
            await file.close()

        assert await get(share, "file") == b"theirs"
        assert len(here.kept()) == 1
        with refused(errno.EEXIST):
            await here.create(b"file", os.O_EXCL)


@pytest.mark.semantics("S4.4")
async def test_decision_by_this_mount_has_the_window(world: World, mock_clock: MockClock):
    """The documented gap of that option: within the TTL a foreign file is replaced unseen."""
    async with (
        world.mount(exclusive_create=ExclusiveCreate.MOUNT) as here,
        world.client() as share,
    ):
        file = await here.create(b"file", os.O_EXCL)
        await file.pwrite(b"ours")
        await put(share, "file", b"theirs")

        await file.close()

        assert await get(share, "file") == b"ours"


@pytest.mark.semantics("S15.5")
async def test_private_directory_is_hidden_and_made_on_need(world: World):
    """``/.azfilesfs`` appears with the first exclusive creation, and is Hidden."""
    private = SharePath.parse(".azfilesfs")
    async with world.mount() as here, world.client() as share:
        await here.write(b"plain", b"")
        page = await share.list_page(SharePath.ROOT)
        assert [entry.name for entry in page.entries] == ["plain"]

        await (await here.create(b"file", os.O_EXCL)).close()

        attributes = (await share.get_directory_properties(private)).attributes
        assert attributes is not None
        assert FileAttributes.HIDDEN in attributes


@pytest.mark.semantics("S15.5")
async def test_reading_writes_nothing(world: World):
    """A mount that is only read through makes not one changing request."""
    async with world.mount() as here, world.client() as share:
        await share.create_directory(SharePath.parse("folder"))
        await put(share, "folder/file", b"content")
        with world.counted() as requests:
            await here.fs.check()
            await here.listdir(b"folder")
            assert await here.read(b"folder/file") == b"content"
            await here.fs.statfs()
            await here.fs.drain()

        assert all(name.startswith(("Get", "List")) for name in requests)
