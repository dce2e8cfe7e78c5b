"""Symbolic links and mkdir: what is made at once, how links are told from files."""

import errno
import os
import stat

import pytest
import trio

from azfilesfs.model.inode_numbers import inode_number
from azfilesfs.model.paths import SharePath
from azfilesfs.model.symlinks import SYMLINK_FILE_BYTES, decode_symlink, encode_symlink
from azfilesfs.vfs.types import SetAttr, Symlinks
from tests.unit.vfs.harness import ROOT, expect, get, inodes_of, operations, put


@pytest.mark.parametrize("version", ["2026-10-06", "2025-05-05"])
async def test_making_and_reading_a_link(mount, host, version):
    """A link is a file of 1,067 bytes in the form of Linux cifs, and shows its target."""
    async with mount(version=version) as program, mount() as other:
        await program.symlink(b"../target", "link")
        content = await get(host, "link")
        assert len(content) == SYMLINK_FILE_BYTES
        assert decode_symlink(content) == b"../target"
        for reader in (program, other):
            attrs = await reader.stat("link")
            assert stat.S_ISLNK(attrs.mode)
            assert attrs.size == len(b"../target")
            assert await reader.readlink("link") == b"../target"
            (entry,) = await reader.entries()
            assert stat.S_ISLNK(entry.entry.attrs.mode)


async def test_only_files_of_one_size_are_read_to_find_out(mount, host, app):
    """A file that cannot be a link is never read; one that could is read once per version."""
    await put(host, "a", b"x" * (SYMLINK_FILE_BYTES - 1))
    await put(host, "b", b"x" * SYMLINK_FILE_BYTES)
    await put(host, "c", encode_symlink(b"t"))
    async with mount() as program:
        app.requests.reset()
        kinds: dict[bytes, int] = {}
        for _ in range(3):
            kinds = {entry.name: entry.entry.attrs.mode for entry in await program.entries()}
            for name in ("a", "b", "c"):
                await program.stat(name)
        assert stat.S_ISREG(kinds[b"a"])
        assert stat.S_ISREG(kinds[b"b"])
        assert stat.S_ISLNK(kinds[b"c"])
        assert operations(app) == {"ListDirectoriesAndFiles": 1, "GetFile": 2}


async def test_a_file_that_becomes_a_link(mount, host, clock):
    """Another version is read again."""
    await put(host, "a", b"x" * SYMLINK_FILE_BYTES)
    async with mount(attr_ttl=1.0, dir_ttl=1.0) as program:
        assert stat.S_ISREG((await program.stat("a")).mode)
        await put(host, "a", encode_symlink(b"t"))
        clock.jump(2)
        assert stat.S_ISLNK((await program.stat("a")).mode)
        assert await program.readlink("a") == b"t"


async def test_a_link_survives_renaming_and_times(program):
    """A moved link is a link without being read again; one whose times are set is one, too."""
    await program.symlink(b"t", "a")
    await program.rename("a", "b")
    assert await program.readlink("b") == b"t"
    number = (await program.stat("b")).ino
    await program.fs.setattr(number, SetAttr(mtime_ns=10**18), None)
    assert stat.S_ISLNK((await program.stat("b")).mode)


async def test_readlink_of_a_file(program):
    """EINVAL, also for one of the right size."""
    await program.write("a", b"x" * SYMLINK_FILE_BYTES)
    await program.mkdir("d")
    for name in ("a", "d"):
        with expect(errno.EINVAL):
            await program.readlink(name)


async def test_links_switched_off(mount, host):
    """With --symlinks=off links are files, and making one is EPERM."""
    await put(host, "a", encode_symlink(b"t"))
    async with mount(symlinks=Symlinks.OFF) as program:
        attrs = await program.stat("a")
        assert stat.S_ISREG(attrs.mode)
        assert attrs.size == SYMLINK_FILE_BYTES
        with expect(errno.EPERM):
            await program.symlink(b"t", "b")


@pytest.mark.parametrize(
    ("target", "number"),
    [(b"x" * 1025, errno.ENAMETOOLONG), (b"", errno.ENOENT), (b"a\0b", errno.ENOENT)],
)
async def test_targets_that_cannot_be_stored(program, app, target, number):
    """Too long or empty: refused before anything is sent."""
    with expect(number):
        await program.fs.symlink(ROOT, b"a", target)
    assert app.requests.total() == 0


async def test_a_link_in_a_taken_place(program, host):
    """EEXIST, from what we know and from what only the service knows; no inode stays."""
    await program.names()
    await put(host, "a", b"x")
    with expect(errno.EEXIST):
        await program.fs.symlink(ROOT, b"a", b"t")
    with expect(errno.EEXIST):
        await program.fs.symlink(ROOT, b"a", b"t")
    assert await get(host, "a") == b"x"
    tmp = await host.list_page(SharePath((".azfilesfs", "tmp")))
    assert all(entry.properties.size == 0 for entry in tmp.entries)
    assert [inode.number for inode in inodes_of(program)] == [ROOT]


async def test_a_link_that_cannot_be_read(program, host, app):
    """A listing shows it as a file; a lookup of it fails, and leaves no inode."""
    await put(host, "a", encode_symlink(b"t"))
    app.faults.add(operation="GetFile", status=500)
    (entry,) = await program.entries()
    assert stat.S_ISREG(entry.entry.attrs.mode)
    await program.end()
    with expect(errno.EIO):
        await program.lookup(ROOT, b"a")
    assert [inode.number for inode in inodes_of(program)] == [ROOT]
    app.faults.clear()
    assert await program.readlink("a") == b"t"


async def test_a_link_that_goes_away_while_it_is_read(program, host):
    """A file that vanished or was cut is left for the caller's next step."""
    await put(host, "a", encode_symlink(b"t"))
    await put(host, "b", encode_symlink(b"t"))
    assert await program.exists("nothing") is False
    await host.delete_file(SharePath(("a",)))
    await host.set_file_properties(SharePath(("b",)), size=0)
    assert stat.S_ISREG((await program.lookup(ROOT, b"a")).mode)
    assert stat.S_ISREG((await program.lookup(ROOT, b"b")).mode)


async def test_many_links(mount, host, app):
    """A directory full of links is read several at a time, and lists each as a link."""
    for number in range(30):
        await put(host, f"l{number}", encode_symlink(b"t%d" % number))
    async with mount() as program:
        entries = await program.entries()
        assert all(stat.S_ISLNK(entry.entry.attrs.mode) for entry in entries)
        assert app.requests.of("GetFile") == 30


async def test_mkdir(program, host):
    """A new directory is there at once, is empty, and has a place in its parent."""
    number = await program.mkdir("d")
    assert stat.S_ISDIR((await program.stat("d")).mode)
    assert (await program.stat("d")).ino == number
    assert await program.names("d") == []
    found = await host.get_directory_properties(SharePath(("d",)))
    assert inode_number(found.file_id) == number


async def test_mkdir_in_a_taken_place(program, host):
    """EEXIST for files, directories and local files, known or not."""
    await program.write("f", b"x")
    file = await program.open("local", os.O_CREAT | os.O_WRONLY)
    await host.create_directory(SharePath(("foreign",)))
    await put(host, "foreign file", b"x")
    for name in ("f", "local", "foreign", "foreign file", "FOREIGN"):
        with expect(errno.EEXIST):
            await program.fs.mkdir(ROOT, name.encode())
    await file.close()


async def test_a_lost_answer_of_mkdir(program, app):
    """A directory with the creation time that we sent is ours."""
    app.faults.add(operation="CreateDirectory", cut="after", times=1)
    await program.mkdir("d")
    assert await program.names() == [b"d"]


async def test_a_failing_mkdir(program, host, app):
    """The failure is told, and the listing is not believed any more."""
    await program.names()
    app.faults.add(operation="CreateDirectory", status=403, code="AuthorizationFailure")
    with expect(errno.EACCES):
        await program.fs.mkdir(ROOT, b"d")
    app.faults.clear()
    await host.create_directory(SharePath(("d",)))
    assert await program.names() == [b"d"]


async def test_making_on_a_read_only_mount(mount):
    """EROFS before anything is asked."""
    async with mount(read_only=True) as program:
        with expect(errno.EROFS):
            await program.fs.mkdir(ROOT, b"d")
        with expect(errno.EROFS):
            await program.fs.symlink(ROOT, b"l", b"t")


async def test_making_while_a_listing_shows_it(program, host, app):
    """A listing that sees the new directory before our answer arrives makes no second inode."""
    await program.names()
    app.faults.add(operation="CreateDirectory", delay=0.0, times=1)
    tree = program.fs._context.tree
    real = program.share.create_directory

    async def create(path, **options):
        made = await real(path, **options)
        if path.name == "d":
            tree.listings.expire(program.fs._context.inodes.root)
            await program.stat("d")
        return made

    program.share.create_directory = create
    try:
        async with trio.open_nursery():
            number = await program.mkdir("d")
    finally:
        program.share.create_directory = real
    assert (await program.stat("d")).ino == number


async def test_making_what_a_listing_showed_as_something_else(program, host):
    """An older inode of the name makes way for the directory that we made."""
    real = program.share.create_directory

    async def create(path, **options):
        if path.name == "d":
            await put(host, "d", b"x")
            program.fs._context.tree.listings.expire(program.fs._context.inodes.root)
            await program.stat("d")
            await host.delete_file(path)
        return await real(path, **options)

    program.share.create_directory = create
    try:
        number = await program.mkdir("d")
    finally:
        program.share.create_directory = real
    assert stat.S_ISDIR((await program.stat("d")).mode)
    assert (await program.stat("d")).ino == number
