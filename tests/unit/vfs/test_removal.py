"""unlink and rmdir: of open, dirty and local files, and what their readers still see."""

import errno
import os

import pytest
import trio

from azfilesfs import errors
from azfilesfs.model.limits import MIB
from azfilesfs.model.paths import SharePath
from azfilesfs.vfs.errors import VfsError
from tests.unit.vfs.harness import (
    ROOT,
    CancelAt,
    check_tables,
    expect,
    get,
    idle,
    inode_of,
    inodes_of,
    operations,
    put,
)

DELETED = SharePath((".azfilesfs", "deleted"))


async def parked(host) -> list[str]:
    """Return the names of the parked files on the service."""
    try:
        page = await host.list_page(DELETED)
    except (errors.DirectoryNotFound, errors.ParentNotFound):
        return []
    return [entry.name for entry in page.entries]


async def test_unlinking_a_closed_file_is_one_request(program, host, app):
    """A file that nobody has open is deleted, and its name is free at once."""
    await program.write("a", b"x")
    app.requests.reset()
    await program.unlink("a")
    assert operations(app) == {"DeleteFile": 1}
    assert not await program.exists("a")
    assert await get(host, "a") is None
    assert operations(app) == {"DeleteFile": 1, "GetFileProperties": 1}


async def test_unlinking_an_open_file(program, host):
    """Its content stays readable until the last close, and then it is gone from the service."""
    data = os.urandom(3 * MIB)
    await put(host, "a", data)
    file = await program.open("a", os.O_RDWR)
    second = await program.open("a")
    await program.unlink("a")
    assert not await program.exists("a")
    assert await get(host, "a") is None
    assert len(await parked(host)) == 1
    assert await file.read() == data
    assert (await file.stat()).size == len(data)
    await file.write(b"changed", 5)
    assert await second.read(0, 20) == data[:5] + b"changed" + data[12:20]
    await file.fsync()
    await file.close()
    assert await second.read(5, 7) == b"changed"
    await second.close()
    assert await parked(host) == []
    assert inodes_of(program) != []


async def test_nothing_of_an_unlinked_file_is_uploaded(program, host, app):
    """Bytes written after unlink never leave this host."""
    await program.write("a", b"x")
    file = await program.open("a", os.O_RDWR)
    await program.unlink("a")
    app.requests.reset()
    await file.write(b"secret")
    await file.close()
    assert "PutRange" not in operations(app)
    assert "CreateFile" not in operations(app)


async def test_unlinking_a_local_file_sends_nothing(program, host, app):
    """A file that was never uploaded is a matter of this mount alone."""
    file = await program.open("a", os.O_CREAT | os.O_RDWR)
    await file.write(b"temporary")
    app.requests.reset()
    await program.unlink("a")
    assert not await program.exists("a")
    assert await file.read() == b"temporary"
    await file.write(b"more", 9)
    await file.fsync()
    assert await file.read() == b"temporarymore"
    await file.close()
    assert operations(app) == {}
    assert program.fs.statistics().dirty_files == 0
    assert await get(host, "a") is None


async def test_unlinking_a_dirty_open_file(program, host):
    """Local changes stay visible to the handles and are dropped with the last of them."""
    await put(host, "a", b"0123456789")
    file = await program.open("a", os.O_RDWR)
    await file.write(b"ab", 2)
    await program.unlink("a")
    assert await file.read() == b"01ab456789"
    await file.close()
    assert program.fs.statistics().dirty_files == 0
    assert await get(host, "a") is None
    assert await parked(host) == []


@pytest.mark.expect_log("is not on the service")
async def test_unlinking_a_closed_file_that_could_not_be_sent(program, host, app):
    """What a failed close left dirty goes away with the name."""
    await put(host, "a", b"old")
    file = await program.open("a", os.O_RDWR)
    await file.write(b"new")
    app.faults.add(operation="PutRange", status=403, code="AuthorizationFailure")
    with expect(errno.EACCES):
        await file.close()
    app.faults.clear()
    await program.unlink("a")
    assert program.fs.statistics().dirty_files == 0
    assert await get(host, "a") is None


async def test_unlinking_during_an_upload_waits_for_it(program, host, app):
    """The pass that is under way ends first; afterwards nothing is there."""
    file = await program.open("a", os.O_CREAT | os.O_RDWR)
    await file.write(b"x" * 100)
    app.faults.add(operation="CreateFile", path="*/a", delay=0.05)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(file.close)
        await trio.testing.wait_all_tasks_blocked(0.01)
        await program.unlink("a")
    await idle(program)
    assert await get(host, "a") is None
    assert program.fs.statistics().dirty_files == 0


async def test_a_new_file_of_the_name_of_an_unlinked_one(program, host):
    """The old handles show the old content, the name shows the new one."""
    await program.write("a", b"old")
    async with program.opened("a") as file:
        await program.unlink("a")
        await program.write("a", b"new")
        assert await file.read() == b"old"
        assert await program.read("a") == b"new"
    assert await get(host, "a") == b"new"


async def test_unlinking_what_is_not_there_or_a_directory(program, host):
    """ENOENT and EISDIR leave no inode behind."""
    await host.create_directory(SharePath(("d",)))
    with expect(errno.ENOENT):
        await program.fs.unlink(ROOT, b"a")
    with expect(errno.EISDIR):
        await program.fs.unlink(ROOT, b"d")
    assert [inode.number for inode in inodes_of(program)] == [ROOT]


@pytest.mark.parametrize("is_open", [False, True])
async def test_unlinking_what_another_client_removed(program, host, is_open):
    """Who comes second is told ENOENT, and the name is free."""
    await program.write("a", b"x")
    if is_open:
        await program.open("a")
    await host.delete_file(SharePath(("a",)))
    with expect(errno.ENOENT):
        await program.fs.unlink(ROOT, b"a")
    assert not await program.exists("a")
    await program.write("a", b"again")
    assert await get(host, "a") == b"again"


@pytest.mark.expect_log("conflict on 'a'")
async def test_unlinking_a_dirty_file_that_another_client_removed(program, host):
    """The local changes are kept for recovery, as after any removal by other hands."""
    await put(host, "a", b"old")
    file = await program.open("a", os.O_RDWR)
    await file.write(b"new")
    await host.delete_file(SharePath(("a",)))
    with expect(errno.ENOENT):
        await program.fs.unlink(ROOT, b"a")
    with expect(errno.ESTALE):
        await file.close()
    assert len(program.staging.kept()) == 1


@pytest.mark.parametrize("fault", [{"status": 500}, {"cut": "before"}])
async def test_a_failing_unlink(program, host, app, fault):
    """The file stays, open or not, and can be removed later."""
    await program.write("a", b"x")
    app.faults.add(operation="DeleteFile", **fault)
    app.faults.add(operation="RenameFile", **fault)
    with expect(errno.EIO):
        await program.unlink("a")
    file = await program.open("a", os.O_RDWR)
    with expect(errno.EIO):
        await program.unlink("a")
    app.faults.clear()
    assert await file.read() == b"x"
    await file.write(b"y")
    await file.close()
    assert await get(host, "a") == b"y"
    await program.unlink("a")
    assert await get(host, "a") is None


async def test_a_lost_answer_of_unlink(program, host, app):
    """A deletion whose answer was lost is done."""
    await program.write("a", b"x")
    app.faults.add(operation="DeleteFile", cut="after", times=1)
    await program.unlink("a")
    assert not await program.exists("a")
    await program.write("b", b"x")
    async with program.opened("b") as file:
        app.faults.add(operation="RenameFile", cut="after", times=1)
        await program.unlink("b")
        assert await file.read() == b"x"


async def test_an_unlinked_file_that_cannot_be_deleted_at_its_last_close(program, host, app):
    """The close does not hear of it; the end of the mount sweeps what is left."""
    await program.write("a", b"x")
    file = await program.open("a")
    await program.unlink("a")
    app.faults.add(operation="DeleteFile", status=500)
    await file.close()
    app.faults.clear()
    assert len(await parked(host)) == 1
    assert await program.fs.drain() == 0
    assert await parked(host) == []


async def test_a_parked_file_that_somebody_swept(program, host):
    """Its handles cannot read any more, and its last close is content."""
    await program.write("a", b"x")
    file = await program.open("a")
    await program.unlink("a")
    (name,) = await parked(host)
    await host.delete_file(DELETED.child(name))
    inode = inode_of(program, file.ino)
    memory = program.fs._context.cache._memory
    memory.rename(inode.validator, inode.validator, lambda _: False)
    with expect(errno.ESTALE):
        await file.read()
    await file.close()


async def test_unlinking_an_open_file_without_our_directory(program, host):
    """Whoever deletes /.azfilesfs does not stop this mount from parking files."""
    for _ in range(2):
        await program.write("a", b"x")
        async with program.opened("a") as file:
            await program.unlink("a")
            assert await file.read() == b"x"
        await host.delete_directory(DELETED)


async def test_rmdir(program, host):
    """An empty directory goes, with its name."""
    await program.mkdir("d")
    await program.rmdir("d")
    assert not await program.exists("d")
    await program.mkdir("d")


async def test_rmdir_refuses(program, host):
    """ENOENT, ENOTDIR and ENOTEMPTY, by the service's knowledge and by ours."""
    await program.write("f", b"x")
    await program.mkdir("d")
    with expect(errno.ENOENT):
        await program.fs.rmdir(ROOT, b"nothing")
    with expect(errno.ENOTDIR):
        await program.fs.rmdir(ROOT, b"f")
    file = await program.open("d/local", os.O_CREAT | os.O_WRONLY)
    with expect(errno.ENOTEMPTY):
        await program.rmdir("d")
    await file.close()
    with expect(errno.ENOTEMPTY):
        await program.rmdir("d")
    await program.unlink("d/local")
    await put(host, "d/foreign", b"x")
    with expect(errno.ENOTEMPTY):
        await program.rmdir("d")
    await host.delete_file(SharePath(("d", "foreign")))
    await program.rmdir("d")


async def test_rmdir_of_what_another_client_removed(program, host):
    """ENOENT, and the name is free."""
    await program.mkdir("d")
    await host.delete_directory(SharePath(("d",)))
    with expect(errno.ENOENT):
        await program.fs.rmdir(ROOT, b"d")
    await program.mkdir("d")


async def test_rmdir_of_a_directory_whose_files_were_removed_elsewhere(program, host):
    """Inodes that we still knew below a directory are lost with it."""
    number = await program.mkdir("d")
    await program.write("d/a", b"x")
    child = (await program.stat("d/a")).ino
    await host.delete_file(SharePath(("d", "a")))
    await program.fs.rmdir(ROOT, b"d")
    for gone in (number, child):
        with expect(errno.ESTALE):
            await program.fs.getattr(gone)
    check_tables(program)


async def test_removing_on_a_read_only_mount(mount, host):
    """EROFS before anything is asked."""
    await put(host, "a", b"x")
    async with mount(read_only=True) as program:
        with expect(errno.EROFS):
            await program.fs.unlink(ROOT, b"a")
        with expect(errno.EROFS):
            await program.fs.rmdir(ROOT, b"a")
        with expect(errno.EROFS):
            await program.fs.rename(ROOT, b"a", ROOT, b"b", 0)


async def test_a_removed_directory_takes_nothing_in(program):
    """What a program still holds of a removed directory is stale."""
    number = await program.mkdir("d")
    handle = await program.fs.opendir(number)
    program.directories.add(handle)
    await program.rmdir("d")
    with expect(errno.ESTALE):
        await program.create(number, b"a", os.O_WRONLY)
    with expect(errno.ESTALE):
        await program.fs.mkdir(number, b"a")
    with expect(errno.ESTALE):
        await program.fs.lookup(number, b"a")
    with expect(errno.ESTALE):
        await program.fs.readdir(handle, 0)


async def test_two_unlinks_at_once(program):
    """One of them removes the file, the other finds nothing."""
    await program.write("a", b"x")
    results: list[int] = []

    async def unlink() -> None:
        try:
            await program.fs.unlink(ROOT, b"a")
        except VfsError as error:
            results.append(error.errno)
        else:
            results.append(0)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(unlink)
        nursery.start_soon(unlink)
    assert sorted(results) == [0, errno.ENOENT]


@pytest.mark.parametrize("how", ["unlink", "rename"])
async def test_the_last_close_during_the_removal(program, host, app, how):
    """A close that overtakes the removal of the name leaves nothing parked."""
    await program.write("a", b"x")
    await program.write("b", b"new")
    file = await program.open("a", os.O_RDWR)
    app.faults.add(operation="RenameFile", delay=0.03, times=1)
    async with trio.open_nursery() as nursery:
        if how == "unlink":
            nursery.start_soon(program.unlink, "a")
        else:
            nursery.start_soon(program.rename, "b", "a")
        await trio.testing.wait_all_tasks_blocked(0.01)
        program.files.discard(file.handle)
        await program.fs.release(file.handle)
    assert await parked(host) == []


@pytest.mark.parametrize("state", ["parked", "dirty", "local"])
async def test_a_cancelled_last_close(program, host, state):
    """Wherever a release is cancelled, no inode and no staged byte is left behind."""
    for count in range(1, 30):
        if state != "local":
            await program.write("a", b"x")
        file = await program.open("a", os.O_CREAT | os.O_RDWR)
        if state != "parked":
            await file.write(b"changed")
        await program.unlink("a")
        program.files.discard(file.handle)
        with trio.CancelScope() as scope:
            instrument = CancelAt(trio.lowlevel.current_task(), scope, count)
            trio.lowlevel.add_instrument(instrument)
            try:
                await program.fs.release(file.handle)
            finally:
                trio.lowlevel.remove_instrument(instrument)
        assert program.fs.statistics().dirty_files == 0
        assert program.fs.statistics().open_handles == 0
        await program.end()
        assert [inode.number for inode in inodes_of(program)] == [ROOT]
    await program.fs.drain()
    assert await parked(host) == []


async def test_a_name_that_moves_while_unlink_waits(program, host, app):
    """unlink of a name that another task has just moved away is ENOENT, and removes nothing."""
    file = await program.open("a", os.O_CREAT | os.O_RDWR)
    await file.write(b"x")
    outcome: list[int] = []
    app.faults.add(operation="RenameFile", delay=0.03, times=1)

    async def unlink() -> None:
        try:
            await program.fs.unlink(ROOT, b"a")
        except VfsError as error:
            outcome.append(error.errno)

    await program.mkdir("d")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(program.rename, "a", "d/b")
        await trio.testing.wait_all_tasks_blocked(0.01)
        nursery.start_soon(unlink)
    assert outcome == [errno.ENOENT]
    await file.close()
    assert await get(host, "d/b") == b"x"
