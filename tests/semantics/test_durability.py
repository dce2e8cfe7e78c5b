"""S2: when bytes, sizes and times are on the service, and what is told when they are not."""

import errno
import logging
import os

import pytest
from trio.testing import MockClock, wait_all_tasks_blocked

from azfilesfs.model.limits import MIB
from azfilesfs.model.paths import SharePath
from tests.conftest import LogGuard
from tests.semantics.harness import World, get, put, refused

FILE = SharePath.parse("file")
TICK_NS = 100


@pytest.mark.semantics("S2.1")
@pytest.mark.parametrize("size", [1, 4 * MIB, 9 * MIB + 17])
@pytest.mark.parametrize("ends_with", ["close", "fsync"])
async def test_acknowledged_bytes_are_on_the_service(world: World, size: int, ends_with: str):
    """After close or fsync a stranger reads the same bytes, and the file shows the same times."""
    content = os.urandom(size)
    async with world.mount() as here, world.client() as share:
        file = await here.create(b"file")
        await file.pwrite(content)

        await (file.flush() if ends_with == "close" else file.fsync())

        seen = await share.get_file_properties(FILE)
        assert await get(share, "file") == content
        assert seen.last_write_time_ns == (await file.stat()).mtime_ns
        assert seen.change_time_ns == (await file.stat()).ctime_ns
        await file.close()


@pytest.mark.semantics("S2.2")
@pytest.mark.expect_log("is not on the service")
async def test_failed_upload_is_told_each_time(world: World):
    """close and fsync fail as long as the upload does, and succeed when the bytes are safe."""
    async with world.mount() as here, world.client() as share:
        file = await here.create(b"file")
        await file.pwrite(b"content")

        with world.unreachable():
            for again in (file.fsync, file.flush, file.fsync):
                with refused(errno.EIO, errno.ETIMEDOUT):
                    await again()
        await file.flush()

        assert await get(share, "file") == b"content"
        await file.close()


@pytest.mark.semantics("S2.2")
@pytest.mark.expect_log("is not on the service")
async def test_failure_in_the_middle_of_ranges(world: World):
    """A range that fails fails the close; the next one completes the file."""
    content = os.urandom(9 * MIB)
    async with world.mount() as here, world.client() as share:
        file = await here.create(b"file")
        await file.pwrite(content)

        fault = {"operation": "PutRange", "nth": 2, "status": 500}
        with world.faults(fault), refused(errno.EIO):
            await file.flush()
        await file.flush()

        assert await get(share, "file") == content
        await file.close()


@pytest.mark.semantics("S2.3")
@pytest.mark.expect_log("is not on the service")
async def test_unsent_bytes_stay_with_the_file(world: World, mock_clock: MockClock):
    """After a failed close this mount shows the local bytes, and sends them by itself later."""
    async with world.mount() as here, world.client() as share:
        await here.listdir()
        with world.unreachable():
            with refused(errno.EIO, errno.ETIMEDOUT):
                await here.write(b"file", b"content")
            assert await here.read(b"file") == b"content"

        mock_clock.jump(15.1)
        await wait_all_tasks_blocked()

        assert await get(share, "file") == b"content"
        assert here.fs.statistics().dirty_files == 0


@pytest.mark.semantics("S2.3")
@pytest.mark.expect_log("is not on the service")
async def test_drain_sends_what_failed(world: World):
    """Stopping tries once more what could not be sent before."""
    async with world.mount() as here, world.client() as share:
        await here.listdir()
        with world.unreachable(), refused(errno.EIO, errno.ETIMEDOUT):
            await here.write(b"file", b"content")

        assert await here.fs.drain() == 0
        assert await get(share, "file") == b"content"


@pytest.mark.semantics("S2.4")
async def test_bytes_after_the_last_close(world: World):
    """What arrives between the last flush and the release, as from a mapping, is uploaded then."""
    async with world.mount() as here, world.client() as share:
        file = await here.create(b"file")
        await file.pwrite(b"content")
        await file.flush()

        await file.pwrite(b"mapped!")
        await file.release()

        assert await get(share, "file") == b"mapped!"


@pytest.mark.semantics("S2.4")
@pytest.mark.expect_log("is not on the service|after its last close|could not be sent")
async def test_failure_after_the_last_close_is_kept(world: World, log_guard: LogGuard):
    """A failure that nobody can be told of is in the log, and the bytes are kept at the end."""
    async with world.mount("host") as here:
        file = await here.create(b"file")
        await file.flush()
        await file.pwrite(b"mapped!")
        with world.unreachable():
            await file.release()
            assert await here.fs.drain() == 1

    assert any(record.levelno >= logging.ERROR for record in log_guard.records)
    async with world.mount("host") as again:
        (record,) = again.kept()
        assert (str(record.path), record.size) == ("file", 7)


@pytest.mark.semantics("S2.5")
async def test_full_staging_area(world: World):
    """A write over the limit sends its own file first, and is ENOSPC where others fill the area."""
    async with world.mount(staging_bytes=3 * MIB) as here, world.client() as share:
        file = await here.create(b"file")
        await file.pwrite(b"a" * MIB, 0)
        await file.pwrite(b"b" * MIB, MIB)
        await file.pwrite(b"c" * MIB, 2 * MIB)

        await file.pwrite(b"d" * MIB, 3 * MIB)
        assert (await share.get_file_properties(FILE)).size == 3 * MIB

        other = await here.create(b"other")
        await other.pwrite(b"e" * MIB, 0)
        await other.pwrite(b"f" * MIB, MIB)
        third = await here.create(b"third")
        with refused(errno.ENOSPC):
            await third.pwrite(b"g")
        assert (await third.stat()).size == 0

        for each in (file, other):
            await each.close()
        assert await get(share, "file") == b"a" * MIB + b"b" * MIB + b"c" * MIB + b"d" * MIB
        await third.close()


@pytest.mark.semantics("S2.6")
@pytest.mark.expect_log("an earlier process left 1 unsent file")
async def test_written_bytes_survive_the_process(world: World, monkeypatch: pytest.MonkeyPatch):
    """What was written and not sent when the process died is listed afterwards, and not sent."""
    async with world.client() as share:
        with monkeypatch.context() as patch:
            # The end of the area in good order is just what a killed process does not come to.
            patch.setattr("azfilesfs.vfs.staging.StagingArea._close", lambda area: None)
            async with world.mount("host") as here:
                file = await here.create(b"file")
                await file.pwrite(b"content")

        async with world.mount("host") as again:
            (record,) = again.kept()
            assert (str(record.path), record.size) == ("file", 7)
            assert record.data.read_bytes() == b"content"
            assert await again.fs.drain() == 0
            assert not await again.exists(b"file")
        assert not (await share.list_page(SharePath.ROOT)).entries


@pytest.mark.semantics("S2.7")
async def test_appenders_of_one_mount(world: World):
    """Two descriptors that append on one mount never write over each other's bytes."""
    async with world.mount() as here, world.client() as share:
        one = await here.create(b"log", os.O_APPEND)
        two = await here.create(b"log", os.O_APPEND)

        for file, line in ((one, b"one\n"), (two, b"two\n"), (one, b"three\n")):
            await file.pwrite(line)

        await one.close()
        await two.close()
        assert await get(share, "log") == b"one\ntwo\nthree\n"


@pytest.mark.semantics("S2.7")
@pytest.mark.expect_log("conflict on 'log'")
async def test_appenders_of_two_hosts(world: World):
    """Of two hosts that append at the same time the second to close is told, and keeps its line."""
    async with world.mount() as here, world.mount() as there:
        await here.write(b"log", b"zero\n")
        one = await here.open(b"log", os.O_WRONLY | os.O_APPEND)
        two = await there.open(b"log", os.O_WRONLY | os.O_APPEND)
        await one.pwrite(b"one\n")
        await two.pwrite(b"two\n")

        await one.close()
        with refused(errno.ESTALE):
            await two.close()

        assert await there.read(b"log") == b"zero\none\n"
        (record,) = there.kept()
        assert record.data.read_bytes().endswith(b"two\n")


@pytest.mark.semantics("S2.8")
async def test_truncate_and_utimens_by_path(world: World):
    """Without a writer, size and times are on the service when the call returns."""
    async with world.mount() as here, world.client() as share:
        await here.write(b"file", b"content")

        await here.setattr(b"file", size=3)
        assert await get(share, "file") == b"con"

        shown = await here.setattr(b"file", mtime_ns=1_000_000_000_123_456_789)
        seen = await share.get_file_properties(FILE)
        assert seen.last_write_time_ns == shown.mtime_ns == 1_000_000_000_123_456_700


@pytest.mark.semantics("S2.8")
async def test_truncate_under_a_writer(world: World):
    """While a program has the file open for writing, a truncation goes with its next close."""
    async with world.mount() as here, world.client() as share:
        await here.write(b"file", b"content")
        file = await here.open(b"file", os.O_WRONLY)

        await here.setattr(b"file", size=3)
        assert await get(share, "file") == b"content"
        await file.close()

        assert await get(share, "file") == b"con"


@pytest.mark.semantics("S2.9")
async def test_what_was_cut_off_reads_as_zeros(world: World):
    """Shrinking and growing leaves zeros here, elsewhere, and after the upload."""
    async with world.mount() as here, world.mount() as there:
        await here.write(b"file", b"x" * 6 * MIB)
        file = await here.open(b"file", os.O_RDWR)
        assert await file.pread(4, 5 * MIB) == b"xxxx"

        await file.truncate(MIB + 1)
        await file.truncate(6 * MIB)
        expected = b"x" * (MIB + 1) + bytes(5 * MIB - 1)
        assert await file.read() == expected
        await file.close()

        assert await here.read(b"file") == expected
        assert await there.read(b"file") == expected


@pytest.mark.semantics("S2.10")
async def test_names_are_durable_at_once(world: World):
    """What makes, moves and removes names is on the service when the call returns."""

    async def names() -> set[str]:
        return {entry.name for entry in (await share.list_page(SharePath.ROOT)).entries}

    async with world.mount() as here, world.client() as share:
        await put(share, "file", b"")
        await here.mkdir(b"folder")
        await here.symlink(b"target", b"link")
        assert await names() >= {"file", "folder", "link"}

        await here.rename(b"file", b"moved")
        await here.rmdir(b"folder")
        await here.unlink(b"link")

        assert await names() - {".azfilesfs"} == {"moved"}


@pytest.mark.semantics("S2.11")
async def test_one_byte_of_a_large_file(world: World):
    """Changing one byte of 64 MiB sends one small range."""
    async with world.mount() as here, world.client() as share:
        await share.create_file(FILE, 64 * MIB)
        file = await here.open(b"file", os.O_RDWR)
        world.app.requests.reset()

        await file.pwrite(b"x", 33 * MIB)
        await file.close()

        counts = world.app.requests.counts()
        assert counts["operations"]["PutRange"] == {"201": 1}
        assert sum(sum(c.values()) for c in counts["operations"].values()) <= 3
        assert counts["bytes"]["in"] == 1
        assert (await share.get_file(FILE)).data[33 * MIB : 33 * MIB + 2] == b"x\0"


@pytest.mark.semantics("S2.12")
@pytest.mark.parametrize("size", [0, 100, 9 * MIB])
async def test_times_do_not_change_with_the_close(world: World, size: int):
    """fstat before the close, stat after it and stat on another mount show the same."""
    async with world.mount() as here, world.mount() as there:
        file = await here.create(b"file")
        if size:
            await file.pwrite(bytes(size))
        before = await file.stat()
        await file.close()

        after, elsewhere = await here.stat(b"file"), await there.stat(b"file")

        assert before.mtime_ns % TICK_NS == 0
        for shown in (after, elsewhere):
            assert (shown.size, shown.mtime_ns, shown.ctime_ns) == (
                size,
                before.mtime_ns,
                before.ctime_ns,
            )


@pytest.mark.semantics("S2.12")
async def test_modification_time_is_that_of_the_last_change(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    """The time that counts is the local time of the write, not that of the upload."""
    async with world.mount() as here, world.client() as share:
        file = await here.create(b"file")
        with monkeypatch.context() as patch:
            patch.setattr("time.time_ns", lambda: 1_500_000_000_000_000_099)
            await file.pwrite(b"content")

        await file.close()

        seen = await share.get_file_properties(FILE)
        assert seen.last_write_time_ns == 1_500_000_000_000_000_000


@pytest.mark.semantics("S2.13")
async def test_access_times(world: World):
    """Reading changes no time; a time that was set here is shown here."""
    async with world.mount() as here:
        await here.write(b"file", b"content")
        async with here.found(b"file"):
            before = await here.stat(b"file")
            await here.read(b"file")
            assert (await here.stat(b"file")).atime_ns == before.atime_ns == before.mtime_ns

            await here.setattr(b"file", atime_ns=5)
            assert (await here.stat(b"file")).atime_ns == 5


@pytest.mark.semantics("S2.14")
@pytest.mark.parametrize("change", ["create", "mkdir", "unlink", "rename"])
async def test_directory_time_follows_its_entries(
    world: World, change: str, monkeypatch: pytest.MonkeyPatch
):
    """Making, moving and removing an entry through the mount changes the directory's time."""
    async with world.mount() as here:
        await here.mkdir(b"folder")
        await here.write(b"folder/old", b"")
        async with here.found(b"folder"):
            later = (await here.stat(b"folder")).mtime_ns + 1_000_000_000
            monkeypatch.setattr("time.time_ns", lambda: later)

            if change == "create":
                await here.write(b"folder/new", b"")
            elif change == "mkdir":
                await here.mkdir(b"folder/new")
            elif change == "unlink":
                await here.unlink(b"folder/old")
            else:
                await here.rename(b"folder/old", b"folder/new")

            assert (await here.stat(b"folder")).mtime_ns == later
