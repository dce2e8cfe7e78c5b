"""S14, S15: bounded memory, and credentials that may do little."""

import errno
from datetime import UTC, datetime, timedelta

import pytest
import trio
from trio.testing import MockClock

from azfilesfs.client import (
    SasCredential,
    SasLimits,
    SasScope,
    Secret,
    SharedKeyCredential,
    service_sas,
)
from azfilesfs.emulator.options import DEFAULT_ACCOUNT, DEFAULT_KEY
from azfilesfs.model.limits import TIB
from azfilesfs.model.paths import SharePath
from tests.conftest import LogGuard
from tests.semantics.harness import World, get, put, refused

KEY = SharedKeyCredential(DEFAULT_ACCOUNT, Secret(DEFAULT_KEY))


def signature(permissions: str) -> SasCredential:
    """Make a signature for the share with these permissions."""
    limits = SasLimits(expiry=datetime.now(UTC) + timedelta(hours=1), protocols=None)
    return service_sas(KEY, SasScope("demo"), permissions, limits)


@pytest.mark.semantics("S14.1")
async def test_listings_are_bounded(world: World):
    """Names beyond the limit leave memory, the least recently used directory first."""
    async with world.mount(max_cached_names=50) as here, world.client() as share:
        for folder in range(5):
            await share.create_directory(SharePath.parse(f"d{folder}"))
            for number in range(20):
                await put(share, f"d{folder}/f{number}", b"")
        for folder in range(5):
            assert len(await here.listdir(b"d%d" % folder)) == 20
            assert here.fs.statistics().cached_names <= 50

        with world.counted() as requests:
            await here.listdir(b"d0")
        # The next directories may be listed ahead as well.
        assert set(requests) == {"ListDirectoriesAndFiles"}


@pytest.mark.semantics("S14.1")
async def test_views_of_empty_directories_are_bounded(world: World):
    """What is remembered of directories is bounded by the same limit, however empty they are."""
    async with world.mount(max_cached_names=50) as here:
        for number in range(120):
            await here.mkdir(b"d%d" % number)
            assert await here.listdir(b"d%d" % number) == []

        assert len(here.fs._context.tree.listings) <= 51


@pytest.mark.semantics("S14.2")
async def test_forgotten_inodes_leave_memory(world: World):
    """After FORGET only the root is left, and what has unsent changes."""
    async with world.mount() as here:
        for number in range(10):
            await here.write(b"file%d" % number, b"content")
        await here.scan()
        file = await here.create(b"unsent")
        await file.pwrite(b"x")

        assert here.fs.statistics().inodes == 2
        await file.close()
        assert here.fs.statistics().inodes == 1


@pytest.mark.semantics("S14.2")
async def test_kernel_is_asked_to_forget(world: World, autojump_clock: MockClock):
    """Above the limit the kernel is asked to drop names, the longest unused first."""
    async with world.mount(max_cached_names=10) as here:
        for number in range(15):
            entry = await here.fs.mkdir(1, b"d%02d" % number)
            await trio.sleep(0.01)
            assert entry.attrs.ino
        here.kernel.entries.clear()

        await trio.sleep(1.5)

        dropped = sorted(name for _, name in here.kernel.entries)
        assert dropped[:5] == [b"d%02d" % number for number in range(5)]


@pytest.mark.semantics("S15.1")
async def test_start_asks_one_thing(world: World):
    """The start is one question about the root directory, which a share SAS may ask."""
    async with world.mount(credential=signature("r")) as here:
        with world.counted() as requests:
            await here.fs.check()
        assert requests == {"GetDirectoryProperties": 1}


@pytest.mark.semantics("S15.2")
async def test_statfs_without_the_right_to_ask(world: World, caplog: pytest.LogCaptureFixture):
    """Then 100 TiB are free, and the log says so once."""
    caplog.set_level("INFO", "azfilesfs")
    async with world.mount(credential=signature("rwdlc")) as here:
        for _ in range(3):
            shown = await here.fs.statfs()
            assert shown.blocks_free * shown.block_size == 100 * TIB

        lines = [record for record in caplog.records if "df shows 100 TiB" in record.message]
        assert len(lines) == 1


@pytest.mark.semantics("S15.3")
@pytest.mark.expect_log("may not list directories|EACCES")
async def test_signature_that_cannot_list(world: World, log_guard: LogGuard):
    """Files are read by name; listing is EACCES; one warning says why."""
    async with world.client() as share:
        await share.create_directory(SharePath.parse("folder"))
        await put(share, "folder/file", b"content")
    async with world.mount(credential=signature("r"), attr_ttl=0.0, dir_ttl=0.0) as here:
        assert await here.read(b"folder/file") == b"content"
        assert await here.read(b"folder/FILE") == b"content"
        assert not await here.exists(b"folder/other")
        with refused(errno.EACCES):
            await here.listdir(b"folder")

    assert len(log_guard.records) == 1


@pytest.mark.semantics("S15.4")
@pytest.mark.expect_log("is not on the service")
async def test_signature_that_cannot_write(world: World):
    """Each change is refused, and neither the share nor this mount shows any of it after that."""
    async with world.client() as share:
        await put(share, "file", b"content")
        async with world.mount(credential=signature("rl"), read_only=True) as here:
            for attempt in (
                here.create(b"new"),
                here.open(b"file", 1),
                here.mkdir(b"folder"),
                here.unlink(b"file"),
                here.rename(b"file", b"moved"),
                here.symlink(b"target", b"link"),
                here.setattr(b"file", size=0),
            ):
                with refused(errno.EROFS):
                    await attempt
            assert await here.listdir() == [b"file"]
        assert await get(share, "file") == b"content"


@pytest.mark.semantics("S15.4")
async def test_signature_that_loses_the_right_to_write(world: World):
    """Where the mount does not know it from the start, a change is EACCES and undone nowhere."""
    async with world.client() as share:
        await put(share, "file", b"content")
        async with world.mount(credential=signature("rl")) as here:
            for attempt in (
                here.mkdir(b"folder"),
                here.unlink(b"file"),
                here.rename(b"file", b"moved"),
            ):
                with refused(errno.EACCES):
                    await attempt
            assert await here.listdir() == [b"file"]
        assert await get(share, "file") == b"content"
