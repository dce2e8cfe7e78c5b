"""``single_writer``: a kernel above that collects writes, and keeps sizes and times itself."""

import errno
import os

import pytest

from azfilesfs.model.times import TICK_NS
from azfilesfs.vfs.types import OnConflict, SetAttr
from tests.unit.vfs.harness import expect, get, inode_of, put

MOMENT = 1_600_000_000_000_000_000
APPEND = os.O_WRONLY | os.O_APPEND


@pytest.fixture
async def program(mount):
    """Return a program on a mount of the kind."""
    async with mount(single_writer=True) as program:
        yield program


async def test_the_kernel_places_what_is_appended(program):
    """A page is written where it is, whatever the descriptor that it comes through."""
    await program.write("a", b"x" * 10)
    async with program.opened("a", APPEND) as file:
        await file.write(b"yyyy", 8)
        assert await file.read() == b"x" * 8 + b"yyyy"


async def test_a_closed_file_that_changed_elsewhere_gets_a_new_inode(program, host):
    """The open that finds it out is ESTALE once; the lookup after it shows another generation."""
    await program.write("a", b"old")
    before = await program.stat("a")
    await put(host, "a", b"longer content")

    with expect(errno.ESTALE):
        await program.fs.open_file(before.ino, os.O_RDONLY)
    after = await program.stat("a")
    assert after.size == 14
    assert (after.ino, after.generation) == (before.ino, before.generation + 1)
    assert await program.read("a") == b"longer content"
    assert (await program.stat("a")).generation == after.generation


async def test_an_open_under_way_is_not_given_the_old_inode(program, host):
    """A lookup that made the kernel take a new inode meanwhile is noticed."""
    await program.write("a", b"old")
    number = (await program.stat("a")).ino
    inode = inode_of(program, number)
    opener, revalidate = program.fs._opener, program.fs._opener._revalidate

    async def slow(*arguments, **options) -> None:
        await put(host, "a", b"longer content")
        await revalidate(*arguments, **options)
        await program.stat("a")
        assert inode.outdated is None

    opener._revalidate = slow
    with expect(errno.ESTALE):
        await program.fs.open_file(number, os.O_RDONLY)
    opener._revalidate = revalidate
    assert await program.read("a") == b"longer content"


async def test_an_open_file_keeps_its_inode(program, host):
    """The kernel would fail what is done through its descriptors; it takes a new one later."""
    await program.write("a", b"old")
    async with program.opened("a"):
        before = await program.stat("a")
        await put(host, "a", b"longer content")
        async with program.opened("a"):
            assert (await program.stat("a")).generation == before.generation
    (entry,) = await program.entries()
    assert entry.entry.attrs.generation == before.generation + 1


async def test_an_ordinary_mount_has_one_generation(mount, host):
    """Its kernel takes the sizes that it is told."""
    async with mount() as program:
        await program.write("a", b"old")
        await put(host, "a", b"longer content")
        assert await program.read("a") == b"longer content"
        assert (await program.stat("a")).generation == 0


@pytest.mark.parametrize("learns", [False, True])
@pytest.mark.expect_log("ESTALE|was changed by another client|kept")
async def test_what_was_collected_before_a_foreign_change(program, host, learns):
    """It is a conflict, whether or not the mount learns of the change before it gets the bytes."""
    await program.write("a", b"old")
    file = await program.open("a", APPEND)
    await put(host, "a", b"from elsewhere")
    if learns:
        assert await program.read("a") == b"from elsewhere"
    await file.write(b" here", 3)
    with expect(errno.ESTALE):
        await file.close()
    assert await get(host, "a") == b"from elsewhere"
    assert await program.read("a") == b"from elsewhere"


@pytest.mark.expect_log("is overwritten")
async def test_overwriting_ends_the_difference(mount, host):
    """With ``--on-conflict=overwrite`` ours is the version; later writes are no conflict."""
    async with mount(single_writer=True, on_conflict=OnConflict.OVERWRITE) as program:
        await program.write("a", b"old")
        async with program.opened("a", os.O_RDWR) as file:
            await put(host, "a", b"from elsewhere")
            assert await program.read("a") == b"from elsewhere"
            await file.write(b"new", 0)
            await file.fsync()
            assert await get(host, "a") == b"new"
            assert inode_of(program, file.ino).outdated is None
            await file.write(b"er", 3)
        assert await get(host, "a") == b"newer"


@pytest.mark.parametrize("order", ["times last", "times first", "times between"])
async def test_times_are_the_kernels(program, host, order):
    """The times that it brings count, whichever way writes and times arrive."""
    file = await program.create(1, b"a", os.O_RDWR)
    await file.write(b"1")
    await file.fsync()
    changes = SetAttr(mtime_ns=MOMENT + 1, ctime_ns=MOMENT + 2 * TICK_NS)
    if order != "times first":
        await file.write(b"2", 1)
    await program.fs.setattr(file.ino, changes, file.handle)
    if order != "times last":
        await file.write(b"3", 2)
    await file.close()

    found = await program.stat("a")
    assert (found.mtime_ns, found.ctime_ns) == (MOMENT, MOMENT + 2 * TICK_NS)
    await program.end()
    found = await program.stat("a")
    assert (found.mtime_ns, found.ctime_ns) == (MOMENT, MOMENT + 2 * TICK_NS)


async def test_times_that_changed_nothing(program, app):
    """After a rename the kernel brings the old modification time: nothing is sent."""
    await program.write("a", b"content")
    found = await program.stat("a")
    changes = SetAttr(mtime_ns=found.mtime_ns + 7, ctime_ns=found.ctime_ns + 1000)
    app.requests.reset()
    await program.fs.setattr(found.ino, changes, None)
    assert not app.requests.counts()["operations"]

    await program.fs.setattr(found.ino, SetAttr(mtime_ns=MOMENT, ctime_ns=MOMENT), None)
    assert (await program.stat("a")).mtime_ns == MOMENT
    assert app.requests.counts()["operations"].keys() >= {"SetFileProperties"}
