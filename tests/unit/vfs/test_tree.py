"""What answers mean for inodes, and what makes them go: forgetting, sweeping, failures."""

import errno
import itertools
import os
from contextlib import suppress

import pytest
import trio

from azfilesfs.model.paths import SharePath
from azfilesfs.model.properties import EntryKind, ListedEntry, Properties
from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.inodes import Place
from azfilesfs.vfs.sweeper import SWEEP_SECONDS, Sweeper
from azfilesfs.vfs.types import OpenResult
from tests.unit.vfs.harness import ROOT, expect, get, inode_of, inodes_of, put


async def test_a_name_that_appears_over_a_local_file(program, host):
    """Until it is uploaded the local file has the name here, whatever a listing shows."""
    file = await program.open("a", os.O_CREAT | os.O_RDWR)
    await file.write(b"mine")
    await put(host, "a", b"theirs")
    program.fs._context.tree.listings.expire(program.fs._context.inodes.root)
    assert await program.names() == [b"a"]
    assert (await program.stat("a")).ino == file.ino
    assert await program.read("a") == b"mine"
    await program.unlink("a")
    await file.close()
    program.fs._context.tree.listings.expire(program.fs._context.inodes.root)
    assert await program.read("a") == b"theirs"


async def test_an_older_answer_changes_nothing(program, host):
    """A listing that was asked for before what we know now is not believed about it."""
    await put(host, "a", b"x")
    number = (await program.stat("a")).ino
    inode, tree = inode_of(program, number), program.fs._context.tree
    old = ListedEntry("a", Properties(kind=EntryKind.FILE, size=99, etag='"1"', file_id=1234))
    assert tree.materialize(inode.parent, old, inode.checked_at - 1) is inode
    assert inode.properties.size == 1
    tree.take(inode, old.properties, inode.checked_at - 1)
    assert inode.properties.size == 1


async def test_a_known_id_that_cannot_have_moved(program, host):
    """An id that shows up where its inode cannot be gets an inode of its own."""
    await program.mkdir("d")
    number = (await program.stat("d")).ino
    inode, tree = inode_of(program, number), program.fs._context.tree
    shown = Properties(kind=EntryKind.DIRECTORY, file_id=inode.file_id, etag='"1"')
    made = tree.materialize(inode, ListedEntry("below itself", shown), trio.current_time())
    assert made is not inode
    assert made.number != inode.number
    tree.inodes.drop_if_unused(made)
    tree.inodes._by_other_id[inode.file_id] = inode


async def test_names_that_the_kernel_never_saw(program):
    """A name that cannot be shown is nobody's spelling, and nobody is told that it went."""
    tree = program.fs._context.tree
    root = program.fs._context.inodes.root
    shown = Properties(kind=EntryKind.FILE, size=1, etag='"1"', file_id=77)
    inode = tree.inodes.add(root, "a\ud800", EntryKind.FILE, shown)
    assert not tree.is_stored(inode, b"a")
    inode.lookups = 1
    tree.lose(inode)
    assert inode.place is Place.GONE
    assert program.kernel.entries == []
    inode.lookups = 0
    tree.inodes.drop_if_unused(inode)
    tree.lose(root)
    assert root.place is Place.LINKED


async def test_an_entry_that_became_known_after_the_snapshot(program, host):
    """A file that moved into a directory while it was being read keeps its number there."""
    await put(host, "a", b"x")
    await host.create_directory(SharePath(("d",)))
    await put(host, "d/b", b"y")
    await put(host, "d/c", b"y")
    handle = await program.fs.opendir((await program.stat("d")).ino)
    program.directories.add(handle)
    entries = await program.fs.readdir(handle, 0)
    number = (await program.stat("a")).ino
    # Nobody has looked "c" up yet; another name has its id meanwhile.
    listed = program.fs._context.handles.directory(handle).snapshot.names[1]
    tree = program.fs._context.tree
    tree.inodes.learn_id(inode_of(program, number), listed.properties)
    inode_of(program, number).checked_at = float("-inf")
    _, entry = entries
    assert entry.entry.attrs.ino == number
    program.fs.remember(number)
    program.lookups[number] += 1
    assert inode_of(program, number).name == "c"


async def test_remembering_what_was_never_offered(program):
    """A number that readdir did not show is nobody's."""
    program.fs.remember(4711)
    assert [inode.number for inode in inodes_of(program)] == [ROOT]


async def test_snapshot_entries_that_lost_their_name(program):
    """A file that was removed after the snapshot is left out."""
    await program.write("a", b"x")
    await program.write("b", b"x")
    await program.stat("a")
    handle = await program.fs.opendir(ROOT)
    program.directories.add(handle)
    await program.fs.readdir(handle, 0)
    async with program.opened("a"):
        await program.unlink("a")
        names = [entry.name for entry in await program.fs.readdir(handle, 0)]
        assert names == [b"b"]
        await program.fs.readdir(handle, 0)
        await program.unlink("b")
        assert [entry.name for entry in await program.fs.readdir(handle, 1)] == []


async def test_sweeping_names(mount, host, clock):
    """Above the limit the kernel is asked to let go of the names not asked about for longest."""
    for number in range(10):
        await put(host, f"f{number}", b"x")
    async with mount(max_cached_names=6) as program:
        for number in range(10):
            clock.jump(0.01)
            await program.stat(f"f{number}")
        busy = await program.open("f0")
        clock.jump(SWEEP_SECONDS + 0.1)
        await trio.testing.wait_all_tasks_blocked(0.01)
        asked = {name for _, name in program.kernel.entries}
        assert len(asked) == 5
        assert b"f0" not in asked
        for name in asked:
            number = inode_of(program, (await program.fs.lookup(ROOT, name)).attrs.ino).number
            await program.fs.forget([(number, 1 + program.lookups.pop(number))])
        assert program.fs.statistics().inodes == 6
        assert Sweeper(program.fs._context).sweep() == 0
        await busy.close()


async def test_sweeping_what_was_never_shown(mount):
    """A name that no kernel can know is dropped at once."""
    async with mount(max_cached_names=1) as program:
        root = program.fs._context.inodes.root
        shown = Properties(kind=EntryKind.FILE, size=1, etag='"1"', file_id=77)
        program.fs._context.inodes.add(root, "a\ud800", EntryKind.FILE, shown)
        assert Sweeper(program.fs._context).sweep() == 1
        assert program.fs.statistics().inodes == 1


async def test_forgetting(program, host):
    """FORGET takes counts away; an inode goes with the last of them, and no earlier."""
    await put(host, "a", b"x")
    number = (await program.stat("a")).ino
    again = (await program.stat("a")).ino
    assert number == again
    await program.fs.forget([(number, 1)])
    assert (await program.fs.getattr(number)).attrs.ino == number
    await program.fs.forget([(number, 1), (4711, 3)])
    program.lookups.clear()
    with expect(errno.ESTALE):
        await program.fs.getattr(number)


async def test_forgetting_an_open_file(program, host):
    """A handle keeps its inode after FORGET, and lets it go at its end."""
    file = await program.open("a", os.O_CREAT | os.O_RDWR)
    await file.write(b"x")
    await program.fs.forget([(file.ino, program.lookups.pop(file.ino))])
    assert await file.read() == b"x"
    await file.close()
    assert await get(host, "a") == b"x"
    assert [inode.number for inode in inodes_of(program)] == [ROOT]


@pytest.mark.expect_log("is not on the service")
async def test_forgetting_a_dirty_file(program, host, app):
    """What could not be sent stays after FORGET, and is found by its name."""
    app.faults.add(operation="CreateFile", status=403, code="AuthorizationFailure")
    file = await program.open("a", os.O_CREAT | os.O_RDWR)
    await file.write(b"x")
    with expect(errno.EACCES):
        await file.close()
    app.faults.clear()
    await program.end()
    assert program.fs.statistics().dirty_files == 1
    assert await program.read("a") == b"x"
    assert await program.fs.drain() == 0
    await program.end()
    assert await get(host, "a") == b"x"
    assert [inode.number for inode in inodes_of(program)] == [ROOT]


@pytest.mark.parametrize(
    "operation",
    ["lookup", "create", "exclusive", "mkdir", "symlink", "unlink", "rmdir", "rename", "readdir"],
)
async def test_no_failing_operation_leaves_an_inode(program, host, app, operation):
    """Whatever fails, and at whichever request, only what the kernel knows stays in the table."""
    await put(host, "file", b"x")
    await put(host, "link", b"x" * 1067)
    await host.create_directory(SharePath(("dir",)))
    await put(host, "dir/f", b"x")
    fs = program.fs
    calls = {
        "lookup": [lambda: fs.lookup(ROOT, b"link")],
        "create": [lambda: fs.create(ROOT, b"dir", os.O_WRONLY)],
        "exclusive": [
            lambda: fs.create(ROOT, b"file", os.O_WRONLY | os.O_EXCL),
            lambda: fs.create(ROOT, b"new", os.O_WRONLY | os.O_EXCL),
        ],
        "mkdir": [lambda: fs.mkdir(ROOT, b"file"), lambda: fs.mkdir(ROOT, b"new")],
        "symlink": [lambda: fs.symlink(ROOT, b"file", b"t"), lambda: fs.symlink(ROOT, b"n", b"t")],
        "unlink": [lambda: fs.unlink(ROOT, b"dir"), lambda: fs.unlink(ROOT, b"file")],
        "rmdir": [lambda: fs.rmdir(ROOT, b"file"), lambda: fs.rmdir(ROOT, b"dir")],
        "rename": [
            lambda: fs.rename(ROOT, b"file", ROOT, b"dir", 0),
            lambda: fs.rename(ROOT, b"dir", ROOT, b"file", 0),
            lambda: fs.rename(ROOT, b"file", ROOT, b"link", 0),
        ],
        "readdir": [lambda: program.entries(take=False)],
    }
    refused = {"status": 403, "code": "AuthorizationFailure"}
    for count, call in itertools.product(range(1, 6), calls[operation]):
        app.faults.clear()
        fs._context.tree.listings.expire(fs._context.inodes.root)
        for number in range(count, 20):
            app.faults.add(nth=number, **refused)
        with suppress(VfsError):
            answer = await call()
            if isinstance(answer, tuple) and isinstance(answer[0], OpenResult):
                await fs.release(answer[0].handle)
        assert all(inode.lookups for inode in inodes_of(program) if inode.number != ROOT)
        for inode in inodes_of(program):
            await fs.forget([(inode.number, inode.lookups)])
        assert [inode.number for inode in inodes_of(program)] == [ROOT]
