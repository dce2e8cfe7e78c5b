"""S3: what happens when somebody else writes to the same file, and where that goes unseen."""

import errno
import os

import pytest
from trio.testing import MockClock

from azfilesfs.client import ShareClient
from azfilesfs.model.attributes import FileAttributes
from azfilesfs.model.limits import MIB
from azfilesfs.model.paths import SharePath
from azfilesfs.model.properties import ContentHeaders
from azfilesfs.vfs.types import OnConflict
from tests.semantics.harness import File, Host, Request, World, get, put, refused

FILE = SharePath.parse("file")
CONFLICT = pytest.mark.expect_log("conflict on 'file'")


async def changed_by_both(here: Host, share: ShareClient, data: bytes = b"ours") -> File:
    """Let a stranger change a file between our open and our close."""
    await here.write(b"file", b"before")
    file = await here.open(b"file", os.O_RDWR)
    await file.pwrite(data)
    await put(share, "file", b"theirs")
    return file


@pytest.mark.semantics("S3.1")
@CONFLICT
async def test_lost_race(world: World):
    """Who comes second gets ESTALE, changes nothing on the service, and finds the bytes kept."""
    async with world.mount() as here, world.client() as share:
        file = await changed_by_both(here, share)

        with refused(errno.ESTALE):
            await file.close()

        assert await get(share, "file") == b"theirs"
        (record,) = here.kept()
        assert str(record.path) == "file"
        assert record.data.read_bytes() == b"ours"
        assert here.fs.statistics().dirty_files == 0


@pytest.mark.semantics("S3.1")
@CONFLICT
async def test_lost_race_sends_nothing(world: World):
    """The comparison comes before the first byte: not one writing request is made."""
    async with world.mount() as here, world.client() as share:
        file = await changed_by_both(here, share, b"x" * 9 * MIB)

        with world.counted() as requests, refused(errno.ESTALE):
            await file.fsync()

        assert requests == {"GetFileProperties": 1}
        await file.release()


@pytest.mark.semantics("S3.1")
@CONFLICT
async def test_change_of_the_same_size(world: World, mock_clock: MockClock):
    """A foreign change of the same size, moments after our last look, is seen as well."""
    async with world.mount() as here, world.client() as share:
        await here.write(b"file", b"before")
        file = await here.open(b"file", os.O_RDWR)
        await file.pwrite(b"B")
        await share.put_range(FILE, 5, b"E")

        with refused(errno.ESTALE):
            await file.close()

        assert await get(share, "file") == b"beforE"


@pytest.mark.semantics("S3.2")
@pytest.mark.expect_log("conflict on")
async def test_write_between_comparison_and_range_is_seen_too_late(world: World):
    """A foreign write just before our range is overwritten, and reported."""
    async with world.mount() as here, world.client() as share:
        await here.write(b"file", b"before")
        file = await here.open(b"file", os.O_RDWR)
        await file.pwrite(b"ours", 0)

        async def foreign() -> None:
            await share.put_range(FILE, 0, b"THEIRS")

        world.before(lambda request: request.is_put_range, foreign)
        with refused(errno.ESTALE):
            await file.close()

        assert await get(share, "file") == b"oursRS"
        (record,) = here.kept()
        assert record.dirty_bytes == 4


@pytest.mark.semantics("S3.2")
async def test_writer_that_keeps_the_time_is_not_seen(world: World):
    """The documented gap: who writes there and leaves the last-write time is not noticed."""
    async with world.mount() as here, world.client() as share:
        await here.write(b"file", b"before")
        file = await here.open(b"file", os.O_RDWR)
        await file.pwrite(b"ours", 0)

        async def foreign() -> None:
            await share.put_range(FILE, 0, b"THEIRS", preserve_last_write=True)

        world.before(lambda request: request.is_put_range, foreign)
        await file.close()

        assert await get(share, "file") == b"oursRS"


@pytest.mark.semantics("S3.1")
@pytest.mark.expect_log("conflict on")
async def test_comparison_of_the_open_counts_for_a_moment(world: World):
    """Within it one range goes out unasked, and its answer tells of the other writer."""
    async with world.mount(comparison_window=60.0) as here, world.client() as share:
        await share.create_file(FILE, 10)
        file = await here.open(b"file", os.O_WRONLY)
        with world.counted() as counts:
            await file.pwrite(b"a", 0)
            await file.fsync()
        assert counts == {"PutRange": 1, "SetFileProperties": 1}

        await share.put_range(FILE, 4, b"THEIRS")
        await file.pwrite(b"b", 9)
        with refused(errno.ESTALE):
            await file.close()
        (record,) = here.kept()
        assert record.dirty_bytes == 1

        # Longer than one range, or of another size, is compared in any case.
        again = await here.open(b"file", os.O_WRONLY)
        await share.put_range(FILE, 0, b"X")
        await again.pwrite(b"longer than it was", 0)
        with refused(errno.ESTALE):
            await again.close()
        assert (await get(share, "file"))[:1] == b"X"


@pytest.mark.semantics("S3.2")
@CONFLICT
async def test_write_after_several_ranges_is_seen(world: World):
    """A foreign write that comes after our ranges fails the close, and our bytes are kept."""
    async with world.mount() as here, world.client() as share:
        await here.write(b"file", b"before")
        file = await here.open(b"file", os.O_RDWR)
        await file.pwrite(b"x" * 9 * MIB)
        heads: list[Request] = []

        def is_closing(request: Request) -> bool:
            heads.extend([request] if request.is_head else [])
            return len(heads) == 2

        async def foreign() -> None:
            await share.put_range(FILE, 0, b"THEIRS")

        world.before(is_closing, foreign)
        with refused(errno.ESTALE):
            await file.close()

        assert (await get(share, "file"))[:6] == b"THEIRS"
        (record,) = here.kept()
        assert record.size == 9 * MIB


@pytest.mark.semantics("S3.3")
@pytest.mark.expect_log("the local version is saved as")
async def test_copy(world: World):
    """With --on-conflict=copy both versions are there, ours beside, and the close succeeds."""
    async with (
        world.mount(on_conflict=OnConflict.COPY, host_name="wolke") as here,
        world.client() as share,
    ):
        await here.write(b"file", b"before and after")
        file = await here.open(b"file", os.O_RDWR)
        await file.pwrite(b"BEFORE")
        await share.put_range(FILE, 11, b"AFTER")

        await file.close()

        (name,) = [name for name in await here.listdir() if b"conflict" in name]
        assert name.startswith(b"file (conflict wolke 2")
        assert await here.read(name) == b"BEFORE and AFTER"
        assert await here.read(b"file") == b"before and AFTER"
        assert here.kept() == []


@pytest.mark.semantics("S3.4")
@pytest.mark.expect_log("was changed by another client and is overwritten")
async def test_overwrite(world: World):
    """With --on-conflict=overwrite the local changes go over the other version."""
    async with world.mount(on_conflict=OnConflict.OVERWRITE) as here, world.client() as share:
        file = await changed_by_both(here, share)

        await file.close()

        assert await get(share, "file") == b"oursrs"
        assert await here.read(b"file") == b"oursrs"


@pytest.mark.semantics("S3.5")
@CONFLICT
async def test_file_that_was_removed(world: World):
    """A file that was removed elsewhere is not made anew by our close; our bytes are kept."""
    async with world.mount() as here, world.client() as share:
        await here.write(b"file", b"before")
        file = await here.open(b"file", os.O_RDWR)
        await file.pwrite(b"ours")
        await share.delete_file(FILE)

        with refused(errno.ESTALE):
            await file.close()

        assert not await here.exists(b"file")
        (record,) = here.kept()
        assert record.data.read_bytes() == b"ours"


@pytest.mark.semantics("S3.6")
@CONFLICT
async def test_descriptors_after_a_conflict(world: World):
    """Every writing descriptor fails from then on; a new open sees the other's version."""
    async with world.mount() as here, world.client() as share:
        file = await changed_by_both(here, share)
        other = await here.open(b"file", os.O_RDWR)
        reader = await here.open(b"file")
        with refused(errno.ESTALE):
            await file.fsync()

        for writer in (file, other):
            with refused(errno.ESTALE):
                await writer.pwrite(b"again")
            with refused(errno.ESTALE):
                await writer.fsync()
            with refused(errno.ESTALE):
                await writer.close()

        assert await reader.read() == b"theirs"
        await reader.close()
        assert await here.read(b"file") == b"theirs"
        assert await get(share, "file") == b"theirs"


@pytest.mark.semantics("S3.7")
async def test_creation_within_the_window(world: World, mock_clock: MockClock):
    """The documented gap: a file made elsewhere just after we saw its absence is replaced."""
    async with world.mount() as here, world.client() as share:
        await here.listdir()
        mock_clock.jump(0.5)
        file = await here.create(b"file")
        await file.pwrite(b"ours")
        await put(share, "file", b"theirs")

        mock_clock.jump(0.4)
        await file.close()

        assert await get(share, "file") == b"ours"


@pytest.mark.semantics("S3.7")
@CONFLICT
async def test_creation_after_the_window(world: World, mock_clock: MockClock):
    """Once the absence was seen a TTL ago the mount looks first, and the other file stands."""
    async with world.mount() as here, world.client() as share:
        await here.listdir()
        mock_clock.jump(0.5)
        file = await here.create(b"file")
        await file.pwrite(b"ours")
        await put(share, "file", b"theirs")

        mock_clock.jump(0.6)
        with refused(errno.ESTALE):
            await file.close()

        assert await get(share, "file") == b"theirs"
        assert await here.read(b"file") == b"theirs"
        assert len(here.kept()) == 1


@pytest.mark.semantics("S3.8")
@pytest.mark.parametrize("change", ["rewrite", "truncate", "one byte", "empty"])
async def test_what_a_rewrite_keeps(world: World, change: str):
    """Metadata, attributes, headers and permissions survive; only a stored MD5 goes."""
    headers = ContentHeaders(
        content_type="text/x-stored",
        content_language="nds",
        cache_control="no-store",
        content_md5=b"0123456789abcdef",
    )
    async with world.mount() as here, world.client() as share:
        await share.create_file(
            FILE,
            7,
            content=headers,
            attributes=FileAttributes.HIDDEN | FileAttributes.ARCHIVE,
            metadata={"owner": "rclone"},
        )
        before = await share.get_file_properties(FILE)

        if change == "rewrite":
            await here.write(b"file", b"new content")
        elif change == "truncate":
            await here.setattr(b"file", size=3)
        elif change == "empty":
            await here.write(b"file", b"")
        else:
            file = await here.open(b"file", os.O_WRONLY)
            await file.pwrite(b"x", 3)
            await file.close()

        after = await share.get_file_properties(FILE)
        assert after.file_id == before.file_id
        assert dict(after.metadata) == {"owner": "rclone"}
        assert after.attributes == before.attributes
        assert after.permission_key == before.permission_key
        assert after.content.content_md5 is None
        for name in ("content_type", "content_language", "cache_control"):
            assert getattr(after.content, name) == getattr(headers, name)


@pytest.mark.semantics("S3.8")
@pytest.mark.parametrize("is_open", [False, True])
async def test_what_setting_times_keeps(world: World, is_open: bool):
    """Setting times changes no header; a stored MD5 stays, for the content is the same."""
    headers = ContentHeaders(content_type="text/x-stored", content_md5=b"0123456789abcdef")
    async with world.mount() as here, world.client() as share:
        await share.create_file(FILE, 7, content=headers)
        file = await here.open(b"file", os.O_WRONLY) if is_open else None
        if file is not None:
            await file.truncate(7)

        await here.setattr(b"file", mtime_ns=1_000_000_000_000_000_000)
        if file is not None:
            await file.close()

        after = await share.get_file_properties(FILE)
        assert after.last_write_time_ns == 1_000_000_000_000_000_000
        assert after.content.content_type == "text/x-stored"
        assert after.content.content_md5 == b"0123456789abcdef"


@pytest.mark.semantics("S3.9")
async def test_new_file_is_whole_here_and_absent_elsewhere(world: World):
    """Before its first flush a new file can be used in every way here, without a request."""
    async with world.mount() as here, world.client() as share:
        await here.mkdir(b"folder")
        await here.listdir()
        async with here.found(b"folder"):
            await here.listdir(b"folder")
            with world.counted() as requests:
                file = await here.create(b"folder/file")
                await file.pwrite(b"content")

                assert await here.listdir(b"folder") == [b"file"]
                assert (await here.stat(b"folder/file")).size == 7
                again = await here.open(b"folder/file")
                assert again.ino == file.ino
                assert await again.read() == b"content"
                await again.release()
                with refused(errno.EEXIST):
                    await here.create(b"folder/file", os.O_EXCL)
                with refused(errno.ENOTEMPTY):
                    await here.rmdir(b"folder")

        assert requests == {}
        assert not (await share.list_page(SharePath.parse("folder"))).entries
        await file.close()
        assert await get(share, "folder/file") == b"content"


@pytest.mark.semantics("S3.9")
async def test_new_file_moves_with_its_directory(world: World):
    """A new file whose directory is renamed is made where the directory is by then."""
    async with world.mount() as here, world.client() as share:
        await here.mkdir(b"folder")
        file = await here.create(b"folder/file")
        await file.pwrite(b"content")

        await here.rename(b"folder", b"moved")
        await file.close()

        assert await get(share, "moved/file") == b"content"


@pytest.mark.semantics("S3.9")
async def test_new_file_that_is_removed(world: World):
    """Removing a file that was never sent asks nobody and leaves nothing."""
    async with world.mount() as here, world.client() as share:
        await here.listdir()
        with world.counted() as requests:
            file = await here.create(b"file")
            await file.pwrite(b"content")
            await here.unlink(b"file")
            await file.close()

        assert requests == {}
        assert not (await share.list_page(SharePath.ROOT)).entries
        assert (here.fs.statistics().dirty_bytes, here.kept()) == (0, [])
