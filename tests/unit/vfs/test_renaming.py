"""rename: files over files, directories, open and dirty and local ones, and failures."""

import errno
import os

import pytest
import trio

from azfilesfs.model.limits import MIB
from azfilesfs.model.paths import SharePath
from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.renaming import RENAME_NOREPLACE
from tests.unit.vfs.harness import (
    ROOT,
    drop_blocks,
    expect,
    get,
    inode_of,
    inodes_of,
    operations,
    put,
)
from tests.unit.vfs.test_removal import DELETED, parked

WRITE = os.O_CREAT | os.O_RDWR


async def test_renaming_is_one_request(program, host, app):
    """A closed file moves in one step and keeps its number and content."""
    await program.write("a", b"x")
    number = (await program.stat("a")).ino
    app.requests.reset()
    await program.rename("a", "b")
    assert operations(app) == {"RenameFile": 1}
    assert (await program.stat("b")).ino == number
    assert not await program.exists("a")
    assert await program.read("b") == b"x"
    assert await get(host, "b") == b"x"


async def make(program, host, name: str, state: str, data: bytes):
    """Bring a file into a state; return what is open of it."""
    if state == "nothing":
        return None
    if state == "local":
        file = await program.open(name, WRITE)
        await file.write(data)
        return file
    await put(host, name, b"-" * len(data) if state == "dirty" else data)
    program.fs._context.tree.listings.expire(program.fs._context.inodes.root)
    if state == "closed":
        await program.stat(name)
        return None
    if state == "unknown":
        return None
    file = await program.open(name, os.O_RDWR)
    if state == "dirty":
        await file.write(data)
    return file


@pytest.mark.parametrize("target", ["nothing", "closed", "open", "dirty", "local", "unknown"])
@pytest.mark.parametrize("source", ["closed", "open", "dirty", "local"])
async def test_replacing(program, host, source, target):
    """Whatever both files are, the name shows the source, and old handles show the target."""
    new, old = b"source" * 1000, b"target" * 2000
    source_file = await make(program, host, "a", source, new)
    target_file = await make(program, host, "b", target, old)
    await program.rename("a", "b")
    assert not await program.exists("a")
    assert await get(host, "a") is None
    assert await program.read("b") == new
    if source_file is not None:
        assert await source_file.read() == new
        await source_file.write(b"SOURCE")
        await source_file.close()
        new = b"SOURCE" + new[6:]
    assert await get(host, "b") == new
    assert await program.names() == [b"b"]
    if target_file is not None:
        assert await target_file.read() == old
        await target_file.write(b"lost")
        assert await target_file.read() == b"lost" + old[4:]
        await target_file.fsync()
        await target_file.close()
    assert await parked(host) == []
    assert await get(host, "b") == new


@pytest.mark.parametrize("target", ["closed", "open", "dirty", "local", "unknown"])
async def test_no_replace(program, host, target):
    """RENAME_NOREPLACE leaves both files as they were, also where only the service knows one."""
    await program.write("a", b"source")
    await program.names()
    if target == "unknown":
        await put(host, "b", b"target")
    else:
        await make(program, host, "b", target, b"target")
    with expect(errno.EEXIST):
        await program.rename("a", "b", RENAME_NOREPLACE)
    assert await program.read("a") == b"source"
    assert await program.read("b") == b"target"
    await program.rename("a", "c", RENAME_NOREPLACE)
    assert await program.read("c") == b"source"


async def test_flags(program):
    """Exchange, and flags that nobody knows, are EINVAL."""
    await program.write("a", b"x")
    for flags in (2, 4, 3):
        with expect(errno.EINVAL):
            await program.rename("a", "b", flags)


async def test_same_name(program, app):
    """A rename to itself does nothing; to another case of itself it is a rename."""
    await program.write("a", b"x")
    app.requests.reset()
    await program.rename("a", "a")
    assert operations(app) == {}
    await program.rename("a", "A")
    assert await program.names() == [b"A"]
    assert await program.read("A") == b"x"


async def test_refusals(program, host):
    """ENOENT, EISDIR, ENOTDIR, EINVAL and ENOTEMPTY, and no inode is left behind."""
    for directory in ("d", "e", "e/sub"):
        await host.create_directory(SharePath.parse(directory))
    for name in ("f", "d/f", "e/sub/x"):
        await put(host, name, b"x")
    with expect(errno.ENOENT):
        await program.fs.rename(ROOT, b"nothing", ROOT, b"b", 0)
    with expect(errno.EISDIR):
        await program.fs.rename(ROOT, b"f", ROOT, b"d", 0)
    with expect(errno.ENOTDIR):
        await program.fs.rename(ROOT, b"d", ROOT, b"f", 0)
    with expect(errno.ENOTEMPTY):
        await program.fs.rename(ROOT, b"d", ROOT, b"e", 0)
    assert [inode.number for inode in inodes_of(program)] == [ROOT]
    number = (await program.stat("e/sub")).ino
    with expect(errno.EINVAL):
        await program.fs.rename(ROOT, b"e", number, b"below", 0)
    with expect(errno.ENOTDIR):
        await program.fs.rename(ROOT, b"d", (await program.stat("f")).ino, b"x", 0)
    with expect(errno.ENAMETOOLONG):
        await program.rename("f", "x" * 300)
    with expect(errno.EPERM):
        await program.rename("f", ".azfilesfs")


async def test_renaming_a_directory(program, host):
    """What is below it moves along: closed, open, dirty and local files, and their numbers."""
    await program.mkdir("d")
    await program.mkdir("d/sub")
    await program.write("d/sub/closed", b"closed")
    await put(host, "d/sub/dirty", b"remote")
    closed = (await program.stat("d/sub/closed")).ino
    await program.names("d/sub")
    program.fs._context.tree.listings.expire(inode_of(program, (await program.stat("d/sub")).ino))
    dirty = await program.open("d/sub/dirty", os.O_RDWR)
    await dirty.write(b"DIRTY", 1)
    local = await program.open("d/sub/local", WRITE)
    await local.write(b"local")
    await program.mkdir("new")
    await program.rename("d", "new/place")
    assert not await program.exists("d")
    assert (await program.stat("new/place/sub/closed")).ino == closed
    assert await program.read("new/place/sub/closed") == b"closed"
    assert await program.read("new/place/sub/dirty") == b"rDIRTY"
    assert await program.read("new/place/sub/local") == b"local"
    for file in (dirty, local):
        staged = inode_of(program, file.ino).dirty.staged
        assert staged.path.components[:3] == ("new", "place", "sub")
        await file.close()
    assert await get(host, "new/place/sub/dirty") == b"rDIRTY"
    assert await get(host, "new/place/sub/local") == b"local"
    assert await program.names("new/place/sub") == [b"closed", b"dirty", b"local"]


async def test_a_directory_over_an_empty_one(program):
    """The empty target goes first."""
    await program.mkdir("d")
    await program.write("d/f", b"x")
    await program.mkdir("e")
    await program.rename("d", "e")
    assert await program.names() == [b"e"]
    assert await program.read("e/f") == b"x"


async def test_a_directory_over_one_with_local_files(program):
    """A file that is only here makes a directory not empty."""
    await program.mkdir("d")
    await program.mkdir("e")
    file = await program.open("e/local", WRITE)
    with expect(errno.ENOTEMPTY):
        await program.rename("d", "e")
    await file.close()


@pytest.mark.parametrize("kind", ["file", "directory"])
async def test_a_lost_answer_of_rename(program, host, app, kind):
    """The id under the new name tells that a rename was done."""
    await program.mkdir("x")
    path = "x" if kind == "directory" else "x/f"
    await program.write("x/f", b"data")
    app.faults.add(operation="Rename*", cut="after", times=1)
    await program.rename(path, "moved")
    shown = "moved/f" if kind == "directory" else "moved"
    assert await program.read(shown) == b"data"
    assert await get(host, shown) == b"data"
    assert not await program.exists(path)


@pytest.mark.parametrize(
    "fault", [{"status": 500}, {"cut": "before"}, {"status": 403, "code": "AuthorizationFailure"}]
)
@pytest.mark.parametrize("target", ["nothing", "closed", "open", "dirty", "local"])
async def test_a_failing_rename(program, host, app, fault, target):
    """Nothing has changed: neither name, nor content, nor what handles of the target can do."""
    await program.write("a", b"source")
    file = await make(program, host, "b", target, b"target")
    app.faults.add(operation="RenameFile", **fault)
    with expect(errno.EACCES if fault.get("status") == 403 else errno.EIO):
        await program.rename("a", "b")
    app.faults.clear()
    assert await program.read("a") == b"source"
    if target == "nothing":
        assert not await program.exists("b")
        return
    assert await program.read("b") == b"target"
    if file is not None:
        await file.write(b"TAR")
        await file.close()
        assert await get(host, "b") == b"TARget"
    await program.rename("a", "b")
    assert await get(host, "b") == b"source"


@pytest.mark.expect_log("is not on the service")
async def test_renaming_a_file_that_cannot_be_uploaded(program, host, app):
    """The bytes must be there before the name is: the rename fails as the upload does."""
    file = await program.open("a", WRITE)
    await file.write(b"data")
    app.faults.add(operation="CreateFile", status=403, code="AuthorizationFailure")
    with expect(errno.EACCES):
        await program.rename("a", "b")
    app.faults.clear()
    await program.rename("a", "b")
    await file.close()
    assert await get(host, "b") == b"data"
    assert await get(host, "a") is None


@pytest.mark.parametrize("kind", ["file", "directory"])
async def test_renaming_what_another_client_removed(program, host, kind):
    """ENOENT, and the name is gone here too."""
    if kind == "file":
        await program.write("a", b"x")
        await host.delete_file(SharePath(("a",)))
    else:
        await program.mkdir("a")
        await host.delete_directory(SharePath(("a",)))
    with expect(errno.ENOENT):
        await program.fs.rename(ROOT, b"a", ROOT, b"b", 0)
    assert not await program.exists("a")


@pytest.mark.parametrize("name", ["a", "x"])
async def test_renaming_into_a_directory_that_is_gone(program, host, name):
    """ENOENT is about the new place: what was to be moved stays, with its handles."""
    await program.mkdir("x")
    await program.write("x/f", b"y")
    await program.write("a", b"x")
    await program.mkdir("d")
    number = (await program.stat("d")).ino
    file = await program.open("a", os.O_RDWR)
    await host.delete_directory(SharePath(("d",)))
    with expect(errno.ENOENT):
        await program.fs.rename(ROOT, name.encode(), number, b"moved", 0)
    await file.write(b"X")
    await file.close()
    assert await get(host, "a") == b"X"
    assert await program.read("x/f") == b"y"
    assert not await program.exists("d")


async def test_renaming_over_a_directory_made_elsewhere(program, host):
    """A directory that we do not know of yet is not replaced."""
    await program.write("a", b"x")
    await program.names()
    await host.create_directory(SharePath(("b",)))
    with pytest.raises(VfsError) as caught:
        await program.rename("a", "b")
    assert caught.value.errno in {errno.EISDIR, errno.EEXIST, errno.ESTALE}
    assert await program.read("a") == b"x"
    assert (await program.stat("b")).mode & 0o040000


async def test_reading_during_a_rename(program, host, app):
    """A read that is under way when its file, or a directory above it, moves gets its bytes."""
    data = os.urandom(2 * MIB)
    await host.create_directory(SharePath(("d",)))
    await put(host, "d/a", data)
    file = await program.open("d/a")
    for old, new in [("d/a", "d/b"), ("d", "e"), ("e/b", "c")]:
        drop_blocks(program, file.ino)
        app.faults.add(operation="GetFile", delay=0.02, times=1)
        result: list[bytes] = []

        async def read(result=result) -> None:
            result.append(await file.read(MIB, 1000))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked(0.005)
            await program.rename(old, new)
        assert result == [data[MIB : MIB + 1000]]
        app.faults.clear()


async def test_reading_during_the_rename_of_a_file(program, host, app):
    """A read that begins while a rename is under way waits for the new name."""
    data = os.urandom(2 * MIB)
    await put(host, "a", data)
    file = await program.open("a")
    drop_blocks(program, file.ino)
    app.faults.add(operation="RenameFile", delay=0.02, times=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(program.rename, "a", "b")
        await trio.testing.wait_all_tasks_blocked(0.005)
        assert await file.read(MIB, 1000) == data[MIB : MIB + 1000]


async def test_reading_a_file_while_it_is_replaced(program, host, app):
    """Readers of the target see its bytes before, during and after the replacement."""
    data = os.urandom(2 * MIB)
    await put(host, "b", data)
    await program.write("a", b"new")
    file = await program.open("b")
    drop_blocks(program, file.ino)
    app.faults.add(operation="RenameFile", path="*/b", delay=0.02, times=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(program.rename, "a", "b")
        await trio.testing.wait_all_tasks_blocked(0.005)
        assert await file.read(MIB, 1000) == data[MIB : MIB + 1000]
    drop_blocks(program, file.ino)
    assert await file.read() == data
    assert await program.read("b") == b"new"


async def test_writing_during_a_rename(program, host, app):
    """Bytes written while the rename waits for the service arrive under the new name."""
    file = await program.open("a", WRITE)
    await file.write(b"one")
    await file.fsync()
    app.faults.add(operation="RenameFile", delay=0.02, times=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(program.rename, "a", "b")
        await trio.testing.wait_all_tasks_blocked(0.005)
        await file.write(b"two", 3)
    await file.close()
    assert await get(host, "b") == b"onetwo"
    assert await get(host, "a") is None
    assert program.staging.kept() == []


async def test_many_renames_at_once(program, host):
    """Crossing renames of files and directories end, and everything is somewhere."""
    for number in range(4):
        await program.mkdir(f"d{number}")
        await program.write(f"d{number}/f{number}", b"%d" % number)
    done: list[int] = []
    refused: set[int] = set()

    async def churn(start: int) -> None:
        for step in range(8):
            source, target = f"d{(start + step) % 4}", f"d{(start + step + 1) % 4}"
            try:
                if step % 2:
                    await program.rename(source, f"{target}/x{start}")
                    await program.rename(f"{target}/x{start}", source)
                else:
                    await program.rename(f"{source}/f{start}", f"{target}/f{start}")
            except VfsError as error:
                refused.add(error.errno)
        done.append(start)

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for start in range(4):
                nursery.start_soon(churn, start)
    assert sorted(done) == [0, 1, 2, 3]
    usual = {errno.ENOENT, errno.ENOTEMPTY, errno.EINVAL, errno.ESTALE, errno.EAGAIN}
    assert refused <= usual


@pytest.mark.expect_log("conflict on")
async def test_renaming_a_dirty_file_that_another_client_changed(program, host):
    """A rename does not move the base of local changes onto a foreign version."""
    await put(host, "a", b"base")
    file = await program.open("a", os.O_RDWR)
    await file.write(b"mine")
    await put(host, "a", b"them")
    with expect(errno.ESTALE):
        await program.rename("a", "b")
    assert len(program.staging.kept()) == 1
    assert await get(host, "a") == b"them"
    program.files.discard(file.handle)
    await program.fs.release(file.handle)


async def test_a_copy_that_a_failed_replace_left_is_swept(program, host, app):
    """Copies made for handles of a file that was not replaced after all go at the end."""
    await program.write("a", b"source")
    await program.write("b", b"target")
    file = await program.open("b")
    app.faults.add(operation="RenameFile", status=403, code="AuthorizationFailure")
    with expect(errno.EACCES):
        await program.rename("a", "b")
    app.faults.clear()
    assert len(await parked(host)) == 1
    await file.close()
    await program.fs.drain()
    assert (await host.list_page(DELETED)).entries == ()
