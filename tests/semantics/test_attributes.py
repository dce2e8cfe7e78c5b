"""S11: owners, modes, numbers and sizes as programs see them."""

import errno
import stat

import pytest
from trio.testing import MockClock

from azfilesfs.model.attributes import FileAttributes
from azfilesfs.model.inode_numbers import inode_number
from azfilesfs.model.limits import GIB, MIB
from azfilesfs.model.paths import SharePath
from tests.semantics.harness import World, put, refused

FILE = SharePath.parse("file")


@pytest.mark.semantics("S11.1")
async def test_owner_and_modes_are_the_options(world: World):
    """Every entry has the owner, group and modes of the options, less the umask."""
    async with world.mount(uid=1000, gid=100, file_mode=0o666, dir_mode=0o777, umask=0o022) as here:
        await here.write(b"file", b"")
        await here.mkdir(b"folder")

        shown = dict(await here.scan())
        assert shown[b"file"].mode == stat.S_IFREG | 0o644
        assert shown[b"folder"].mode == stat.S_IFDIR | 0o755
        for attrs in (*shown.values(), await here.stat(b"")):
            assert (attrs.uid, attrs.gid) == (1000, 100)


@pytest.mark.semantics("S11.1")
async def test_default_mode(world: World):
    """Without options it is 0755 for files and directories."""
    async with world.mount() as here:
        await here.write(b"file", b"")
        assert stat.S_IMODE((await here.stat(b"file")).mode) == 0o755
        assert stat.S_IMODE((await here.stat(b"")).mode) == 0o755


@pytest.mark.semantics("S11.2")
async def test_chmod_and_chown_change_nothing(world: World):
    """They succeed and change neither what is shown nor the ReadOnly attribute."""
    async with world.mount() as here, world.client() as share:
        await here.write(b"file", b"content")
        before = await here.stat(b"file")

        with world.counted() as requests:
            after = await here.setattr(b"file", mode=stat.S_IFREG | 0o400, uid=5, gid=6)

        assert requests == {}
        assert (after.mode, after.uid, after.gid) == (before.mode, before.uid, before.gid)
        attributes = (await share.get_file_properties(FILE)).attributes
        assert attributes is not None
        assert FileAttributes.READ_ONLY not in attributes


@pytest.mark.semantics("S11.2")
async def test_strict_modes(world: World):
    """With --strict-modes a change is EPERM, and asking for what is there succeeds."""
    async with world.mount(strict_modes=True, uid=7, gid=8) as here:
        await here.write(b"file", b"content")
        for changes in ({"mode": stat.S_IFREG | 0o400}, {"uid": 5}, {"gid": 5}):
            with refused(errno.EPERM):
                await here.setattr(b"file", **changes)

        await here.setattr(b"file", mode=stat.S_IFREG | 0o755, uid=7, gid=8)


@pytest.mark.semantics("S11.3")
@pytest.mark.parametrize("size", [0, 1, 512, 513, MIB])
async def test_links_and_blocks(world: World, size: int):
    """There is one link to everything, and blocks are counted in 512 bytes, rounded up."""
    async with world.mount() as here:
        await here.write(b"file", bytes(size))
        attrs = await here.stat(b"file")
        assert (attrs.nlink, attrs.blocks) == (1, -(-size // 512))


@pytest.mark.semantics("S11.4")
async def test_inode_numbers_are_stable(world: World):
    """The number is the same on all mounts, after a rename and after a remount."""
    async with world.client() as share:
        await put(share, "file", b"content")
        number = inode_number((await share.get_file_properties(FILE)).file_id or 0)
        async with world.mount("host") as here, world.mount() as there:
            assert (await here.stat(b"file")).ino == (await there.stat(b"file")).ino == number
            await here.rename(b"file", b"moved")
            assert (await here.stat(b"moved")).ino == number
        async with world.mount("host") as again:
            assert dict(await again.scan())[b"moved"].ino == number


@pytest.mark.semantics("S11.4")
async def test_number_of_a_new_file(world: World):
    """A new file keeps the number that it began with for as long as it is known here."""
    async with world.mount() as here, world.client() as share:
        file = await here.create(b"file")
        before = (await file.stat()).ino
        await file.flush()

        assert (await here.stat(b"file")).ino == before
        assert before < 1 << 63 <= ((await share.get_file_properties(FILE)).file_id or 0)
        await file.close()


@pytest.mark.semantics("S11.5")
async def test_statfs(world: World, mock_clock: MockClock):
    """Quota and usage are the share's, and not asked for at each call."""
    async with world.mount() as here, world.client() as share:
        await share.set_share_properties(quota_gib=100)
        await put(share, "file", bytes(3 * MIB))

        shown = await here.fs.statfs()
        assert shown.blocks * shown.block_size == 100 * GIB
        with world.counted() as requests:
            await here.fs.statfs()
            assert requests == {}
            mock_clock.jump(10.1)
            await here.fs.statfs()
        assert requests == {"GetShareProperties": 1, "GetShareStats": 1}
