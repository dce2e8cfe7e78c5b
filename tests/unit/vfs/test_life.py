"""The start check, statfs, the private directory, draining, and the figures."""

import errno
import os

import pytest
import trio

from azfilesfs import errors
from azfilesfs.client import NO_RETRIES
from azfilesfs.model.limits import GIB, TIB
from azfilesfs.model.paths import SharePath
from azfilesfs.vfs.flusher import Flusher
from azfilesfs.vfs.private import PrivateDirectory
from tests.unit.vfs.harness import ROOT, expect, get, idle, operations, put

TMP = SharePath((".azfilesfs", "tmp"))
EXCLUSIVE = os.O_EXCL | os.O_WRONLY


async def test_the_start_check(mount, app):
    """One directory request on the root, never a request about the share."""
    async with mount() as program:
        await program.fs.check()
        assert operations(app) == {"GetDirectoryProperties": 1}
        app.faults.add(operation="*", status=403, code="AuthenticationFailed")
        with expect(errno.EACCES):
            await program.fs.check()


async def test_statfs(mount, host, app, clock):
    """Quota and usage of the share, asked for at most every ten seconds."""
    await put(host, "a", b"x" * 100_000)
    async with mount() as program:
        app.requests.reset()
        first = await program.fs.statfs()
        assert await program.fs.statfs() == first
        assert operations(app) == {"GetShareProperties": 1, "GetShareStats": 1}
        quota = (await host.get_share_properties()).quota_gib * GIB
        assert first.blocks * first.block_size == quota
        assert first.blocks > first.blocks_free > 0
        assert first.files_free > 0
        assert first.name_max == 255
        clock.jump(11)
        await program.fs.statfs()
        assert app.requests.of("GetShareStats") == 2
        app.faults.add(operation="GetShare*", status=500)
        clock.jump(11)
        assert await program.fs.statfs() == first


async def test_statfs_where_it_is_refused(mount, app):
    """A credential that may not ask sees 100 TiB free, and is not asked again."""
    app.faults.add(operation="GetShare*", status=403, code="AuthorizationPermissionMismatch")
    async with mount() as program:
        found = await program.fs.statfs()
        assert found.blocks_free * found.block_size == 100 * TIB
        app.requests.reset()
        assert await program.fs.statfs() == found
        assert app.requests.total() == 0


async def test_draining_sends_everything(program, host):
    """Open and closed, new and changed files: all are on the service afterwards."""
    await put(host, "old", b"old content")
    files = [await program.open(f"f{number}", os.O_CREAT | os.O_WRONLY) for number in range(5)]
    for number, file in enumerate(files):
        await file.write(b"%d" % number)
    changed = await program.open("old", os.O_RDWR)
    await changed.write(b"NEW")
    unlinked = await program.open("gone", os.O_CREAT | os.O_WRONLY)
    await unlinked.write(b"never sent")
    await program.unlink("gone")
    assert program.fs.statistics().dirty_files == 7
    assert await program.fs.drain() == 0
    for number in range(5):
        assert await get(host, f"f{number}") == b"%d" % number
    assert await get(host, "old") == b"NEW content"
    assert await get(host, "gone") is None
    assert program.fs.statistics().dirty_files == 1


@pytest.mark.expect_log("is not on the service", "could not be sent")
async def test_draining_what_cannot_be_sent(mount, host, app):
    """The number of files that are still here is told, and they are kept."""
    async with mount(retry=NO_RETRIES, check=False) as program:
        for name in ("a", "b"):
            file = await program.open(name, os.O_CREAT | os.O_WRONLY)
            await file.write(name.encode())
        app.faults.add(operation="CreateFile", path="*/b", status=500)
        assert await program.fs.drain() == 1
        assert await get(host, "a") == b"a"
        assert program.staging.kept() == []
    (record,) = program.staging.kept()
    assert record.path == SharePath(("b",))


async def test_draining_removes_our_files(program, host):
    """Temp and parked files of this session are gone from the share."""
    await (await program.create(ROOT, b"a", EXCLUSIVE)).close()
    with trio.fail_after(5):
        while len(program.fs._private._spare) < 2:
            await trio.sleep(0.001)
    file = await program.open("a")
    await program.unlink("a")
    assert len((await host.list_page(TMP)).entries) == 2
    await program.fs.drain()
    assert (await host.list_page(TMP)).entries == ()
    assert (await host.list_page(TMP.parent.child("deleted"))).entries == ()
    await file.close()
    await (await program.create(ROOT, b"b", EXCLUSIVE)).close()
    assert await get(host, "b") == b""


async def test_leftovers_of_a_crash_are_swept_by_the_next_mount(mount, host, tmp_path):
    """The record in the state directory names the sessions whose files are still there."""
    directory = tmp_path / "one"
    async with mount(directory=directory) as program:
        await (await program.create(ROOT, b"a", EXCLUSIVE)).close()
        with trio.fail_after(5):
            while len(program.fs._private._spare) < 2:
                await trio.sleep(0.001)
    assert len((await host.list_page(TMP)).entries) == 2
    await host.create_file(TMP.child("somebody else's"))
    async with mount(directory=directory):
        with trio.fail_after(5):
            while len((await host.list_page(TMP)).entries) > 1:
                await trio.sleep(0.001)
    (left,) = (await host.list_page(TMP)).entries
    assert left.name == "somebody else's"


async def test_sweeping(host, tmp_path):
    """Only files of recorded sessions go; directories, strangers and failures are left alone."""
    record = tmp_path / "sessions"
    one = PrivateDirectory(host, record)
    await one.sweep()
    assert not record.exists()
    path, _ = await one.empty_file()
    await host.create_directory(TMP.child(path.name + "-directory"))
    two = PrivateDirectory(host, record)
    await two.restock()
    assert len(record.read_text().split()) == 2
    await two.sweep(earlier_only=True)
    names = [entry.name for entry in (await host.list_page(TMP)).entries]
    assert path.name not in names
    assert len(names) == 3
    assert len(record.read_text().split()) == 1
    await two.sweep()
    assert not record.exists()
    assert len((await host.list_page(TMP)).entries) == 1


async def test_sweeping_later(host, app, tmp_path):
    """What cannot be swept now stays in the record."""
    record = tmp_path / "sessions"
    one = PrivateDirectory(host, record)
    await one.empty_file()
    app.faults.add(operation="DeleteFile", status=403, code="AuthorizationFailure")
    await one.sweep()
    assert record.exists()
    app.faults.clear()
    await one.sweep()
    assert not record.exists()


async def test_sweeping_what_is_gone(host, app, tmp_path):
    """Files and directories that somebody else removed are swept."""
    record = tmp_path / "sessions"
    one = PrivateDirectory(host, record)
    path, _ = await one.empty_file()
    real = host.delete_file

    async def delete_twice(target):
        await real(target)
        await real(target)

    host.delete_file = delete_twice
    try:
        await one.sweep()
    finally:
        host.delete_file = real
    assert not record.exists()
    with pytest.raises(errors.FileNotFound):
        await host.get_file_properties(path)


async def test_a_damaged_record_of_sessions(host, tmp_path):
    """A record that is not text counts as empty and is written anew."""
    record = tmp_path / "sessions"
    record.write_bytes(b"\xff\xfe")
    one = PrivateDirectory(host, record)
    await one.sweep()
    await one.empty_file()
    assert len(record.read_text("ascii").split()) == 1


async def test_a_private_directory_that_cannot_be_made(program, host, app):
    """O_EXCL and unlink of open files fail with the service's error, and work when it can."""
    refused = {"status": 403, "code": "AuthorizationFailure"}
    await program.write("a", b"x")
    app.faults.add(operation="CreateDirectory", **refused)
    with expect(errno.EACCES):
        await program.create(ROOT, b"b", EXCLUSIVE)
    file = await program.open("a")
    with expect(errno.EACCES):
        await program.unlink("a")
    app.faults.clear()
    assert await file.read() == b"x"
    await program.unlink("a")
    await (await program.create(ROOT, b"b", EXCLUSIVE)).close()


async def test_a_state_directory_that_is_full(program, monkeypatch):
    """Where our session cannot be noted nothing of ours is put on the share."""

    def refuse(self):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(PrivateDirectory, "_note_session", refuse)
    with expect(errno.ENOSPC):
        await program.create(ROOT, b"b", EXCLUSIVE)
    monkeypatch.undo()
    await (await program.create(ROOT, b"b", EXCLUSIVE)).close()


async def test_temp_files_that_cannot_be_made_ahead(program, app):
    """A failure of the stock costs time, not the create that it was for."""
    app.faults.add(operation="CreateFile", path="*/tmp/*", nth=2, status=500)
    await (await program.create(ROOT, b"a", EXCLUSIVE)).close()
    await trio.testing.wait_all_tasks_blocked(0.01)
    await (await program.create(ROOT, b"b", EXCLUSIVE)).close()


async def test_the_figures(program):
    """Dirty bytes and files, handles, inodes and names."""
    before = program.fs.statistics()
    assert (before.dirty_bytes, before.dirty_files, before.open_handles) == (0, 0, 0)
    assert before.inodes == 1
    file = await program.open("a", os.O_CREAT | os.O_WRONLY)
    await file.write(b"12345")
    handle = await program.fs.opendir(ROOT)
    found = program.fs.statistics()
    assert (found.dirty_bytes, found.dirty_files, found.open_handles) == (5, 1, 2)
    assert found.inodes == 2
    await program.fs.releasedir(handle)
    await file.close()
    assert program.fs.statistics().cached_names == 1


@pytest.mark.expect_log("failed unexpectedly")
async def test_an_upload_that_fails_unexpectedly(program, host, monkeypatch):
    """A defect in one upload is EIO and a log entry; the others and the mount live on."""
    file = await program.open("a", os.O_CREAT | os.O_WRONLY)
    await file.write(b"x")

    async def broken(*args):
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(Flusher, "_upload", broken)
    with expect(errno.EIO):
        await file.fsync()
    monkeypatch.undo()
    await file.close()
    await idle(program)
    assert await get(host, "a") == b"x"


async def test_a_disk_cache(mount, host, app, tmp_path):
    """With a disk tier the content of a file is found again by the next mount of the directory."""
    data = os.urandom(300_000)
    await put(host, "a", data)
    settings = {"directory": tmp_path / "kept", "cache_limit": 64 << 20}
    async with mount(**settings) as program:
        assert await program.read("a") == data
        assert await program.fs._context.cache.drain(5)
    app.requests.reset()
    async with mount(**settings) as program:
        assert await program.read("a") == data
    assert app.requests.of("GetFile") == 0
