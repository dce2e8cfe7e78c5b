"""Lock files that two mounts make at the same moment, in simulated time."""

import errno
import fcntl
import os

import pytest
import trio

from azfilesfs.model.paths import SharePath
from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.locks.modes import Mode
from tests.unit.locking.harness import Host, host
from tests.unit.vfs.harness import expect, get, other_client, put

NB = fcntl.LOCK_NB
NEW = os.O_RDWR | os.O_CREAT


async def both_open(*sides: Host, flags: int = NEW) -> list:
    """Open a new lock file on each side before any has sent it."""
    return [await side.open("lock", flags) for side in sides]


@pytest.mark.semantics("S6.14")
@pytest.mark.parametrize("flags", [NEW, NEW | os.O_TRUNC, os.O_RDONLY | os.O_CREAT])
async def test_one_file_is_made(app, tmp_path, autojump_clock, flags):
    """Whoever locks first makes the file, the other takes it: they exclude each other."""
    async with host(app, tmp_path / "a") as a, host(app, tmp_path / "b") as b:
        here, there = await both_open(a, b, flags=flags)
        await a.flock(here, fcntl.LOCK_EX)
        with expect(errno.EAGAIN):
            await b.flock(there, fcntl.LOCK_EX | NB)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(b.flock, there, fcntl.LOCK_EX)
            await trio.sleep(5)
            await a.flock(here, fcntl.LOCK_UN)
        with expect(errno.EAGAIN):
            await a.flock(here, fcntl.LOCK_SH | NB)


@pytest.mark.semantics("S6.14")
async def test_of_many_at_once_all_come_through(app, tmp_path, autojump_clock):
    """Three hosts want the lock in the same instant; each gets it in its turn."""
    taken = []

    async def work(side: Host, file) -> None:
        await side.flock(file, fcntl.LOCK_EX)
        taken.append(f"{side.owner} in")
        await trio.sleep(1)
        taken.append(f"{side.owner} out")
        await side.flock(file, fcntl.LOCK_UN)

    async with (
        host(app, tmp_path / "a") as a,
        host(app, tmp_path / "b") as b,
        host(app, tmp_path / "c") as c,
    ):
        b.owner, c.owner = 200, 300
        files = await both_open(a, b, c)
        async with trio.open_nursery() as nursery:
            for side, file in zip((a, b, c), files, strict=True):
                nursery.start_soon(work, side, file)

    assert sorted(taken[::2]) == ["100 in", "200 in", "300 in"]
    assert [one.replace("in", "out") for one in taken[::2]] == taken[1::2]


@pytest.mark.semantics("S6.14")
async def test_what_the_first_wrote_is_seen_and_added_to(app, tmp_path, autojump_clock):
    """The second reads under its lock what the first wrote under its own, and nothing is lost."""
    async with host(app, tmp_path / "a") as a, host(app, tmp_path / "b") as b:
        here, there = await both_open(a, b)
        await a.setlk(here, Mode.EXCLUSIVE)
        await here.write(b"first")
        await a.setlk(here, Mode.NONE)
        await b.setlk(there, Mode.EXCLUSIVE)
        assert (await b.program.fs.getattr(there.ino)).attrs.size == 5
        assert there.ino in b.program.kernel.attributes
        assert await there.read() == b"first"
        await there.write(b" second", 5)
        await b.setlk(there, Mode.NONE)
        async with other_client(app) as share:
            assert await get(share, "lock") == b"first second"


@pytest.mark.semantics("S6.14")
async def test_every_descriptor_is_of_the_one_file(app, tmp_path, autojump_clock):
    """None that was opened before has a lock of its own, long after the file was made elsewhere."""
    async with host(app, tmp_path / "a") as a, host(app, tmp_path / "b") as b:
        (here,), there = await both_open(a), await both_open(b, b)
        await trio.sleep(2)
        await a.flock(here, fcntl.LOCK_EX)
        for opened in (*there, await b.open("lock")):
            with expect(errno.EAGAIN):
                await b.flock(opened, fcntl.LOCK_EX | NB)
        await a.flock(here, fcntl.LOCK_UN)
        await b.flock(there[1], fcntl.LOCK_EX | NB)


async def test_what_was_written_before_the_lock_is_sent_first(app, tmp_path, autojump_clock):
    """A file with content of its own is made with it, as without a lock (S3.7)."""
    async with host(app, tmp_path / "a") as a:
        (here,) = await both_open(a)
        await here.write(b"mine")
        await a.flock(here, fcntl.LOCK_EX)
        async with other_client(app) as share:
            assert await get(share, "lock") == b"mine"


async def test_a_file_that_is_removed_while_it_is_joined(app, tmp_path, autojump_clock):
    """Made elsewhere and removed there at once: this mount makes its own."""
    async with host(app, tmp_path / "a") as a, other_client(app) as share:
        (here,) = await both_open(a)

        async def make_it() -> None:
            await put(share, "lock", b"")

        async def remove_it() -> None:
            await share.delete_file(SharePath.parse("lock"))

        a.line.before = {"comp=rename": make_it, "HEAD /": remove_it}
        await a.flock(here, fcntl.LOCK_EX)
        assert not a.line.before
        assert await get(share, "lock") == b""


async def test_bytes_written_while_another_hosts_file_is_found(app, tmp_path, autojump_clock):
    """A file with content of its own is left to the upload, as without a lock (S3.7)."""
    async with host(app, tmp_path / "a") as a, other_client(app) as share:
        (here,) = await both_open(a)

        async def make_it() -> None:
            await put(share, "lock", b"theirs")

        a.line.before = {"comp=rename": make_it, "HEAD /": lambda: here.write(b"mine")}
        await a.flock(here, fcntl.LOCK_EX)
        await here.fsync()
        assert await get(share, "lock") == b"mine"


async def test_bytes_written_while_the_file_is_made(app, tmp_path, autojump_clock):
    """They are not lost to the file that is made meanwhile."""
    async with host(app, tmp_path / "a") as a:
        (here,) = await both_open(a)
        async with trio.open_nursery() as nursery:
            a.line.before["comp=rename"] = lambda: here.write(b"meanwhile")
            nursery.start_soon(a.flock, here, fcntl.LOCK_EX)
        await here.fsync()
        async with other_client(app) as share:
            assert await get(share, "lock") == b"meanwhile"


async def test_without_a_network_the_lock_is_refused_and_the_file_stays(
    app, tmp_path, autojump_clock
):
    """What could not be made is made later; nobody believes in a lock meanwhile."""
    async with host(app, tmp_path / "a") as a:
        (here,) = await both_open(a)
        a.line.is_cut = True
        with pytest.raises(VfsError):
            await a.flock(here, fcntl.LOCK_EX | NB)
        a.line.is_cut = False
        await a.flock(here, fcntl.LOCK_EX)
        async with other_client(app) as share:
            assert await get(share, "lock") == b""


@pytest.mark.expect_log("was removed by another client")
async def test_a_directory_that_is_gone(app, tmp_path, autojump_clock):
    """Where another host removed the directory, the lock is refused."""
    async with host(app, tmp_path / "a") as a, host(app, tmp_path / "b") as b:
        await a.program.mkdir("folder")
        here = await a.open("folder/lock", NEW)
        await b.program.rmdir("folder")
        with expect(errno.ESTALE):
            await a.flock(here, fcntl.LOCK_EX)
