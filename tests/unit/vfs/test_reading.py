"""Reading through handles: what shows through, files that change meanwhile, races with uploads."""

import errno
import os

import pytest
import trio

from azfilesfs.errors import ChangedDuringRead, InvalidRange
from azfilesfs.model.limits import MIB
from azfilesfs.model.paths import SharePath
from azfilesfs.vfs.errors import VfsError
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


async def test_reading_past_the_end(program, host):
    """Nothing is there, and nothing is asked for."""
    await put(host, "a", b"12345")
    file = await program.open("a")
    assert await file.read(5, 10) == b""
    assert await file.read(100, 10) == b""
    assert await file.read(3, 10) == b"45"
    assert await file.read(0, 0) == b""


async def test_a_write_only_handle_reads_for_the_page_cache(program, host):
    """The kernel reads a page before it changes a part of it, whatever the access mode."""
    await put(host, "a", b"12345")
    file = await program.open("a", os.O_WRONLY)
    assert await file.read() == b"12345"


async def test_an_empty_file_and_one_that_became_empty(program, host):
    """A range has no answer there; a HEAD has."""
    await put(host, "a", b"")
    await put(host, "b", b"content")
    assert await program.read("a") == b""
    assert (await program.stat("b")).size == 7
    await put(host, "b", b"")
    assert await program.read("b") == b""
    assert (await program.stat("b")).size == 0


async def test_a_handle_follows_the_newest_version(program, host):
    """One read never mixes versions; the next one may be of another."""
    await put(host, "a", b"x" * (2 * MIB))
    file = await program.open("a")
    assert await file.read(0, 10) == b"x" * 10
    await put(host, "a", b"y" * (2 * MIB))
    drop_blocks(program, file.ino)
    assert await file.read(MIB, 10) == b"y" * 10


async def test_a_file_that_was_cut_under_a_handle(program, host):
    """Bytes past the new end are gone, and the size is the new one."""
    await put(host, "a", b"x" * (2 * MIB))
    file = await program.open("a")
    await host.set_file_properties(SharePath(("a",)), size=100)
    drop_blocks(program, file.ino)
    assert await file.read(MIB, 10) == b""
    assert (await file.stat()).size == 100
    assert len(await file.read()) == 100


async def test_a_file_that_was_removed_under_a_handle(program, host):
    """ESTALE for every later use of the handle."""
    await put(host, "a", b"x" * (2 * MIB))
    file = await program.open("a", os.O_RDWR)
    await host.delete_file(SharePath(("a",)))
    drop_blocks(program, file.ino)
    with expect(errno.ESTALE):
        await file.read(MIB, 10)
    with expect(errno.ESTALE):
        await file.read()
    with expect(errno.ESTALE):
        await file.write(b"x")
    with expect(errno.ESTALE):
        await file.truncate(0)
    assert not await program.exists("a")


async def test_a_file_that_was_replaced_under_a_handle(program, host):
    """Another file id is another file: ESTALE."""
    await put(host, "a", b"x" * (2 * MIB))
    file = await program.open("a")
    await put(host, "b", b"y" * (2 * MIB))
    await host.rename_file(SharePath(("b",)), SharePath(("a",)), replace=True)
    drop_blocks(program, file.ino)
    with expect(errno.ESTALE):
        await file.read(MIB, 10)
    assert await program.read("a") == b"y" * (2 * MIB)


async def test_opening_what_was_replaced(program, host):
    """An open whose first block is another file's is ESTALE; the next lookup finds the new one."""
    await put(host, "a", b"x" * 100)
    number = (await program.stat("a")).ino
    await put(host, "b", b"y" * 100)
    await host.rename_file(SharePath(("b",)), SharePath(("a",)), replace=True)
    with expect(errno.ESTALE):
        await program.fs.open_file(number, os.O_RDONLY)
    assert (await program.stat("a")).ino != number


async def test_opening_what_was_removed(program, host):
    """An open that reads and meets nothing is ESTALE."""
    await put(host, "a", b"x" * 100)
    number = (await program.stat("a")).ino
    await host.delete_file(SharePath(("a",)))
    with expect(errno.ESTALE):
        await program.fs.open_file(number, os.O_RDONLY)


@pytest.mark.expect_log("conflict on 'a'")
async def test_reading_a_dirty_file_that_changed_elsewhere(program, host):
    """What lies under local changes is another version: ESTALE, not a mixture."""
    await put(host, "a", b"x" * (2 * MIB))
    file = await program.open("a", os.O_RDWR)
    await file.write(b"mine")
    await put(host, "a", b"y" * (2 * MIB))
    drop_blocks(program, file.ino)
    with expect(errno.ESTALE):
        await file.read(MIB, 10)
    assert await file.read(0, 4) == b"mine"
    with expect(errno.ESTALE):
        await file.close()


async def test_an_answer_that_contradicts_itself(program, host, monkeypatch):
    """A range that is refused although the size allows it is asked for once more."""
    await put(host, "a", b"x" * (2 * MIB))
    file = await program.open("a")
    reader = program.fs._context.reader
    real, calls = type(reader).read, []

    async def read(self, *args):
        calls.append(args)
        if len(calls) == 1:
            raise InvalidRange("refused")
        return await real(self, *args)

    monkeypatch.setattr(type(reader), "read", read)
    assert await file.read(MIB, 10) == b"x" * 10


async def test_a_file_that_never_holds_still(program, host, monkeypatch):
    """After some attempts a read gives up with ESTALE."""
    await put(host, "a", b"x")

    async def read(self, *args):
        raise ChangedDuringRead("it changed again and again")

    file = await program.open("a")
    monkeypatch.setattr(type(program.fs._context.reader), "read", read)
    with expect(errno.ESTALE):
        await file.read()


async def test_an_open_whose_range_is_refused(program, host, monkeypatch):
    """Where the first block has no answer, a HEAD tells the size."""
    await put(host, "a", b"x")

    async def refuse(self, source):
        raise InvalidRange("refused")

    number = (await program.stat("a")).ino
    monkeypatch.setattr(type(program.fs._context.reader), "open_first_block", refuse)
    result = await program.fs.open_file(number, os.O_RDONLY)
    program.files.add(result.handle)


async def test_reading_while_uploads_come_and_go(program, host, app):
    """Reads that wait for a pass, and meet the next change when it ends, get whole contents."""
    old = os.urandom(2 * MIB)
    await put(host, "a", old)
    file = await program.open("a", os.O_RDWR)
    drop_blocks(program, file.ino)
    seen: list[bytes] = []
    is_done = False

    async def write() -> None:
        nonlocal is_done
        for count in range(20):
            await file.write(b"%04d" % count)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(program.fs.flush, file.handle)
                inode = inode_of(program, file.ino)
                while inode.dirty is not None:
                    await trio.lowlevel.checkpoint()
                await file.write(b"%04d" % count)
        is_done = True

    async def read() -> None:
        while not is_done:
            drop_blocks(program, file.ino)
            seen.append(await file.read(MIB, 100))

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            for _ in range(3):
                nursery.start_soon(read)
    assert set(seen) == {old[MIB : MIB + 100]}
    await file.close()
    assert await get(host, "a") == b"0019" + old[4:]


async def test_a_read_that_begins_clean_and_ends_dirty(program, host, app):
    """A write during a read that waits for the service disturbs neither."""
    await put(host, "a", b"x" * (2 * MIB))
    file = await program.open("a", os.O_RDWR)
    drop_blocks(program, file.ino)
    app.faults.add(operation="GetFile", delay=0.02)
    result: list[bytes] = []

    async def read() -> None:
        result.append(await file.read(MIB, 10))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked(0.005)
        await file.write(b"y" * 10, MIB)
    assert result[0] in {b"x" * 10, b"y" * 10}
    await idle(program)


async def test_mapped_pages_of_an_appending_handle(program, host):
    """Write-back of whole pages stays in its place; appended bytes go to the end."""
    await put(host, "a", b"x" * 5000)
    file = await program.open("a", os.O_RDWR | os.O_APPEND)
    await program.fs.write(file.handle, 0, b"y" * 4096)
    await program.fs.write(file.handle, 5000, b"end")
    await file.close()
    assert await get(host, "a") == b"y" * 4096 + b"x" * 904 + b"end"


async def test_an_answer_without_a_change_time(program, host, app):
    """Where the answer to an upload does not tell the version a HEAD does."""
    await program.names()
    app.faults.add(operation="CreateFile", answer_headers={"x-ms-file-change-time": ""}, times=1)
    app.requests.reset()
    await program.write("a", b"x")
    assert operations(app) in (
        {"CreateFile": 1, "GetFileProperties": 1},
        {"CreateFile": 2},
        {"CreateFile": 1},
    )
    assert await program.read("a") == b"x"


async def test_dot_and_dotdot(program):
    """What an open directory and the one above it are, without a request."""
    number = await program.mkdir("d")
    handle = await program.fs.opendir(number)
    itself, above = program.fs.itself_and_parent(handle)
    assert (itself.attrs.ino, above.attrs.ino) == (number, ROOT)
    await program.fs.releasedir(handle)
    handle = await program.fs.opendir(ROOT)
    itself, above = program.fs.itself_and_parent(handle)
    assert (itself.attrs.ino, above.attrs.ino) == (ROOT, ROOT)
    await program.fs.releasedir(handle)


async def test_a_name_that_comes_and_goes(program, monkeypatch):
    """Creation gives up where the name keeps appearing and disappearing under its hands."""
    namespace = program.fs._namespace
    local = await program.open("a", os.O_CREAT | os.O_WRONLY)

    async def find(parent, name):
        return None

    monkeypatch.setattr(namespace, "find", find)
    with expect(errno.EAGAIN):
        await program.create(ROOT, b"a", os.O_WRONLY)
    monkeypatch.undo()
    await local.close()


async def test_names_that_keep_changing(program, monkeypatch):
    """A rename whose source is taken away at each attempt gives up."""
    await program.write("a", b"x")
    renamer = program.fs._renamer

    async def never(*args):
        return False

    monkeypatch.setattr(renamer, "_rename_file", never)
    with expect(errno.EAGAIN):
        await program.rename("a", "b")


async def test_a_source_that_goes_while_rename_waits(program, host, app):
    """A rename that waited for another one of the same file is ENOENT."""
    await program.write("a", b"x")
    outcome: list[int] = []
    app.faults.add(operation="RenameFile", delay=0.03, times=1)

    async def rename(new: bytes) -> None:
        try:
            await program.fs.rename(ROOT, b"a", ROOT, new, 0)
        except VfsError as error:
            outcome.append(error.errno)
        else:
            outcome.append(0)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(rename, b"b")
        nursery.start_soon(rename, b"c")
    assert sorted(outcome) == [0, errno.ENOENT]
    assert len(await program.names()) == 1


async def test_a_directory_that_goes_while_rename_waits(program, host, app):
    """The same for directories."""
    await program.mkdir("a")
    await program.mkdir("target")
    outcome: list[int] = []
    app.faults.add(operation="RenameDirectory", delay=0.03, times=1)

    async def rename(new: str) -> None:
        try:
            await program.rename("a", new)
        except VfsError as error:
            outcome.append(error.errno)
        else:
            outcome.append(0)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(rename, "b")
        nursery.start_soon(rename, "target/c")
    assert sorted(outcome) == [0, errno.ENOENT]


async def test_truncating_below_and_reading(program, host):
    """Between a cut and a growth everything reads as it will be."""
    old = os.urandom(MIB)
    await put(host, "a", old)
    file = await program.open("a", os.O_RDWR)
    drop_blocks(program, file.ino)
    await file.truncate(1000)
    assert await file.read() == old[:1000]
    await file.truncate(2000)
    await file.write(b"x", 1500)
    expected = old[:1000] + bytes(500) + b"x" + bytes(499)
    assert await file.read() == expected
    assert await file.read(1200, 100) == bytes(100)
    await program.fs.setattr(file.ino, SetAttr(size=1501), file.handle)
    await file.close()
    assert await get(host, "a") == expected[:1501]
