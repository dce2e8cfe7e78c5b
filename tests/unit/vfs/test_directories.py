"""Reading directories, and lookups: listings, their TTL, odd names, spellings, many pages."""

import errno
import os
import stat

import pytest
import trio

from azfilesfs.client import ListPage
from azfilesfs.errors import ServerBusy
from azfilesfs.model.paths import SharePath
from azfilesfs.model.properties import EntryKind, ListedEntry, Properties
from azfilesfs.vfs.errors import VfsError
from tests.unit.vfs.harness import ROOT, expect, get, inode_of, inodes_of, listed, operations, put


async def test_entries_carry_attributes(mount, host):
    """readdir shows kinds, sizes, times and stable numbers."""
    await put(host, "file", b"12345")
    await host.create_directory(SharePath(("dir",)))
    async with mount() as program:
        found = {entry.name: entry.entry.attrs for entry in await program.entries()}
        assert set(found) == {b"file", b"dir"}
        assert stat.S_ISREG(found[b"file"].mode)
        assert found[b"file"].size == 5
        assert stat.S_ISDIR(found[b"dir"].mode)
        for name, attrs in found.items():
            assert (await program.stat(name.decode())).ino == attrs.ino
        again = {entry.name: entry.entry.attrs for entry in await program.entries()}
        assert again == found


async def test_entries_that_the_kernel_does_not_take(mount, host):
    """Names that are only read, not taken, make no inodes."""
    for number in range(10):
        await put(host, f"f{number}", b"x")
    async with mount() as program:
        assert len(await program.entries(take=False)) == 10
        assert [inode.number for inode in inodes_of(program)] == [ROOT]


async def test_reading_in_pieces(mount, host):
    """Offsets are positions in the snapshot of the handle, whatever happens meanwhile."""
    for number in range(10):
        await put(host, f"f{number}", b"x")
    async with mount() as program:
        handle = await program.fs.opendir(ROOT)
        program.directories.add(handle)
        names: list[bytes] = []
        offset = 0
        while True:
            entries = await program.fs.readdir(handle, offset)
            entry = next(entries, None)
            if entry is None:
                break
            names.append(entry.name)
            offset = entry.offset
            if len(names) == 3:
                await program.write("new", b"x")
                await program.unlink("f9")
        assert len(names) == len(set(names))
        assert {b"f%d" % number for number in range(9)} <= set(names)
        first = [entry.name for entry in await program.fs.readdir(handle, 0)]
        assert b"new" in first
        assert b"f9" not in first


async def test_our_own_directory_is_not_shown(program, host):
    """/.azfilesfs is there on the service and nowhere on the mount."""
    await (await program.create(ROOT, b"a", os.O_EXCL | os.O_WRONLY)).close()
    await host.get_directory_properties(SharePath((".azfilesfs",)))
    assert await program.names() == [b"a"]
    assert not await program.exists(".azfilesfs")
    assert not await program.exists(".AzFilesFs")
    await program.mkdir("d")
    await program.mkdir("d/.azfilesfs")
    assert await program.names("d") == [b".azfilesfs"]


async def test_a_mount_of_a_directory(mount, host):
    """With SHARE/DIR the directory is the root; names above it do not exist."""
    await host.create_directory(SharePath(("top",)))
    await host.create_directory(SharePath(("top", "sub")))
    await put(host, "top/a", b"x")
    async with mount(root=SharePath(("top",))) as program:
        await program.fs.check()
        assert await program.names() == [b"a", b"sub"]
        await program.write("sub/b", b"y")
        await program.mkdir(".azfilesfs")
        assert await get(host, "top/sub/b") == b"y"
        assert (await program.fs.getattr(ROOT)).attrs.ino == ROOT


async def test_the_check_of_a_missing_root(mount):
    """A root that is not there is found by the start check."""
    async with mount(root=SharePath(("nothing",))) as program:
        with expect(errno.ENOENT):
            await program.fs.check()


async def test_lookup_knows_the_stored_spelling(mount, host):
    """Another spelling finds the same inode, and the kernel may not keep it."""
    await put(host, "ReadMe", b"x")
    async with mount() as program:
        stored = await program.fs.lookup(ROOT, b"ReadMe")
        other = await program.fs.lookup(ROOT, b"README")
        await program.fs.forget([(stored.attrs.ino, 2)])
        assert stored.attrs == other.attrs
        assert stored.entry_timeout > 0
        assert other.entry_timeout == 0


@pytest.mark.expect_log("5 names in the listing of ''")
async def test_entries_that_cannot_be_shown(program, monkeypatch):
    """What a listing must not contain is left out with one warning."""
    names = ["good", "..", "a/b", "nul\0", "\ud800", ""]
    entries = tuple(
        ListedEntry(name, Properties(kind=EntryKind.FILE, size=1, etag='"1"', file_id=number + 50))
        for number, name in enumerate(names)
    )

    async def list_page(path, *, marker=None):
        return ListPage(entries, None, None, 0)

    monkeypatch.setattr(program.share, "list_page", list_page)
    assert await program.names() == [b"good"]


def in_pages(program, monkeypatch, size: int = 10) -> None:
    """Let the service's pages be small."""
    real = program.share.list_page

    async def small_pages(path, *, marker=None):
        return await real(path, marker=marker, page_size=size)

    monkeypatch.setattr(program.share, "list_page", small_pages)


async def test_a_lookup_in_a_large_directory(mount, host, app, monkeypatch):
    """The first lookup asks for one page and then for the name, both kinds at once; the second one
    has the whole directory listed in the background.
    """
    for number in range(25):
        await put(host, f"f{number:02}", b"x")
    await host.create_directory(SharePath(("dir",)))
    async with mount(attr_ttl=1.0, dir_ttl=1.0) as program:
        in_pages(program, monkeypatch)
        app.requests.reset()
        assert (await program.stat("f20")).size == 1
        assert operations(app) == {
            "ListDirectoriesAndFiles": 1,
            "GetFileProperties": 1,
            "GetDirectoryProperties": 1,
        }
        app.requests.reset()
        assert not await program.exists("nothing")
        await listed(program)
        assert operations(app) == {
            "ListDirectoriesAndFiles": 3,
            "GetFileProperties": 1,
            "GetDirectoryProperties": 1,
        }
        app.requests.reset()
        assert stat.S_ISDIR((await program.stat("dir")).mode)
        assert not await program.exists("nothing")
        for number in range(25):
            assert (await program.stat(f"f{number:02}")).size == 1
        assert len(await program.names()) == 26
        assert app.requests.total() == 0


async def test_few_lookups_in_a_large_directory(mount, host, app, monkeypatch, clock):
    """A directory of many pages is listed again only when as many names were wanted as it has
    pages; a name of a known kind is one question.
    """
    for number in range(45):
        await put(host, f"f{number:02}", b"x")
    async with mount(attr_ttl=1.0, dir_ttl=1.0) as program:
        in_pages(program, monkeypatch)
        assert len(await program.names()) == 45
        for _ in range(3):
            clock.jump(2)
            app.requests.reset()
            assert await program.exists("f01")
            assert await program.exists("f02")
            assert operations(app) == {"GetFileProperties": 2}
        for number in range(10, 13):
            assert await program.exists(f"f{number}")
        await listed(program)
        assert operations(app) == {"GetFileProperties": 5, "ListDirectoriesAndFiles": 5}


async def test_a_single_lookup_in_a_directory_of_some_size(mount, host, app, clock):
    """One known name of hundreds is asked for alone, once a TTL; for the second the listing is."""
    for number in range(300):
        await host.create_file(SharePath((f"f{number:03}",)))
    async with mount(attr_ttl=1.0, dir_ttl=1.0) as program:
        await program.entries()
        for _ in range(3):
            clock.jump(2)
            app.requests.reset()
            await program.stat("f007")
            assert operations(app) == {"GetFileProperties": 1}
            await program.stat("f008")
            await program.stat("f009")
            assert not await program.exists("nothing")
            assert operations(app) == {"GetFileProperties": 1, "ListDirectoriesAndFiles": 1}


@pytest.mark.semantics("S1.9")
async def test_the_first_entries_come_before_the_last_page(mount, host, monkeypatch):
    """A reader of a large directory sees each page as it arrives, and lookups find its names."""
    for number in range(25):
        await put(host, f"f{number:02}", b"x")
    async with mount() as program:
        in_pages(program, monkeypatch)
        real, may_go_on = program.share.list_page, trio.Event()

        async def slow_last_page(path, *, marker=None):
            if marker is not None:
                await may_go_on.wait()
            return await real(path, marker=marker)

        monkeypatch.setattr(program.share, "list_page", slow_last_page)
        handle = await program.fs.opendir(ROOT)
        program.directories.add(handle)
        first = await program._part(handle, 0, take=True)
        assert [entry.name for entry in first] == [b"f%02d" % number for number in range(10)]
        assert await program.exists("f07")
        await program.write("a new one", b"x")
        await program.write("f08", b"longer")
        await program.unlink("f09")
        may_go_on.set()
        rest: list = []
        while part := await program._part(handle, (rest or first)[-1].offset, take=True):
            rest += part
        names = [entry.name for entry in rest]
        assert sorted(names) == [b"a new one", *(b"f%02d" % number for number in range(10, 25))]
        assert await program.names() == sorted({entry.name for entry in (*first, *rest)} - {b"f09"})


@pytest.mark.semantics("S1.9")
async def test_a_listing_that_fails_halfway(mount, host, monkeypatch):
    """What had arrived is shown, then the error; never the end of the directory."""
    for number in range(25):
        await put(host, f"f{number:02}", b"x")
    async with mount() as program:
        in_pages(program, monkeypatch)
        real = program.share.list_page

        async def broken(path, *, marker=None):
            if marker is not None:
                raise ServerBusy("later")
            return await real(path, marker=marker)

        monkeypatch.setattr(program.share, "list_page", broken)
        handle = await program.fs.opendir(ROOT)
        program.directories.add(handle)
        assert len(await program._part(handle, 0, take=False)) == 10
        for _ in range(2):
            with pytest.raises(VfsError):
                await program.fs.readdir(handle, 10)
        monkeypatch.setattr(program.share, "list_page", real)
        assert len(await program.names()) == 25


@pytest.mark.semantics("S1.8")
async def test_reading_on_outlives_the_ttl(mount, host, app, monkeypatch, clock):
    """A directory of several pages is believed from when the last one arrived, and while a program
    reads on in it; then for one TTL more.
    """
    for number in range(25):
        await put(host, f"f{number:02}", b"x")
    async with mount(attr_ttl=1.0, dir_ttl=1.0) as program:
        in_pages(program, monkeypatch)
        real = program.share.list_page

        async def slowly(path, *, marker=None):
            clock.jump(0.8)
            return await real(path, marker=marker)

        monkeypatch.setattr(program.share, "list_page", slowly)
        app.requests.reset()
        entries = await program.entries()
        assert entries[-1].entry.attr_timeout > 0.5
        for entry in entries:
            assert (await program.lookup(ROOT, entry.name)).ino == entry.entry.attrs.ino
            clock.jump(0.03)
        assert operations(app) == {"ListDirectoriesAndFiles": 3}
        handle = await program.fs.opendir(ROOT)
        program.directories.add(handle)
        for position in range(25):
            first = next(await program.fs.readdir(handle, position))
            assert first.entry.attr_timeout > 0.8
            clock.jump(0.1)
            await program.fs.getattr(first.entry.attrs.ino)
        assert operations(app) == {"ListDirectoriesAndFiles": 3}
        clock.jump(1.1)
        assert await program.exists("f03")
        assert app.requests.total() == 4


async def test_our_changes_during_a_listing(program, host, app):
    """What this mount does while a listing is under way is not undone by it."""
    await put(host, "old", b"x")
    await put(host, "gone", b"x")
    await put(host, "moved", b"x")
    assert await program.exists("gone")
    assert await program.exists("moved")
    tree = program.fs._context.tree
    tree.listings.expire(program.fs._context.inodes.root)
    app.faults.add(operation="ListDirectoriesAndFiles", delay=0.05, times=1)
    names: list[bytes] = []

    async def read() -> None:
        names.extend(await program.names())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked(0.005)
        await program.unlink("gone")
        await host.create_file(SharePath(("gone",)))
        await program.rename("moved", "here")  # waits for the listing
    assert sorted(names) == [b"moved", b"old"]
    assert await program.names() == [b"here", b"old"]


async def test_one_listing_at_a_time(program, app):
    """Many lookups that need the same listing share it, and survive the end of the first."""
    app.faults.add(operation="ListDirectoriesAndFiles", delay=0.03, times=1)
    found: list[bool] = []

    async def look() -> None:
        found.append(await program.exists("a"))

    first = trio.CancelScope()

    async def cancelled() -> None:
        with first:
            await program.exists("b")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancelled)
        await trio.testing.wait_all_tasks_blocked(0.002)
        for _ in range(5):
            nursery.start_soon(look)
        await trio.testing.wait_all_tasks_blocked(0.002)
        first.cancel()
    assert found == [False] * 5
    assert app.requests.of("ListDirectoriesAndFiles", 200) == 1


async def test_a_directory_that_another_client_removed(program, host):
    """Its listing is ENOENT or ESTALE, and its name is gone."""
    number = await program.mkdir("d")
    await host.delete_directory(SharePath(("d",)))
    # A directory that was made here is known to be empty within the TTL.
    program.fs._context.tree.listings.expire(inode_of(program, number))
    handle = await program.fs.opendir(number)
    program.directories.add(handle)
    with pytest.raises(VfsError) as caught:
        await program.fs.readdir(handle, 0)
    assert caught.value.errno in {errno.ENOENT, errno.ESTALE}
    assert not await program.exists("d")


async def test_a_directory_in_the_place_of_a_file(program, host):
    """Another kind of thing under a known name is another inode."""
    await program.write("a", b"x")
    number = (await program.stat("a")).ino
    await host.delete_file(SharePath(("a",)))
    await host.create_directory(SharePath(("a",)))
    program.fs._context.tree.listings.expire(program.fs._context.inodes.root)
    inode_of(program, number).checked_at = float("-inf")
    attrs = await program.stat("a")
    assert stat.S_ISDIR(attrs.mode)
    assert attrs.ino != number
    with expect(errno.ESTALE):
        await program.fs.getattr(number)


async def test_opendir_of_a_file(program):
    """A file has no entries."""
    await program.write("a", b"x")
    number = (await program.stat("a")).ino
    with expect(errno.ENOTDIR):
        await program.fs.opendir(number)
    with expect(errno.ENOTDIR):
        await program.fs.lookup(number, b"x")
    with expect(errno.ESTALE):
        await program.fs.opendir(4711)


async def test_fsyncdir(program):
    """Names are on the service when the call that changed them returns."""
    handle = await program.fs.opendir(ROOT)
    await program.fs.fsyncdir(handle)
    await program.fs.releasedir(handle)


@pytest.mark.expect_log("looked up one by one")
async def test_a_credential_that_may_not_list(mount, host, app):
    """Without the list permission names are looked up one by one, after one warning."""
    await put(host, "a", b"x")
    await host.create_directory(SharePath(("d",)))
    refused = {"status": 403, "code": "AuthorizationPermissionMismatch"}
    app.faults.add(operation="ListDirectoriesAndFiles", **refused)
    async with mount() as program:
        assert await program.read("a") == b"x"
        assert stat.S_ISDIR((await program.stat("d")).mode)
        assert not await program.exists("nothing")
        with expect(errno.EACCES):
            await program.names()
        app.faults.add(operation="GetDirectoryProperties", **refused)
        assert not await program.exists("nothing either")
        app.faults.add(operation="GetFileProperties", **refused)
        with expect(errno.EACCES):
            await program.lookup(ROOT, b"third")


async def test_getattr_after_the_ttl(mount, host, app, clock):
    """Attributes are believed for the TTL, then asked for."""
    await put(host, "a", b"x")
    async with mount(attr_ttl=1.0, dir_ttl=600.0) as program:
        number = (await program.stat("a")).ino
        await put(host, "a", b"longer")
        assert (await program.fs.getattr(number)).attrs.size == 1
        clock.jump(2)
        entry = await program.fs.getattr(number)
        assert entry.attrs.size == 6
        assert entry.attr_timeout == pytest.approx(1.0)
        await host.delete_file(SharePath(("a",)))
        clock.jump(2)
        with expect(errno.ESTALE):
            await program.fs.getattr(number)


async def test_getattr_of_a_directory_and_the_root(mount, host, clock):
    """Directories are asked as directories; a lost one is ESTALE, the root stays."""
    await host.create_directory(SharePath(("d",)))
    async with mount(attr_ttl=1.0, dir_ttl=1.0) as program:
        number = (await program.stat("d")).ino
        assert stat.S_ISDIR((await program.fs.getattr(ROOT)).attrs.mode)
        await host.delete_directory(SharePath(("d",)))
        clock.jump(2)
        with expect(errno.ESTALE):
            await program.fs.getattr(number)
        assert stat.S_ISDIR((await program.fs.getattr(ROOT)).attrs.mode)


@pytest.mark.semantics("S1.2")
async def test_the_root_is_asked_less_often(mount, host, app, clock):
    """The times of the root may be 30 seconds old; what this mount changes shows at once."""
    async with mount(attr_ttl=1.0, dir_ttl=1.0) as program:
        await program.fs.check()
        app.requests.reset()
        before = (await program.fs.getattr(ROOT)).attrs.mtime_ns
        clock.jump(25)
        entry = await program.fs.getattr(ROOT)
        assert entry.attr_timeout == pytest.approx(5.0)
        assert app.requests.total() == 0
        await program.mkdir("d")
        assert (await program.fs.getattr(ROOT)).attrs.mtime_ns > before
        app.requests.reset()
        clock.jump(10)
        await program.fs.getattr(ROOT)
        assert operations(app) == {"GetDirectoryProperties": 1}


async def test_an_error_of_the_service(program, app):
    """A failure of a lookup is the failure's errno, and the next lookup asks again."""
    app.faults.add(operation="ListDirectoriesAndFiles", status=500)
    with expect(errno.EIO):
        await program.lookup(ROOT, b"a")
    with expect(errno.EIO):
        await program.names()
    app.faults.clear()
    assert not await program.exists("a")


async def test_an_answer_that_is_older_than_our_change(program, host, app):
    """A HEAD that was under way while we wrote is not believed."""
    await put(host, "a", b"x")
    number = (await program.stat("a")).ino
    inode = inode_of(program, number)
    inode.checked_at = float("-inf")
    app.faults.add(operation="GetFileProperties", path="*/a", delay=0.05, times=1)

    async def getattr_() -> None:
        with expect(errno.ESTALE):
            await program.fs.getattr(number)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(getattr_)
        await trio.testing.wait_all_tasks_blocked(0.005)
        await program.fs.unlink(ROOT, b"a")
        await program.write("a", b"new content")
    assert (await program.stat("a")).size == 11
    assert await program.read("a") == b"new content"


async def test_many_names_are_bounded(mount, host):
    """Listings beyond the limit are dropped, the least recently used first."""
    for directory in range(5):
        await host.create_directory(SharePath((f"d{directory}",)))
        for number in range(10):
            await host.create_file(SharePath((f"d{directory}", f"f{number}")))
    async with mount(max_cached_names=25) as program:
        for directory in range(5):
            await program.entries(f"d{directory}", take=False)
        assert program.fs.statistics().cached_names <= 25
        assert program.fs.statistics().inodes >= 6


async def test_names_are_checked_before_anything_is_asked(program, app):
    """A name that cannot exist is refused without a request."""
    for name, number in [
        (b"\xff\xfe", errno.EILSEQ),
        (b"x" * 300, errno.ENAMETOOLONG),
        (b"NUL", errno.EINVAL),
        (b"..", errno.EINVAL),
    ]:
        with expect(number):
            await program.fs.lookup(ROOT, name)
    assert app.requests.total() == 0
