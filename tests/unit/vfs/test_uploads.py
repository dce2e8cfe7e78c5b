"""Uploads that fail, then succeed: what is told, what is kept, and that no conflict is made up."""

import errno
import os
from dataclasses import replace
from typing import Any

import pytest
import trio

from azfilesfs.client import NO_RETRIES
from azfilesfs.model.limits import MIB
from azfilesfs.model.paths import SharePath
from azfilesfs.model.properties import ContentHeaders
from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.filesystem import FileSystem
from azfilesfs.vfs.types import SetAttr
from tests.unit.vfs.harness import (
    ROOT,
    drop_blocks,
    expect,
    get,
    idle,
    inode_of,
    operations,
    put,
)

FAILS = pytest.mark.expect_log("is not on the service")

# Each is what a fault plan makes of one request, and the errno that a program gets.
KINDS: dict[str, tuple[dict[str, Any], int]] = {
    "internal error": ({"status": 500}, errno.EIO),
    "internal error after the effect": ({"status": 500, "effect": True}, errno.EIO),
    "timed out": ({"status": 500, "code": "OperationTimedOut"}, errno.ETIMEDOUT),
    "throttled": ({"status": 503, "code": "ServerBusy"}, errno.ETIMEDOUT),
    "cut before": ({"cut": "before"}, errno.EIO),
    "cut in the request": ({"cut": "request"}, errno.EIO),
    "cut after": ({"cut": "after"}, errno.EIO),
    "refused": ({"status": 403, "code": "AuthorizationFailure"}, errno.EACCES),
}


def content(size: int) -> bytes:
    """Return bytes that differ everywhere."""
    return os.urandom(size)


@FAILS
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("size", "operation"),
    [
        (100, "CreateFile"),
        (9 * MIB, "CreateFile"),
        (9 * MIB, "PutRange"),
        (9 * MIB, "GetFileProperties"),
        (9 * MIB, "SetFileProperties"),
    ],
)
async def test_a_new_file_whose_upload_fails_first(mount, host, app, kind, size, operation):
    """fsync and close tell the error, the next try succeeds, and the content is whole."""
    fault, number = KINDS[kind]
    data = content(size)
    async with mount(retry=NO_RETRIES) as program:
        app.faults.add(operation=operation, path="*/a", **fault)
        file = await program.open("a", os.O_CREAT | os.O_RDWR)
        await file.write(data)
        with expect(number):
            await file.fsync()
        with expect(number):
            await program.fs.flush(file.handle)
        assert await file.read() == data
        app.faults.clear()
        await file.fsync()
        assert await get(host, "a") == data
        await file.close()
        assert program.fs.statistics().dirty_files == 0
        assert await program.read("a") == data
    assert program.staging.kept() == []


@FAILS
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("operation", ["GetFileProperties", "PutRange", "SetFileProperties"])
async def test_a_change_whose_upload_fails_first(mount, host, app, kind, operation):
    """As for new files; the bytes in between were there before and stay."""
    fault, number = KINDS[kind]
    old = content(9 * MIB)
    await put(host, "a", old)
    new = bytearray(old)
    new[5:10], new[8 * MIB : 8 * MIB + 5] = b"12345", b"67890"
    async with mount(retry=NO_RETRIES) as program:
        file = await program.open("a", os.O_RDWR)
        await file.write(b"12345", 5)
        await file.write(b"67890", 8 * MIB)
        app.faults.add(operation=operation, path="*/a", **fault)
        with expect(number):
            await file.fsync()
        app.faults.clear()
        # What is not local comes from a file that our own unfinished upload has changed.
        assert await file.read() == new
        await file.fsync()
        assert await get(host, "a") == new
        await file.close()
    assert program.staging.kept() == []


@FAILS
@pytest.mark.parametrize("operation", ["CreateFile", "PutRange", "SetFileProperties"])
async def test_failing_again_and_again_while_it_is_written(mount, host, app, operation):
    """Several failed passes with writes between them are not mistaken for another client."""
    async with mount(retry=NO_RETRIES) as program:
        file = await program.open("a", os.O_CREAT | os.O_RDWR)
        data = bytearray(content(5 * MIB))
        await file.write(data)
        faults: list[dict[str, Any]] = [
            {"status": 500, "effect": True},
            {"status": 500},
            {"cut": "after"},
            {"cut": "before"},
            {"status": 500},
        ]
        for step, fault in enumerate(faults):
            app.faults.clear()
            app.faults.add(operation=operation, path="*/a", **fault)
            with expect(errno.EIO):
                await file.fsync()
            data[step] = step
            await file.write(bytes([step]), step)
        app.faults.clear()
        await file.close()
        assert await get(host, "a") == data
    assert program.staging.kept() == []


@FAILS
async def test_a_failed_resize_is_completed(mount, host, app):
    """Cutting and growing in two requests of which the second fails leaves zeros, not old bytes."""
    await put(host, "a", b"x" * 100)
    async with mount(retry=NO_RETRIES) as program:
        file = await program.open("a", os.O_RDWR)
        await file.truncate(10)
        await file.truncate(60)
        app.faults.add(operation="SetFileProperties", status=500, nth=2)
        with expect(errno.EIO):
            await file.fsync()
        assert await file.read() == b"x" * 10 + bytes(50)
        await file.close()
        assert await get(host, "a") == b"x" * 10 + bytes(50)
        assert await program.read("a") == b"x" * 10 + bytes(50)


async def test_shrinking_and_growing_a_cached_file(program, host):
    """What was cut off must not come back out of the cache."""
    await put(host, "a", b"x" * 100)
    assert await program.read("a") == b"x" * 100
    file = await program.open("a", os.O_RDWR)
    await file.truncate(10)
    await file.truncate(100)
    assert await file.read() == b"x" * 10 + bytes(90)
    await file.close()
    assert await program.read("a") == b"x" * 10 + bytes(90)
    assert await get(host, "a") == b"x" * 10 + bytes(90)


@FAILS
async def test_failed_uploads_are_tried_again_by_themselves(mount, host, app, clock):
    """After a failed close nobody needs to do anything for the bytes to arrive."""
    async with mount(retry=NO_RETRIES) as program:
        file = await program.open("a", os.O_CREAT | os.O_WRONLY)
        await file.write(b"data")
        app.faults.add(operation="CreateFile", status=500)
        with expect(errno.EIO):
            await file.close()
        assert await program.read("a") == b"data"
        assert await program.names() == [b"a"]
        clock.jump(20)
        await trio.testing.wait_all_tasks_blocked()
        await idle(program)
        assert await get(host, "a") is None
        app.faults.clear()
        clock.jump(20)
        await trio.testing.wait_all_tasks_blocked()
        await idle(program)
        assert await get(host, "a") == b"data"
        assert program.fs.statistics().dirty_files == 0


@FAILS
async def test_an_upload_has_a_deadline(mount, app):
    """An upload that does not end is ETIMEDOUT, and the bytes stay dirty."""
    async with mount(transfer_deadline=0.05) as program:
        file = await program.open("a", os.O_CREAT | os.O_WRONLY)
        await file.write(b"data")
        app.faults.add(operation="CreateFile", delay=5.0)
        with expect(errno.ETIMEDOUT):
            await program.fs.flush(file.handle)
        assert program.fs.statistics().dirty_files == 1
        app.faults.clear()
        await file.close()


async def test_a_flush_that_the_end_of_the_filesystem_interrupts(mount, app):
    """A close that waits while the mount ends must not hear that its bytes arrived."""
    outcome: list[int] = []
    async with trio.open_nursery() as nursery:

        async def close(fs: FileSystem, handle: int, started: trio.Event) -> None:
            started.set()
            try:
                await fs.flush(handle)
            except VfsError as error:
                outcome.append(error.errno)
            else:
                outcome.append(0)

        async with mount(check=False) as program:
            file = await program.open("a", os.O_CREAT | os.O_WRONLY)
            await file.write(b"data")
            app.faults.add(operation="CreateFile", delay=60.0)
            started = trio.Event()
            nursery.start_soon(close, program.fs, file.handle, started)
            await started.wait()
            await trio.testing.wait_all_tasks_blocked(0.01)
    assert outcome == [errno.EIO]
    (record,) = program.staging.kept()
    assert record.path == SharePath(("a",))


async def test_a_cancelled_flush_leaves_the_upload_running(program, host, app):
    """Who waits may go away; the bytes are sent all the same."""
    file = await program.open("a", os.O_CREAT | os.O_WRONLY)
    await file.write(b"data")
    app.faults.add(operation="CreateFile", delay=0.05)
    with trio.move_on_after(0.01) as scope:
        await program.fs.flush(file.handle)
    assert scope.cancelled_caught
    await idle(program)
    assert await get(host, "a") == b"data"


async def test_writes_during_an_upload_are_sent_by_the_next_pass(program, host, app):
    """A pass sends what was there when it began; later bytes stay dirty."""
    file = await program.open("a", os.O_CREAT | os.O_RDWR)
    await file.write(b"1" * 9 * MIB)
    app.faults.add(operation="PutRange", delay=0.05)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(program.fs.flush, file.handle)
        await trio.testing.wait_all_tasks_blocked(0.01)
        await file.write(b"22", 100)
        await file.write(b"3", 9 * MIB)
        expected = b"1" * 100 + b"22" + b"1" * (9 * MIB - 102) + b"3"
        assert await file.read() == expected
    app.faults.clear()
    assert program.fs.statistics().dirty_files == 1
    assert await file.read() == expected
    await file.close()
    assert await get(host, "a") == expected


async def test_full_ranges_are_sent_in_the_background(program, host, app):
    """From 32 MiB dirty bytes on the full ranges go out while the file is still written."""
    file = await program.open("a", os.O_CREAT | os.O_WRONLY)
    data = content(33 * MIB + 5)
    await file.write(data)
    await idle(program)
    assert app.requests.of("PutRange") == 8
    assert program.fs.statistics().dirty_bytes <= MIB + 5
    await file.close()
    assert await get(host, "a") == data
    assert app.requests.of("PutRange") == 9


@FAILS
async def test_a_failure_in_the_background_is_repeated_by_the_close(mount, host, app):
    """Nobody hears of a failed background pass, the close sends what it left."""
    async with mount(retry=NO_RETRIES) as program:
        app.faults.add(operation="PutRange", status=500, times=1)
        data = content(33 * MIB)
        file = await program.open("a", os.O_CREAT | os.O_WRONLY)
        await file.write(data)
        await idle(program)
        await file.close()
        assert await get(host, "a") == data


async def test_a_full_staging_area_is_emptied_by_an_upload(mount, host):
    """A file larger than the staging area goes through it; alone it does not stop a writer."""
    async with mount(staging_limit=8 * MIB) as program:
        data = content(20 * MIB)
        await program.write("a", data)
        assert await get(host, "a") == data


async def test_a_write_that_never_fits(mount):
    """One write larger than the staging area is ENOSPC and changes nothing."""
    async with mount(staging_limit=1000) as program:
        file = await program.open("a", os.O_CREAT | os.O_WRONLY)
        await file.write(b"x" * 600)
        with expect(errno.ENOSPC):
            await program.fs.write(file.handle, 600, b"y" * 1001)
        assert (await file.stat()).size == 600
        await file.close()


async def test_a_full_staging_area_with_nothing_to_upload(mount, program):
    """Where the first write does not fit there is nothing to make room with."""
    async with mount(staging_limit=10) as small:
        await program.write("a", b"")
        async with small.opened("a", os.O_WRONLY) as file:
            with expect(errno.ENOSPC):
                await file.write(b"x" * 11)


async def test_a_failing_staging_disk(program, monkeypatch):
    """What the disk says of a write, a truncation and a read is told as EIO."""
    file = await program.open("a", os.O_CREAT | os.O_RDWR)
    await file.write(b"x")
    staged = type(inode_of(program, file.ino).dirty.staged)

    def fail(*args):
        raise OSError(errno.EROFS, "gone")

    for name in ("write", "truncate", "read"):
        monkeypatch.setattr(staged, name, fail)
    with expect(errno.EIO):
        await file.write(b"y")
    with expect(errno.EIO):
        await file.truncate(0)
    with expect(errno.EIO):
        await file.read()
    monkeypatch.undo()
    assert await file.read() == b"x"


@FAILS
@pytest.mark.parametrize("size", [10, 9 * MIB])
async def test_a_staging_disk_that_fails_during_an_upload(program, host, monkeypatch, size):
    """The bytes that cannot be read for sending are EIO at the flush, and sent when they can."""
    data = content(size)
    file = await program.open("a", os.O_CREAT | os.O_RDWR)
    await file.write(data)
    staged = type(inode_of(program, file.ino).dirty.staged)

    def fail(*args):
        raise OSError(errno.EIO, "bad sector")

    monkeypatch.setattr(staged, "read", fail)
    monkeypatch.setattr(staged, "read_into", fail)
    with expect(errno.EIO):
        await file.fsync()
    monkeypatch.undo()
    assert inode_of(program, file.ino).dirty.error is not None
    await file.close()
    assert await get(host, "a") == data


async def test_a_stale_md5_is_cleared_and_other_headers_stay(program, host):
    """The first change of a file takes away its stored MD5 only."""
    path = SharePath(("a",))
    headers = ContentHeaders(
        content_type="text/plain", content_language="de", content_md5=b"0123456789abcdef"
    )
    await host.create_file(path, 4, content=headers)
    async with program.opened("a", os.O_WRONLY) as file:
        await file.write(b"X", 2)
    found = (await host.get_file_properties(path)).content
    assert found.content_md5 is None
    assert (found.content_type, found.content_language) == ("text/plain", "de")


async def test_a_stale_md5_alone_is_cleared(program, host):
    """A file whose only header is an MD5 gets the service's own content type instead."""
    path = SharePath(("a",))
    await host.create_file(path, 4, content=ContentHeaders(content_md5=b"0123456789abcdef"))
    async with program.opened("a", os.O_WRONLY) as file:
        await file.truncate(2)
    assert (await host.get_file_properties(path)).content.content_md5 is None
    assert await get(host, "a") == b"\0\0"


async def test_metadata_survives_rewriting(program, host):
    """A file that existed is never created again."""
    path = SharePath(("a",))
    await host.create_file(path, 4, metadata={"owner": "me"})
    number = (await host.get_file_properties(path)).file_id
    await program.write("a", b"new content")
    found = await host.get_file_properties(path)
    assert (found.file_id, dict(found.metadata)) == (number, {"owner": "me"})


async def test_times_before_and_after_the_close_are_equal(mount, host):
    """fstat before close shows what stat shows afterwards, here and on another mount."""
    async with mount() as program, mount() as other:
        file = await program.open("a", os.O_CREAT | os.O_WRONLY)
        await file.write(b"x" * (5 * MIB))
        before = await file.stat()
        await file.close()
        assert await program.stat("a") == before
        seen = await other.stat("a")
        assert (seen.mtime_ns, seen.ctime_ns, seen.size) == (
            before.mtime_ns,
            before.ctime_ns,
            before.size,
        )


async def test_times_set_on_a_dirty_file_go_out_with_it(program, host):
    """futimens before close, as cp -p does it, costs no request of its own."""
    file = await program.open("a", os.O_CREAT | os.O_WRONLY)
    await file.write(b"x")
    moment = 1_600_000_000_123_456_700
    await program.fs.setattr(file.ino, SetAttr(mtime_ns=moment, atime_ns=5), file.handle)
    await file.close()
    assert (await program.stat("a")).mtime_ns == moment
    assert (await host.get_file_properties(SharePath(("a",)))).last_write_time_ns == moment


async def test_an_older_service_without_create_with_data(mount, host, app):
    """Before 2026-06-06 a small new file takes three requests."""
    async with mount(version="2025-05-05") as program:
        await program.names()
        app.requests.reset()
        await program.write("a", b"x" * 4096)
        assert operations(app) == {"CreateFile": 1, "PutRange": 1, "SetFileProperties": 1}
        assert await get(host, "a") == b"x" * 4096


async def test_the_cache_after_an_upload(program, app):
    """What was just written is read without asking for its bytes."""
    await program.write("a", content(3 * MIB))
    app.requests.reset()
    await program.read("a")
    assert operations(app) == {"GetFileProperties": 1}


async def test_untouched_blocks_stay_cached(program, host, app):
    """A change of one byte keeps the rest of the cache."""
    await put(host, "a", b"x" * (2 * MIB))
    await program.read("a")
    async with program.opened("a", os.O_WRONLY) as file:
        await file.write(b"y", 5)
    app.requests.reset()
    data = await program.read("a")
    assert data == b"xxxxxy" + b"x" * (2 * MIB - 6)
    assert app.requests.counts()["bytes"]["out"] < MIB


async def test_reading_between_local_changes(program, host):
    """Bytes of the service show through wherever nothing local lies over them."""
    old = content(3 * MIB)
    await put(host, "a", old)
    new = bytearray(old)
    file = await program.open("a", os.O_RDWR)
    for offset in (0, 100, MIB - 3, 2 * MIB, 3 * MIB - 4):
        await file.write(b"new!", offset)
        new[offset : offset + 4] = b"new!"
    await file.write(b"tail", 3 * MIB + 10)
    new += bytes(10) + b"tail"
    assert await file.read() == new
    assert await file.read(MIB - 10, 20) == new[MIB - 10 : MIB + 10]
    assert await file.read(3 * MIB + 12, 100) == new[3 * MIB + 12 :]
    assert await file.read(9 * MIB, 10) == b""
    await file.close()
    assert await program.read("a") == new
    assert await get(host, "a") == new


async def test_a_file_of_more_than_4_tib(program):
    """Neither a write nor a truncation passes the limit of the service."""
    async with program.opened("a", os.O_CREAT | os.O_RDWR) as file:
        with expect(errno.EFBIG):
            await program.fs.write(file.handle, 1 << 42, b"x")
        with expect(errno.EFBIG):
            await file.truncate((1 << 42) + 1)


async def test_a_version_that_the_service_does_not_tell(program, host):
    """Without an ETag nothing can be compared: reading and writing are refused, not guessed."""
    await put(host, "a", b"x")
    number = (await program.stat("a")).ino
    inode = inode_of(program, number)
    async with program.opened("a", os.O_RDWR) as file:
        inode.properties = replace(inode.properties, etag=None)
        drop_blocks(program, ROOT)
        with expect(errno.EIO):
            await file.read()
        with expect(errno.EIO):
            await file.write(b"y")
