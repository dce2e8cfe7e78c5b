"""Directories are listed before a walk comes to them, and no others."""

import pytest
import trio

from azfilesfs.model.paths import SharePath
from azfilesfs.vfs import prefetch
from tests.unit.vfs.harness import ROOT, listed, operations, put


@pytest.fixture
async def tree(host):
    """Make ten directories with two files each, and some files beside them."""
    for number in range(10):
        await host.create_directory(SharePath((f"d{number}",)))
        await put(host, f"d{number}/a", b"x")
        await put(host, f"d{number}/b", b"x")
        await put(host, f"f{number}", b"x")


async def test_a_walk_is_overtaken(mount, tree, app, clock):
    """From the second directory on the next ones are listed ahead, each once in all."""
    async with mount() as program:
        app.requests.reset()
        names = [entry.name.decode() for entry in await program.entries() if entry.name[:1] == b"d"]
        await program.names(names[0])
        await listed(program)
        assert operations(app) == {"ListDirectoriesAndFiles": 2}
        await program.names(names[1])
        await listed(program)
        assert operations(app) == {"ListDirectoriesAndFiles": 5}
        await program.names(names[2])
        await listed(program)
        assert operations(app) == {"ListDirectoriesAndFiles": 8}
        for name in names:
            assert await program.names(name) == [b"a", b"b"]
        await listed(program)
        assert operations(app) == {"ListDirectoriesAndFiles": 11}


async def test_lookups_are_a_walk_too(mount, tree, app):
    """What asks for known paths, as git status does, finds the listings there."""
    async with mount() as program:
        app.requests.reset()
        for number in range(10):
            assert (await program.stat(f"d{number}/a")).size == 1
            assert (await program.stat(f"d{number}/b")).size == 1
            assert not await program.exists(f"d{number}/.gitignore")
            await listed(program)
        assert operations(app) == {"ListDirectoriesAndFiles": 11}


async def test_a_single_directory_is_no_walk(mount, tree, app, clock):
    """Coming back to one directory lists nothing else, and neither does a second one much later."""
    async with mount(attr_ttl=1.0, dir_ttl=1.0) as program:
        app.requests.reset()
        for _ in range(3):
            await program.names("d3")
            await listed(program)
            clock.jump(2)
        assert operations(app) == {"ListDirectoriesAndFiles": 6}
        clock.jump(60)
        await program.names("d4")
        await listed(program)
        assert operations(app) == {"ListDirectoriesAndFiles": 8}


async def test_a_slow_walk_is_not_overtaken_by_far(mount, tree, app, clock):
    """Where the TTL is over before the walk comes to what was listed ahead, less is."""
    async with mount(attr_ttl=1.0, dir_ttl=1.0) as program:
        app.requests.reset()
        for number in range(10):
            await program.names(f"d{number}")
            await listed(program)
            clock.jump(0.6)
        # The root each time its TTL is over, each directory, and few in vain: how many depends on
        # the order in which tasks run, and is more than 9 where the window does not shrink.
        assert operations(app)["ListDirectoriesAndFiles"] <= 5 + 10 + 9


async def test_a_walk_that_takes_its_time_lists_nothing_in_vain(mount, tree, app, clock):
    """Who removes what is in each directory comes to few of them within the TTL: so many ahead."""
    async with mount(attr_ttl=1.0, dir_ttl=1.0) as program:
        app.requests.reset()
        for number in range(10):
            await program.names(f"d{number}")
            await listed(program)
            clock.jump(0.2)
        # Each directory once, and the root again when its TTL is over.
        assert operations(app) == {"ListDirectoriesAndFiles": 10 + 2}


async def test_a_walk_that_hurries_again_gets_further_ahead(mount, tree, app, clock):
    """One slow directory holds the others back for a step and not for good."""
    async with mount(attr_ttl=10.0, dir_ttl=10.0) as program:
        app.requests.reset()
        for number in range(6):
            await program.names(f"d{number}")
            await listed(program)
            clock.jump(4.0 if number == 0 else 0.1)
        assert operations(app) == {"ListDirectoriesAndFiles": 11}


async def test_a_second_walk_is_as_quick_as_the_first(mount, tree, app, clock):
    """The time between two of them is none that the walk takes for a directory."""
    async with mount(attr_ttl=1.0, dir_ttl=1.0) as program:
        for _ in range(2):
            app.requests.reset()
            for number in range(4):
                await program.names(f"d{number}")
                await listed(program)
            # The root, the first two, and from the second on 2, 4 and more ahead.
            assert operations(app) == {"ListDirectoriesAndFiles": 11}
            clock.jump(3)


async def test_jumping_about_is_no_walk(mount, tree, app):
    """Going backwards lists no more than what was asked for."""
    async with mount() as program:
        await program.names("d9")
        await program.names("d8")
        await listed(program)
        app.requests.reset()
        for number in (5, 2, 0):
            await program.names(f"d{number}")
            await listed(program)
        assert operations(app) == {"ListDirectoriesAndFiles": 3}


@pytest.mark.semantics("S1.10")
async def test_a_directory_that_cannot_be_listed_ahead(mount, tree, host, app):
    """A failure of what nobody has asked for is nobody's; whoever asks then is told."""
    async with mount() as program:
        await program.names()
        await host.delete_file(SharePath(("d2", "a")))
        await host.delete_file(SharePath(("d2", "b")))
        await host.delete_directory(SharePath(("d2",)))
        app.faults.add(operation="ListDirectoriesAndFiles", path="*/d3", status=500)
        await program.names("d0")
        await program.names("d1")
        await listed(program)
        assert not await program.exists("d2")
        app.faults.clear()
        assert await program.names("d3") == [b"a", b"b"]


async def test_what_was_listed_ahead_is_let_go(mount, tree, autojump_clock):
    """Directories that the walk did not come to are forgotten after a few seconds."""
    async with mount() as program:
        attrs = [await program.lookup(ROOT, b"d%d" % number) for number in range(2)]
        for shown in attrs:
            handle = await program.fs.opendir(shown.ino)
            await program._part(handle, 0, take=False)
            await program.fs.releasedir(handle)
        await listed(program)
        assert program.fs.statistics().inodes == 5
        await trio.sleep(prefetch._HOLD_SECONDS + 1)
        assert program.fs.statistics().inodes == 3
        assert program.fs._namespace.prefetcher.holding == 0
