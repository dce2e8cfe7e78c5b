"""S7: files that lose their name while they are open."""

import errno
import os

import pytest

from azfilesfs.model.limits import MIB
from azfilesfs.model.paths import SharePath
from tests.semantics.harness import World, refused

DELETED = SharePath.parse(".azfilesfs/deleted")
TEMPORARY = SharePath.parse(".azfilesfs/tmp")


async def left_in(world: World, directory: SharePath) -> list[str]:
    """List what lies in a directory of ours."""
    async with world.client() as share:
        return [entry.name for entry in (await share.list_page(directory)).entries]


@pytest.mark.semantics("S7.1")
async def test_unlinked_file_lives_on_here(world: World):
    """It can be read and written through its descriptor, is not uploaded, and goes at the end."""
    async with world.mount() as here:
        content = os.urandom(5 * MIB)
        await here.write(b"file", content)
        file = await here.open(b"file", os.O_RDWR)

        await here.unlink(b"file")

        assert not await here.exists(b"file")
        assert await file.read() == content
        await file.pwrite(b"local")
        with world.counted() as requests:
            await file.fsync()
        assert requests == {}
        assert (await file.pread(6, 0)) == b"local" + content[5:6]
        assert len(await left_in(world, DELETED)) == 1
        await file.close()
        assert await left_in(world, DELETED) == []
        assert here.fs.statistics().dirty_bytes == 0


@pytest.mark.semantics("S7.1")
async def test_name_can_be_used_again(world: World):
    """The name is free at once, and the new file under it is another one."""
    async with world.mount() as here:
        await here.write(b"file", b"old")
        old = await here.open(b"file")
        await here.unlink(b"file")

        await here.write(b"file", b"new")

        assert await here.read(b"file") == b"new"
        assert await old.read() == b"old"
        await old.close()
        assert await here.read(b"file") == b"new"


@pytest.mark.semantics("S7.2")
async def test_name_is_gone_elsewhere(world: World):
    """Another host does not find the name any more, and its descriptor is stale."""
    async with world.mount() as here, world.mount(attr_ttl=0.0, dir_ttl=0.0) as there:
        await here.write(b"file", bytes(5 * MIB))
        mine, theirs = await here.open(b"file"), await there.open(b"file")

        await here.unlink(b"file")

        assert not await there.exists(b"file")
        with refused(errno.ESTALE):
            await theirs.pread(1, 4 * MIB)
        assert await mine.pread(1, 4 * MIB) == b"\0"
        await theirs.close()
        await mine.close()


@pytest.mark.semantics("S7.3")
async def test_replaced_file_lives_on_here(world: World):
    """An open file that is replaced by a rename keeps its content for its descriptor."""
    async with world.mount() as here:
        content = os.urandom(5 * MIB)
        await here.write(b"file", content)
        file = await here.open(b"file", os.O_RDWR)
        await here.write(b"new", b"new")

        await here.rename(b"new", b"file")

        assert await here.read(b"file") == b"new"
        assert await file.read() == content
        await file.close()
        assert await left_in(world, DELETED) == []
        assert await here.read(b"file") == b"new"


@pytest.mark.semantics("S7.4")
async def test_leftovers_of_a_crash_are_swept(world: World):
    """What a mount that died has parked is removed when the next one there stops."""
    async with world.mount("host") as here:
        await here.write(b"file", b"content")
        await here.open(b"file")
        await here.unlink(b"file")
        await here.create(b"other", os.O_EXCL)
    assert len(await left_in(world, DELETED)) == 1

    async with world.mount("host") as again:
        assert await again.fs.drain() == 0

    assert await left_in(world, DELETED) == []
    assert await left_in(world, TEMPORARY) == []


@pytest.mark.semantics("S7.4")
async def test_sweeping_leaves_others_alone(world: World):
    """One mount's stop does not touch what another mount has parked."""
    async with world.mount() as here, world.mount() as there:
        await here.write(b"file", b"content")
        file = await here.open(b"file")
        await here.unlink(b"file")
        await (await there.create(b"other", os.O_EXCL)).close()

        await there.fs.drain()

        assert len(await left_in(world, DELETED)) == 1
        assert await file.read() == b"content"
        await file.close()
