"""Close-to-open between two mounts, inside every TTL, and what the kernel is told."""

import errno
import os

import pytest

from azfilesfs.model.paths import SharePath
from azfilesfs.vfs.types import SetAttr
from tests.unit.vfs.harness import ROOT, drop_blocks, expect, get, put

CHANGES = {
    "grow": b"0123456789" * 1000,
    "shrink": b"01",
    "empty": b"",
    "same size": b"ABCDEFGHIJ" * 10,
}


@pytest.mark.parametrize("change", CHANGES)
async def test_an_open_sees_what_another_mount_closed(mount, change):
    """Whatever the first mount has cached, an open sees the second one's last close."""
    async with mount() as one, mount() as two:
        await one.write("a", b"0123456789" * 10)
        assert await one.read("a") == b"0123456789" * 10
        await two.write("a", CHANGES[change])
        assert await one.read("a") == CHANGES[change]
        assert (await one.stat("a")).size == len(CHANGES[change])


@pytest.mark.parametrize("change", CHANGES)
async def test_an_open_sees_what_another_mount_fsynced(mount, change):
    """fsync publishes like close does."""
    async with mount() as one, mount() as two:
        await one.write("a", b"0123456789" * 10)
        assert await one.read("a") == b"0123456789" * 10
        async with two.opened("a", os.O_WRONLY | os.O_TRUNC) as writer:
            await writer.write(CHANGES[change])
            await writer.fsync()
            assert await one.read("a") == CHANGES[change]


async def test_a_replaced_file(mount):
    """A rename over the name on the other mount is another file here."""
    async with mount() as one, mount() as two:
        await one.write("a", b"old")
        number = (await one.stat("a")).ino
        assert await one.read("a") == b"old"
        await two.write("b", b"replacement")
        await two.rename("b", "a")
        with expect(errno.ESTALE):
            await one.fs.open_file(number, os.O_RDONLY)
        assert await one.read("a") == b"replacement"
        assert (await one.stat("a")).ino != number


async def test_a_deleted_file(mount):
    """A file that the other mount removed cannot be opened here any more."""
    async with mount() as one, mount() as two:
        await one.write("a", b"old")
        assert await one.read("a") == b"old"
        await two.unlink("a")
        with expect(errno.ENOENT):
            await one.open("a")


async def test_a_file_that_is_deleted_and_made_again(mount):
    """Another file of the same name is found at once by an open that meets ESTALE."""
    async with mount() as one, mount() as two:
        await one.write("a", b"old")
        assert await one.read("a") == b"old"
        await two.unlink("a")
        await two.write("a", b"again")
        assert await one.read("a") == b"again"


async def test_pages_stay_while_the_version_is_the_same(program):
    """The second open of an unchanged file keeps the kernel's pages, the first has none to keep."""
    await program.write("a", b"x" * 100)
    async with program.opened("a") as file:
        assert file.keep_cache  # the pages are those that were written
    async with program.opened("a") as file:
        assert file.keep_cache


async def test_pages_of_a_file_never_opened_here_are_not_kept(mount, host):
    """Nothing is known of pages from before the first open."""
    await put(host, "a", b"x")
    async with mount() as program:
        async with program.opened("a") as file:
            assert not file.keep_cache
        async with program.opened("a") as file:
            assert file.keep_cache


async def test_pages_of_another_version_go(mount):
    """An open that finds another version drops pages and attributes before it is answered."""
    async with mount() as one, mount() as two:
        await one.write("a", b"x" * 100)
        number = (await one.stat("a")).ino
        await two.write("a", b"y" * 50)
        one.kernel.clear()
        async with one.opened("a") as file:
            assert not file.keep_cache
            assert number in one.kernel.attributes
            assert await file.read() == b"y" * 50
        async with one.opened("a") as file:
            assert file.keep_cache


async def test_our_own_upload_keeps_the_pages(program, host):
    """After a change through this mount the pages show the new version."""
    await put(host, "a", b"x" * 100)
    async with program.opened("a", os.O_RDWR) as file:
        await file.read()
        await file.write(b"Y", 10)
    async with program.opened("a") as file:
        assert file.keep_cache


async def test_an_open_of_a_dirty_file_trusts_only_pages_of_its_base(mount, clock):
    """Local changes that stand on a newer version than the pages do not make the pages good."""
    async with mount(attr_ttl=1.0, dir_ttl=1.0) as one, mount() as two:
        await one.write("a", b"x" * 100)
        writer = await one.open("a", os.O_RDWR)
        assert await writer.read() == b"x" * 100
        await two.write("a", b"y" * 100)
        clock.jump(2)
        await one.stat("a")  # learns of the new version; the pages still show the old one
        await writer.write(b"Z", 0)
        reader = await one.open("a")
        assert not reader.keep_cache
        again = await one.open("a")
        assert again.keep_cache
        assert await again.read() == b"Z" + b"y" * 99
        await reader.close()
        await again.close()
        await writer.close()


async def test_a_read_that_meets_another_version_drops_the_pages(mount):
    """A handle follows the newest version from one read to the next, and so must the kernel."""
    async with mount() as one, mount() as two:
        await one.write("a", b"x" * 900_000)
        drop_blocks(one, (await one.stat("a")).ino)
        async with one.opened("a") as file:
            assert await file.read(0, 10) == b"x" * 10
            await two.write("a", b"y" * 900_000)
            one.kernel.clear()
            assert await file.read(800_000, 10) == b"y" * 10
            assert file.ino in one.kernel.pages


async def test_setting_times_does_not_bless_what_is_cached(mount, host):
    """utimensat on a file that changed elsewhere must not make the old blocks look current."""
    async with mount() as program:
        await program.write("a", b"old!")
        assert await program.read("a") == b"old!"
        await put(host, "a", b"new!")
        number = (await program.lookup(ROOT, b"a")).ino
        await program.fs.setattr(number, SetAttr(mtime_ns=1_700_000_000_000_000_000), None)
        async with program.opened("a") as file:
            assert not file.keep_cache
            assert await file.read() == b"new!"


async def test_renaming_does_not_bless_what_is_cached(mount, host):
    """rename of a file that changed elsewhere must not make the old blocks look current."""
    async with mount() as program:
        await program.write("a", b"old!")
        assert await program.read("a") == b"old!"
        await put(host, "a", b"new!")
        await program.rename("a", "b")
        async with program.opened("b") as file:
            assert not file.keep_cache
            assert await file.read() == b"new!"


async def test_renaming_a_file_that_grew_elsewhere(mount, host):
    """The size after a rename is the file's, not what was last seen here."""
    async with mount() as program:
        await program.write("a", b"old!")
        await put(host, "a", b"grown content")
        await program.rename("a", "b")
        assert await program.read("b") == b"grown content"
        assert (await program.stat("b")).size == 13
        async with program.opened("b", os.O_RDWR) as file:
            await file.write(b"!", 13)
        assert await get(host, "b") == b"grown content!"


async def test_renaming_keeps_the_cache_of_an_unchanged_file(program, app):
    """A rename gives the same bytes another version; the cache stays good."""
    await program.write("a", b"x" * 1000)
    await program.rename("a", "b")
    app.requests.reset()
    async with program.opened("b") as file:
        assert file.keep_cache
        assert await file.read() == b"x" * 1000
    assert app.requests.of("GetFile") == 0


async def test_unlinking_an_open_file_that_changed_elsewhere(mount, host):
    """The parked content is what the service has, not what was cached."""
    async with mount() as program:
        await program.write("a", b"old!")
        async with program.opened("a") as file:
            assert await file.read() == b"old!"
            await put(host, "a", b"new!")
            await program.unlink("a")
            assert await file.read() in {b"new!", b"old!"}


async def test_truncation_by_path_of_a_file_that_changed_elsewhere(mount, host):
    """truncate(2) within the TTL of a file that another host rewrote cuts the new content."""
    async with mount() as program:
        await program.write("a", b"old content")
        await put(host, "a", b"NEW CONTENT")
        number = (await program.lookup(ROOT, b"a")).ino
        await program.fs.setattr(number, SetAttr(size=3), None)
        assert await get(host, "a") == b"NEW"


async def test_a_foreign_rename_moves_the_inode(mount, host):
    """A file that another host moved keeps its number where it shows up again."""
    async with mount() as program:
        await program.write("a", b"x")
        number = (await program.stat("a")).ino
        await host.create_directory(SharePath(("d",)))
        await host.rename_file(SharePath(("a",)), SharePath(("d", "b")))
        program.fs._context.tree.listings.expire(program.fs._context.inodes.root)
        assert (await program.stat("d/b")).ino == number
        assert not await program.exists("a")


async def test_a_foreign_rename_seen_by_readdir(mount, host):
    """readdirplus shows a file that moved elsewhere under the number that it is known by."""
    async with mount() as program:
        await program.write("a", b"x")
        number = (await program.stat("a")).ino
        await host.create_directory(SharePath(("d",)))
        await host.rename_file(SharePath(("a",)), SharePath(("d", "b")))
        program.fs._context.tree.listings.expire(program.fs._context.inodes.root)
        (entry,) = await program.entries("d")
        assert entry.entry.attrs.ino == number
        assert (await program.fs.getattr(entry.entry.attrs.ino)).attrs.size == 1
        assert await program.read("d/b") == b"x"
