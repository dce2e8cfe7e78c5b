"""What common work costs in requests and bytes."""

import os

import pytest
import trio

from azfilesfs.client import Times
from azfilesfs.model.limits import MIB
from azfilesfs.model.paths import SharePath
from azfilesfs.vfs.types import SetAttr
from tests.unit.vfs.harness import ROOT, get, operations, put

EXCLUSIVE = os.O_EXCL | os.O_WRONLY


async def test_a_new_small_file(program, app):
    """4 KiB cost one request beyond the listing of their directory."""
    await program.names()
    app.requests.reset()
    await program.write("a", b"x" * 4096)
    assert operations(app) == {"CreateFile": 1}


async def test_a_new_small_file_with_o_excl(program, app):
    """With temp files made ahead: one rename, one create with data, and the next temp file."""
    await (await program.create(ROOT, b"first", EXCLUSIVE)).close()
    with trio.fail_after(5):
        while len(program.fs._private._spare) < 2:
            await trio.sleep(0.001)
    app.requests.reset()
    file = await program.create(ROOT, b"a", EXCLUSIVE)
    assert operations(app) == {"RenameFile": 1}
    await file.write(b"x" * 4096)
    await file.close()
    with trio.fail_after(5):
        while len(program.fs._private._spare) < 2:
            await trio.sleep(0.001)
    assert app.requests.total() <= 3


async def test_reading_a_listed_small_file(mount, host, app):
    """4 KiB that a listing showed cost one GET, which is the check and the content."""
    await put(host, "a", b"x" * 4096)
    async with mount() as program:
        await program.names()
        app.requests.reset()
        assert await program.read("a") == b"x" * 4096
        assert operations(app) == {"GetFile": 1}
        app.requests.reset()
        assert await program.read("a") == b"x" * 4096
        assert operations(app) == {"GetFileProperties": 1}


async def test_closing_an_unchanged_file(mount, host, app):
    """Open for writing, read, and close without a write: nothing is sent by the close."""
    await put(host, "a", b"x")
    async with mount() as program:
        file = await program.open("a", os.O_RDWR)
        await file.read()
        app.requests.reset()
        await file.fsync()
        await file.close()
        assert app.requests.total() == 0


async def test_one_byte_in_a_large_file(mount, host, app):
    """The check, one range, and the times: under 64 KiB for one byte of 64 MiB."""
    await host.create_file(SharePath(("a",)), 64 * MIB)
    async with mount() as program:
        await program.stat("a")
        app.requests.reset()
        async with program.opened("a", os.O_WRONLY) as file:
            await file.write(b"!", 40 * MIB + 5)
        assert operations(app) == {
            "GetFileProperties": 2,  # one by the open, one before the upload
            "PutRange": 1,
            "SetFileProperties": 1,
        }
        assert app.requests.counts()["bytes"]["in"] == 1
        content = await host.get_file(SharePath(("a",)))
        assert bytes(content.data).rstrip(b"\0") == bytes(40 * MIB + 5) + b"!"


async def test_one_byte_in_a_large_file_at_once(mount, host, app):
    """Where the open has just compared the file, its check is the only one: three in total."""
    await host.create_file(SharePath(("a",)), 64 * MIB)
    async with mount(comparison_window=60.0) as program:
        await program.stat("a")
        app.requests.reset()
        async with program.opened("a", os.O_WRONLY) as file:
            await file.write(b"!", 40 * MIB + 5)
        assert operations(app) == {"GetFileProperties": 1, "PutRange": 1, "SetFileProperties": 1}


@pytest.mark.parametrize("size", [3, 30])
async def test_truncating_by_path(mount, host, app, size):
    """Another size goes with the times: two questions and one request."""
    await put(host, "a", b"x" * 10)
    async with mount() as program:
        number = (await program.stat("a")).ino
        app.requests.reset()
        await program.fs.setattr(number, SetAttr(size=size), None)
        assert operations(app) == {"GetFileProperties": 2, "SetFileProperties": 1}
        assert await get(host, "a") == (b"x" * 10)[:size] + bytes(max(0, size - 10))


async def test_a_thousand_entries(mount, host, app):
    """readdir and a lookup of each entry cost one listing."""
    for number in range(1000):
        await host.create_file(SharePath((f"f{number:04}",)))
    async with mount() as program:
        app.requests.reset()
        entries = await program.entries()
        assert len(entries) == 1000
        for entry in entries:
            attrs = await program.lookup(ROOT, entry.name)
            assert attrs == entry.entry.attrs
            await program.fs.getattr(attrs.ino)
        assert operations(app) == {"ListDirectoriesAndFiles": 1}


async def test_negative_lookups_are_answered_from_the_listing(mount, host, app):
    """A search path of names that are not there asks once."""
    await put(host, "a", b"x")
    async with mount() as program:
        app.requests.reset()
        for number in range(50):
            assert not await program.exists(f"lib{number}.so")
        assert operations(app) == {"ListDirectoriesAndFiles": 1}


async def test_lookups_after_the_ttl(mount, host, app, clock):
    """Each TTL costs one listing, whatever is looked up."""
    await put(host, "a", b"x")
    async with mount(attr_ttl=1.0, dir_ttl=1.0) as program:
        app.requests.reset()
        for _ in range(3):
            for _ in range(5):
                await program.stat("a")
                assert not await program.exists("b")
            clock.jump(2)
        assert operations(app) == {"ListDirectoriesAndFiles": 3}


async def test_making_a_directory(program, app):
    """mkdir is one request beyond the listing."""
    await program.names()
    app.requests.reset()
    await program.mkdir("d")
    assert operations(app) == {"CreateDirectory": 1}


async def test_touching_a_directory(program, host, app):
    """utimensat of a directory is one request."""
    number = await program.mkdir("d")
    app.requests.reset()
    moment = 1_600_000_000_000_000_000
    await program.fs.setattr(number, SetAttr(mtime_ns=moment), None)
    assert operations(app) == {"SetDirectoryProperties": 1}
    found = await host.get_directory_properties(SharePath(("d",)))
    assert found.last_write_time_ns == moment


async def test_a_tree_that_is_written_and_removed(program, host, app):
    """A new directory is known to be empty: nobody is asked what is in it."""
    app.requests.reset()
    await program.mkdir("d")
    for number in range(10):
        await program.write(f"d/f{number}", b"x")
    for number in range(10):
        await program.unlink(f"d/f{number}")
    await program.rmdir("d")
    assert operations(app)["ListDirectoriesAndFiles"] == 1
    assert operations(app)["CreateFile"] == 10
    assert operations(app)["DeleteFile"] == 10
    assert app.requests.total() == 23


async def test_a_mount_that_only_reads_writes_nothing(mount, host, app):
    """Neither our directory nor anything else appears on the share."""
    await put(host, "a", b"x")
    await host.set_file_properties(SharePath(("a",)), times=Times(last_write_ns=10**18))
    app.requests.reset()
    async with mount() as program:
        await program.fs.check()
        await program.names()
        await program.read("a")
        assert await program.fs.drain() == 0
    counts = operations(app)
    assert set(counts) <= {
        "GetDirectoryProperties",
        "ListDirectoriesAndFiles",
        "GetFile",
        "GetFileProperties",
    }
    assert await get(host, "a") == b"x"
