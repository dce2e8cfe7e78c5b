"""Opening, creating and closing: flags, errors, exclusive creation, deferred creation."""

import errno
import os

import pytest
import trio

from azfilesfs.model.paths import SharePath
from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.types import Consistency, ExclusiveCreate
from tests.unit.vfs.harness import ROOT, expect, get, inode_of, inodes_of, operations, put

EXCLUSIVE = os.O_CREAT | os.O_EXCL | os.O_WRONLY


async def test_a_new_file_is_here_at_once_and_there_after_close(program, host):
    """Until its first close a created file exists on this mount only, and there it is whole."""
    file = await program.open("a", os.O_CREAT | os.O_RDWR)
    await file.write(b"hello")
    assert await get(host, "a") is None
    assert (await program.stat("a")).size == 5
    assert await program.names() == [b"a"]
    async with program.opened("a") as second:
        assert second.ino == file.ino
        assert await second.read() == b"hello"
    assert await get(host, "a") is None
    await file.close()
    assert await get(host, "a") == b"hello"


async def test_the_inode_number_survives_the_upload(program):
    """A file keeps the number that it got before the service gave it an id."""
    file = await program.open("a", os.O_CREAT | os.O_WRONLY)
    await file.write(b"x")
    await file.close()
    assert (await program.stat("a")).ino == file.ino


async def test_an_empty_new_file_is_created_by_its_close(program, host):
    """``touch`` of a new name makes an empty file."""
    await program.write("a", b"")
    assert await get(host, "a") == b""


async def test_the_flush_of_an_empty_file_before_its_first_byte(program, host, app):
    """``cmd > f`` flushes early; the content comes afterwards, in one request."""
    file = await program.open("a", os.O_CREAT | os.O_WRONLY)
    await program.fs.flush(file.handle)
    assert await get(host, "a") == b""
    app.requests.reset()
    await file.write(b"late")
    await file.close()
    assert operations(app) == {"CreateFile": 1}
    assert await get(host, "a") == b"late"


async def test_large_new_files_are_sent_in_ranges(program, host):
    """More than 4 MiB do not fit the create."""
    data = os.urandom(9 * 1024 * 1024 + 17)
    await program.write("a", data)
    assert await get(host, "a") == data
    assert await program.read("a") == data


async def test_create_opens_what_exists(program, host):
    """CREATE without O_EXCL on an existing name is an open of it."""
    await put(host, "a", b"there")
    file = await program.create(ROOT, b"a", os.O_RDWR)
    assert await file.read() == b"there"
    await file.write(b"TH")
    await file.close()
    assert await get(host, "a") == b"THere"


async def test_create_with_truncation_of_what_exists(program, host):
    """CREATE with O_TRUNC empties an existing file."""
    await put(host, "a", b"there")
    file = await program.create(ROOT, b"A", os.O_WRONLY | os.O_TRUNC)
    await file.write(b"new")
    await file.close()
    assert await get(host, "a") == b"new"


@pytest.mark.parametrize("decider", list(ExclusiveCreate))
async def test_exclusive_creation(mount, host, decider):
    """O_EXCL makes a file that is not there and refuses one that is, in any case."""
    await put(host, "there", b"x")
    async with mount(exclusive_create=decider) as program:
        file = await program.create(ROOT, b"new", EXCLUSIVE)
        await file.write(b"data")
        await file.close()
        assert await get(host, "new") == b"data"
        with expect(errno.EEXIST):
            await program.create(ROOT, b"There", EXCLUSIVE)
        with expect(errno.EEXIST):
            await program.create(ROOT, b"NEW", EXCLUSIVE)


async def test_exclusive_creation_is_decided_by_the_service(mount, host):
    """A file that appeared after the listing makes O_EXCL fail at open."""
    async with mount() as program:
        assert await program.names() == []
        await put(host, "a", b"first")
        with expect(errno.EEXIST):
            await program.create(ROOT, b"a", EXCLUSIVE)
        assert await program.read("a") == b"first"


async def test_exclusive_creation_has_one_winner(mount):
    """Of two mounts that create a name at the same time exactly one gets it."""
    async with mount() as one, mount() as two:
        results: list[int] = []

        async def create(program, name):
            try:
                file = await program.create(ROOT, name, EXCLUSIVE)
            except VfsError as error:
                results.append(0 if error.errno == errno.EEXIST else error.errno)
            else:
                await file.close()
                results.append(1)

        for number in range(20):
            results.clear()
            async with trio.open_nursery() as nursery:
                for program in (one, two):
                    nursery.start_soon(create, program, b"f%d" % number)
            assert sorted(results) == [0, 1]


@pytest.mark.expect_log("conflict on 'a'")
async def test_a_collision_decided_by_the_mount_is_told_at_close(mount, host):
    """With --exclusive-create=mount a file that appears meanwhile is EEXIST at close."""
    async with mount(exclusive_create=ExclusiveCreate.MOUNT) as program:
        file = await program.open("a", EXCLUSIVE)
        await file.write(b"mine")
        await put(host, "a", b"theirs")
        inode = inode_of(program, file.ino)
        inode.dirty.absent_since = float("-inf")
        with expect(errno.EEXIST):
            await file.close()
        assert await get(host, "a") == b"theirs"
        (record,) = program.staging.kept()
        assert record.path == SharePath(("a",))


async def test_a_lost_answer_of_an_exclusive_creation(program, host, app):
    """The temp file's id under the new name tells that the rename was done."""
    app.faults.add(operation="RenameFile", cut="after", times=1)
    file = await program.create(ROOT, b"a", EXCLUSIVE)
    await file.write(b"x")
    await file.close()
    assert await get(host, "a") == b"x"


async def test_exclusive_creation_survives_the_removal_of_our_directory(program, host):
    """Whoever deletes /.azfilesfs does not stop this mount from creating files."""
    await (await program.create(ROOT, b"a", EXCLUSIVE)).close()
    await trio.testing.wait_all_tasks_blocked()
    tmp = SharePath((".azfilesfs", "tmp"))
    async for page in host.list_directories_and_files(tmp):
        for entry in page.entries:
            await host.delete_file(tmp.child(entry.name))
    await host.delete_directory(tmp)
    for name in (b"b", b"c", b"d", b"e"):
        await (await program.create(ROOT, name, EXCLUSIVE)).close()
        assert await get(host, name.decode()) == b""


async def test_opening_for_writing_on_a_read_only_mount(mount, host):
    """A read-only mount opens for reading only, and creates nothing."""
    await put(host, "a", b"x")
    async with mount(read_only=True) as program:
        assert program.fs.read_only
        assert await program.read("a") == b"x"
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
            with expect(errno.EROFS):
                await program.open("a", flags)
        with expect(errno.EROFS):
            await program.create(ROOT, b"b", os.O_WRONLY)


async def test_opening_a_directory(program):
    """OPEN of a directory is EISDIR, also by CREATE."""
    number = await program.mkdir("d")
    with expect(errno.EISDIR):
        await program.fs.open_file(number, os.O_RDONLY)
    with expect(errno.EISDIR):
        await program.create(ROOT, b"d", os.O_WRONLY)


async def test_creating_below_a_file(program):
    """A file has no entries."""
    await program.write("a", b"x")
    number = (await program.stat("a")).ino
    with expect(errno.ENOTDIR):
        await program.create(number, b"b", os.O_WRONLY)


async def test_a_file_that_went_away_before_open(program, host):
    """OPEN of a file that another host removed is ESTALE, and the kernel forgets the name."""
    await program.write("a", b"x")
    number = (await program.stat("a")).ino
    await host.delete_file(SharePath(("a",)))
    with expect(errno.ESTALE):
        await program.fs.open_file(number, os.O_RDONLY)
    assert (ROOT, b"a") in program.kernel.entries
    assert not await program.exists("a")


async def test_unknown_numbers(program):
    """Inodes and handles that nobody gave out are refused."""
    with expect(errno.ESTALE):
        await program.fs.open_file(4711, os.O_RDONLY)
    for operation in (program.fs.flush, program.fs.fsync, program.fs.release):
        with expect(errno.EBADF):
            await operation(4711)
    with expect(errno.EBADF):
        await program.fs.read(4711, 0, 1)
    with expect(errno.EBADF):
        await program.fs.write(4711, 0, b"")
    for operation in (program.fs.fsyncdir, program.fs.releasedir):
        with expect(errno.EBADF):
            await operation(4711)
    with expect(errno.EBADF):
        await program.fs.readdir(4711, 0)


async def test_writing_through_a_read_only_handle(program):
    """A handle for reading takes no bytes."""
    await program.write("a", b"x")
    async with program.opened("a") as file:
        with expect(errno.EBADF):
            await file.write(b"y")


async def test_ttl_consistency_opens_without_asking(mount, host, app, clock):
    """With --consistency=ttl an open within the TTL sends nothing; after it, it asks."""
    await put(host, "a", b"old")
    async with mount(consistency=Consistency.TTL, attr_ttl=10.0, dir_ttl=10.0) as program:
        assert await program.read("a") == b"old"
        app.requests.reset()
        assert await program.read("a") == b"old"
        assert operations(app) == {}
        await put(host, "a", b"new")
        assert await program.read("a") == b"old"
        clock.jump(11)
        assert await program.read("a") == b"new"


async def test_failing_to_stage_a_new_file(program, monkeypatch):
    """Where the staging disk is full a create is refused and leaves no name."""

    def refuse(*args):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(program.staging, "create", refuse)
    with expect(errno.ENOSPC):
        await program.create(ROOT, b"a", os.O_WRONLY)
    monkeypatch.undo()
    assert await program.names() == []
    assert [inode.number for inode in inodes_of(program)] == [ROOT]


async def test_release_uploads_what_came_after_the_last_flush(program, host):
    """A shared mapping writes after close; RELEASE brings that to the service."""
    file = await program.open("a", os.O_CREAT | os.O_RDWR)
    await program.fs.flush(file.handle)
    await file.write(b"mapped")
    program.files.discard(file.handle)
    await program.fs.release(file.handle)
    assert await get(host, "a") == b"mapped"


@pytest.mark.expect_log("is not on the service", "after its last close")
async def test_a_failure_at_release_is_logged(program, host, app):
    """Nobody hears of a failure at RELEASE; the bytes stay dirty and are tried again."""
    file = await program.open("a", os.O_CREAT | os.O_RDWR)
    await file.write(b"mapped")
    app.faults.add(operation="CreateFile", status=403, code="AuthorizationPermissionMismatch")
    program.files.discard(file.handle)
    await program.fs.release(file.handle)
    app.faults.clear()
    assert program.fs.statistics().dirty_files == 1
    assert await program.fs.drain() == 0
    assert await get(host, "a") == b"mapped"


async def test_o_append_writes_at_the_end(program, host):
    """Whatever offset the kernel sends, an O_APPEND handle writes at the end."""
    await put(host, "a", b"one")
    file = await program.open("a", os.O_WRONLY | os.O_APPEND)
    await file.write(b"two", 0)
    await file.write(b"three", 0)
    await file.close()
    assert await get(host, "a") == b"onetwothree"


async def test_o_trunc_of_an_open_file(program, host):
    """O_TRUNC empties a file for every handle of the mount, and the close makes it so there."""
    await put(host, "a", b"content")
    async with program.opened("a") as reader:
        assert await reader.read() == b"content"
        writer = await program.open("a", os.O_WRONLY | os.O_TRUNC)
        assert await reader.read() == b""
        assert await get(host, "a") == b"content"
        await writer.close()
        assert await get(host, "a") == b""


async def test_names_that_the_service_forbids(program):
    """Creation tells of bad names at once: device names, length, encoding, our own directory."""
    for name, number in [
        (b"CON", errno.EINVAL),
        (b"x" * 256, errno.ENAMETOOLONG),
        (b"\xff", errno.EILSEQ),
        (b".azfilesfs", errno.EPERM),
        (b".AZFILESFS", errno.EPERM),
    ]:
        with expect(number):
            await program.create(ROOT, name, os.O_WRONLY)
        with expect(number):
            await program.fs.mkdir(ROOT, name)
        with expect(number):
            await program.fs.symlink(ROOT, name, b"x")


async def test_names_that_are_mapped(program, host):
    """Characters that the service forbids come back as they were written."""
    for name in ("a:b", "what?", "dot.", "space ", 'say "x"', "tab\t"):
        await program.write(name, name.encode())
        assert await program.read(name) == name.encode()
    assert await program.names() == sorted(
        name.encode() for name in ("a:b", "what?", "dot.", "space ", 'say "x"', "tab\t")
    )


async def test_a_literal_trailing_dot_of_another_client(program, host):
    """A name that ends in a literal period is found by the name under which it is shown."""
    await put(host, "end.", b"x")
    assert await program.names() == [b"end."]
    assert await program.read("end.") == b"x"
