"""stat structures and setattr: owners, modes, sizes and times."""

import errno
import os
import stat
import time
from dataclasses import replace

import pytest

from azfilesfs.model.attributes import FileAttributes
from azfilesfs.model.paths import SharePath
from azfilesfs.model.properties import ContentHeaders
from azfilesfs.vfs.types import SetAttr
from tests.unit.vfs.harness import ROOT, expect, get, inode_of, put

MOMENT = 1_600_000_000_123_456_789
TICKED = 1_600_000_000_123_456_700


async def test_owners_and_modes_are_options(mount, host):
    """The service keeps none; the options and the umask decide."""
    await put(host, "a", b"x")
    async with mount(uid=11, gid=22, file_mode=0o666, dir_mode=0o777, umask=0o027) as program:
        attrs = await program.stat("a")
        assert (attrs.uid, attrs.gid) == (11, 22)
        assert attrs.mode == stat.S_IFREG | 0o640
        number = await program.mkdir("d")
        assert (await program.fs.getattr(number)).attrs.mode == stat.S_IFDIR | 0o750
        assert attrs.nlink == 1
        assert attrs.blksize == 4096
        assert attrs.blocks == 1


async def test_chmod_and_chown_change_nothing(program, app):
    """They succeed without a request."""
    await program.write("a", b"x")
    before = await program.stat("a")
    app.requests.reset()
    entry = await program.fs.setattr(before.ino, SetAttr(mode=0o600, uid=5, gid=6), None)
    assert entry.attrs == before
    assert app.requests.total() == 0


async def test_strict_modes(mount):
    """With --strict-modes only what would change nothing is accepted."""
    async with mount(strict_modes=True, uid=1, gid=2, file_mode=0o644) as program:
        await program.write("a", b"x")
        number = (await program.stat("a")).ino
        await program.fs.setattr(number, SetAttr(mode=0o644, uid=1, gid=2), None)
        for changes in (SetAttr(mode=0o600), SetAttr(uid=2), SetAttr(gid=1)):
            with expect(errno.EPERM):
                await program.fs.setattr(number, changes, None)


async def test_changing_on_a_read_only_mount(mount, host):
    """Sizes and times are EROFS."""
    await put(host, "a", b"x")
    async with mount(read_only=True) as program:
        number = (await program.stat("a")).ino
        for changes in (SetAttr(size=0), SetAttr(mtime_ns=1), SetAttr(atime_ns=1)):
            with expect(errno.EROFS):
                await program.fs.setattr(number, changes, None)


@pytest.mark.parametrize(("size", "content"), [(3, b"con"), (0, b""), (10, b"content\0\0\0")])
async def test_truncate_by_path(program, host, size, content):
    """Without a writer the new size is on the service when the call returns."""
    await put(host, "a", b"content")
    number = (await program.stat("a")).ino
    entry = await program.fs.setattr(number, SetAttr(size=size), None)
    assert entry.attrs.size == size
    assert await get(host, "a") == content
    assert await program.read("a") == content


async def test_truncate_to_the_same_size_changes_the_times(program, host):
    """POSIX wants the times of a truncation that changes nothing."""
    await put(host, "a", b"content")
    before = await program.stat("a")
    started = time.time_ns()
    entry = await program.fs.setattr(before.ino, SetAttr(size=7), None)
    assert entry.attrs.mtime_ns >= started - 100
    found = await host.get_file_properties(SharePath(("a",)))
    assert found.last_write_time_ns == entry.attrs.mtime_ns


async def test_truncate_by_handle(program, host):
    """With a writer open the size is local until the close."""
    await put(host, "a", b"content")
    async with program.opened("a", os.O_RDWR) as file:
        await file.truncate(3)
        assert await get(host, "a") == b"content"
        assert (await file.stat()).size == 3
        await file.truncate(5)
        assert await file.read() == b"con\0\0"
    assert await get(host, "a") == b"con\0\0"


async def test_truncate_of_a_directory(program):
    """EISDIR."""
    number = await program.mkdir("d")
    with expect(errno.EISDIR):
        await program.fs.setattr(number, SetAttr(size=0), None)


async def test_truncate_of_a_file_that_went_away(program, host):
    """ESTALE, and nothing is made in its place."""
    await program.write("a", b"x")
    number = (await program.stat("a")).ino
    await host.delete_file(SharePath(("a",)))
    with expect(errno.ESTALE):
        await program.fs.setattr(number, SetAttr(size=0), None)
    assert await get(host, "a") is None
    with expect(errno.ESTALE):
        await program.fs.setattr(number, SetAttr(mtime_ns=MOMENT), None)


async def test_setting_times(program, host):
    """mtime goes to the service to 100 ns, atime stays here."""
    await program.write("a", b"x")
    number = (await program.stat("a")).ino
    changes = SetAttr(mtime_ns=MOMENT, atime_ns=MOMENT + 1)
    entry = await program.fs.setattr(number, changes, None)
    assert entry.attrs.mtime_ns == TICKED
    assert entry.attrs.atime_ns == MOMENT + 1
    assert (await program.stat("a")).mtime_ns == TICKED
    found = await host.get_file_properties(SharePath(("a",)))
    assert found.last_write_time_ns == TICKED
    assert await program.read("a") == b"x"


async def test_setting_atime_alone_sends_nothing(program, app):
    """Nobody else would see it."""
    await program.write("a", b"x")
    number = (await program.stat("a")).ino
    app.requests.reset()
    entry = await program.fs.setattr(number, SetAttr(atime_ns=MOMENT), None)
    assert entry.attrs.atime_ns == MOMENT
    assert app.requests.total() == 0


async def test_setting_times_keeps_headers_and_attributes(program, host):
    """utimensat changes times only: headers, MD5 and attributes stay."""
    path = SharePath(("a",))
    headers = ContentHeaders(content_type="text/plain", content_md5=b"0123456789abcdef")
    await host.create_file(path, 3, content=headers, attributes=FileAttributes.HIDDEN)
    before = await host.get_file_properties(path)
    number = (await program.stat("a")).ino
    await program.fs.setattr(number, SetAttr(mtime_ns=MOMENT), None)
    found = await host.get_file_properties(path)
    assert found.content == before.content == headers
    assert found.attributes == before.attributes
    assert found.last_write_time_ns == TICKED


async def test_setting_times_of_what_was_replaced(program, host):
    """The answer shows another file: ESTALE, and the name is looked up anew."""
    await program.write("a", b"x")
    number = (await program.stat("a")).ino
    await put(host, "b", b"y")
    await host.rename_file(SharePath(("b",)), SharePath(("a",)), replace=True)
    with expect(errno.ESTALE):
        await program.fs.setattr(number, SetAttr(mtime_ns=MOMENT), None)
    assert (await program.stat("a")).ino != number
    with expect(errno.ESTALE):
        await program.fs.setattr(number, SetAttr(mtime_ns=MOMENT), None)


async def test_setting_times_of_an_unlinked_file(program):
    """A file that is still open can be touched."""
    await program.write("a", b"x")
    file = await program.open("a")
    await program.unlink("a")
    entry = await program.fs.setattr(file.ino, SetAttr(mtime_ns=MOMENT), None)
    assert entry.attrs.mtime_ns == TICKED
    local = await program.open("b", os.O_CREAT | os.O_RDWR)
    await program.unlink("b")
    entry = await program.fs.setattr(local.ino, SetAttr(mtime_ns=MOMENT), None)
    assert entry.attrs.mtime_ns == TICKED


async def test_directory_times_move_with_its_entries(program, host):
    """The service does not record it, this mount shows it: entries that come, go and move."""
    number = await program.mkdir("d")
    other = await program.mkdir("e")
    moments = [(await program.fs.getattr(number)).attrs.mtime_ns]

    async def note() -> None:
        moments.append((await program.fs.getattr(number)).attrs.mtime_ns)

    await program.write("d/a", b"x")
    await note()
    await program.mkdir("d/sub")
    await note()
    await program.symlink(b"t", "d/link")
    await note()
    await program.unlink("d/a")
    await note()
    await program.rename("d/sub", "e/sub")
    await note()
    assert moments == sorted(set(moments))
    assert (await program.fs.getattr(other)).attrs.mtime_ns >= moments[-2]


async def test_dirty_attributes_come_first(program, host):
    """Size and times are those of the local changes until they are sent, and the same after it."""
    await put(host, "a", b"x")
    started = time.time_ns()
    file = await program.open("a", os.O_RDWR)
    await file.write(b"longer")
    attrs = await file.stat()
    assert attrs.size == 6
    assert attrs.mtime_ns == attrs.ctime_ns
    assert attrs.mtime_ns >= started - 100
    await file.close()
    assert await program.stat("a") == attrs


async def test_a_bad_handle(program):
    """setattr with a handle that nobody gave out is EBADF."""
    await program.write("a", b"x")
    number = (await program.stat("a")).ino
    with expect(errno.EBADF):
        await program.fs.setattr(number, SetAttr(size=0), 4711)


async def test_times_that_the_service_does_not_tell(program, host):
    """Missing times fall back on those that are there, at last on the start of the mount."""
    await put(host, "a", b"x")
    number = (await program.stat("a")).ino
    inode = inode_of(program, number)
    known = inode.properties
    inode.properties = replace(known, last_write_time_ns=None, change_time_ns=None)
    inode.properties = replace(inode.properties, last_modified_ns=5)
    assert (await program.fs.getattr(number)).attrs.mtime_ns == 5
    inode.properties = replace(inode.properties, last_modified_ns=None)
    assert abs((await program.fs.getattr(number)).attrs.mtime_ns - time.time_ns()) < 10**12
    assert (await program.fs.getattr(ROOT)).attrs.mtime_ns > 0
