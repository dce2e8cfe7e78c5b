"""Locks that two mounts of one share have and want, in simulated time."""

import errno
import fcntl
import os

import pytest
import trio

from azfilesfs.model.paths import SharePath
from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.locks.modes import Mode
from azfilesfs.vfs.locks.ranges import Span
from azfilesfs.vfs.types import LockOptions
from tests.unit.locking.harness import Host, host, lease_requests, now_ns
from tests.unit.vfs.harness import expect, get, mounted, other_client

NB = fcntl.LOCK_NB
SPAN = Span()


async def refused(side: Host, file, operation: int) -> bool:
    """Tell whether a non-blocking attempt is refused."""
    try:
        await side.flock(file, operation | NB)
    except VfsError as error:
        return error.errno == errno.EAGAIN
    return False


@pytest.mark.semantics("S6.1", "S6.2")
async def test_an_exclusive_flock_excludes_the_other_mount(app, tmp_path, autojump_clock):
    """What one mount has locked the other does not get, until it is given up."""
    async with host(app, tmp_path / "a") as a, host(app, tmp_path / "b") as b:
        here, there = await a.open(), await b.open()
        await a.flock(here, fcntl.LOCK_EX)
        assert await refused(b, there, fcntl.LOCK_EX)
        assert await refused(b, there, fcntl.LOCK_SH)
        await a.flock(here, fcntl.LOCK_UN)
        await b.flock(there, fcntl.LOCK_EX | NB)
        assert await refused(a, here, fcntl.LOCK_SH)


@pytest.mark.semantics("S6.1")
async def test_readers_share_and_keep_a_writer_out(app, tmp_path, autojump_clock):
    """Shared locks stand beside each other on all mounts; an exclusive one waits for all."""
    async with host(app, tmp_path / "a") as a, host(app, tmp_path / "b") as b:
        here, there = await a.open(), await b.open()
        await a.flock(here, fcntl.LOCK_SH)
        await b.flock(there, fcntl.LOCK_SH | NB)
        other = await b.open()
        assert await refused(b, other, fcntl.LOCK_EX)
        await b.flock(there, fcntl.LOCK_UN)
        assert await refused(b, other, fcntl.LOCK_EX)
        await a.flock(here, fcntl.LOCK_UN)
        await b.flock(other, fcntl.LOCK_EX | NB)


@pytest.mark.semantics("S6.1")
async def test_flock_and_fcntl_exclude_each_other_between_mounts(app, tmp_path, autojump_clock):
    """Between hosts there is one lock on the whole file, whichever call and range asked for it."""
    async with host(app, tmp_path / "a") as a, host(app, tmp_path / "b") as b:
        here, there = await a.open(), await b.open()
        await a.setlk(here, Mode.EXCLUSIVE, 0, 1)
        assert await refused(b, there, fcntl.LOCK_SH)
        with expect(errno.EAGAIN):
            await b.setlk(there, Mode.EXCLUSIVE, 5, 6, wait=False)
        # On its own mount the rest of the file is free.
        await a.setlk(here, Mode.EXCLUSIVE, 5, 6, owner=200, wait=False)


@pytest.mark.semantics("S6.2")
async def test_a_blocked_lock_waits_its_turn(app, tmp_path, autojump_clock):
    """A blocking attempt ends when the other mount lets go, soon after."""
    async with host(app, tmp_path / "a") as a, host(app, tmp_path / "b") as b:
        here, there = await a.open(), await b.open()
        await a.flock(here, fcntl.LOCK_EX)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(b.flock, there, fcntl.LOCK_EX)
            await trio.sleep(20)
            given = trio.current_time()
            await a.flock(here, fcntl.LOCK_UN)
        assert trio.current_time() - given < 1


@pytest.mark.semantics("S6.2")
async def test_a_waiter_that_gives_up_leaves_nothing(app, tmp_path, autojump_clock):
    """A signalled waiter is gone at once, and what it had taken on the way is given back."""
    async with host(app, tmp_path / "a") as a, host(app, tmp_path / "b") as b:
        here, there = await a.open(), await b.open()
        await a.flock(here, fcntl.LOCK_EX)
        with trio.move_on_after(3):
            await b.flock(there, fcntl.LOCK_EX)
        await a.flock(here, fcntl.LOCK_UN)
        await trio.sleep(2)
        await a.flock(here, fcntl.LOCK_EX | NB)
        assert b.program.fs.locks.lock_rows() == []


@pytest.mark.semantics("S6.2")
async def test_the_limit_of_the_mount(app, tmp_path, autojump_clock):
    """With --lock-timeout a blocking attempt ends with ETIMEDOUT."""
    async with host(app, tmp_path / "a") as a, host(app, tmp_path / "b", timeout=5.0) as b:
        here, there = await a.open(), await b.open()
        await a.flock(here, fcntl.LOCK_EX)
        began = trio.current_time()
        with expect(errno.ETIMEDOUT):
            await b.flock(there, fcntl.LOCK_EX)
        assert trio.current_time() - began == pytest.approx(5, abs=0.1)


@pytest.mark.semantics("S6.3")
@pytest.mark.parametrize("kind", ["flock", "fcntl"])
async def test_who_gets_the_lock_sees_what_was_written(kind, app, tmp_path, autojump_clock):
    """Giving up sends what was written, and taking drops what is stale, within the TTL too."""

    async def lock(side: Host, file, mode: Mode) -> None:
        if kind == "flock":
            operation = {Mode.EXCLUSIVE: fcntl.LOCK_EX, Mode.NONE: fcntl.LOCK_UN}[mode]
            await side.flock(file, operation)
        else:
            await side.setlk(file, mode)

    async with host(app, tmp_path / "a") as a, host(app, tmp_path / "b") as b:
        here, there = await a.open(), await b.open()
        for number in range(6):
            side, file = ((a, here), (b, there))[number % 2]
            await lock(side, file, Mode.EXCLUSIVE)
            assert int(await file.read()) == number
            side.program.kernel.clear()
            await file.write(b"%010d" % (number + 1))
            await lock(side, file, Mode.NONE)
        async with other_client(app) as share:
            assert int(await get(share, "file")) == 6


@pytest.mark.semantics("S6.3")
async def test_the_kernels_stale_pages_go_before_the_lock_is_there(app, tmp_path, autojump_clock):
    """Pages of another version are dropped while the lock is being taken, not later."""
    async with host(app, tmp_path / "a") as a, host(app, tmp_path / "b") as b:
        here, there = await a.open(), await b.open()
        await there.read()
        await a.flock(here, fcntl.LOCK_EX)
        await here.write(b"1")
        await a.flock(here, fcntl.LOCK_UN)
        b.program.kernel.clear()
        await b.flock(there, fcntl.LOCK_SH)
        assert b.program.kernel.pages == [there.ino]


@pytest.mark.semantics("S6.11")
async def test_costs(app, tmp_path, autojump_clock):
    """Exclusive: 3 requests, 4 where the file changed; shared: 3; idle: one a heartbeat."""
    async with host(app, tmp_path / "a") as a, host(app, tmp_path / "b") as b:
        here, there = await a.open(), await b.open()
        await trio.sleep(100)
        assert lease_requests(a.line) == []
        for operation in (fcntl.LOCK_EX, fcntl.LOCK_SH):  # the first ones make our directories
            await a.flock(here, operation)
            await a.flock(here, fcntl.LOCK_UN)

        async def cost(side: Host, file, operation: int) -> int:
            side.line.requests.clear()
            await side.flock(file, operation)
            await side.flock(file, fcntl.LOCK_UN)
            return len(side.line.requests)

        assert await cost(a, here, fcntl.LOCK_EX) == 3
        assert await cost(a, here, fcntl.LOCK_SH) == 3
        await b.flock(there, fcntl.LOCK_EX)
        await there.write(b"1")
        await b.flock(there, fcntl.LOCK_UN)
        assert await cost(a, here, fcntl.LOCK_EX) == 4
        assert await cost(a, here, fcntl.LOCK_EX) == 3
        a.line.requests.clear()
        await trio.sleep(61)
        assert len(a.line.requests) == 4


@pytest.mark.semantics("S6.9")
async def test_two_upgrades_do_not_wait_for_each_other(app, tmp_path, autojump_clock):
    """Two readers on two mounts that both want to write: fcntl answers EDEADLK, flock lets go."""
    async with host(app, tmp_path / "a") as a, host(app, tmp_path / "b") as b:
        here, there = await a.open(), await b.open()
        await a.setlk(here, Mode.SHARED)
        await b.setlk(there, Mode.SHARED)
        with expect(errno.EDEADLK):
            await a.setlk(here, Mode.EXCLUSIVE)
        with expect(errno.EAGAIN):
            await b.setlk(there, Mode.EXCLUSIVE, wait=False)
        await a.setlk(here, Mode.NONE)
        await b.setlk(there, Mode.EXCLUSIVE, wait=False)
        await b.setlk(there, Mode.SHARED)
        await a.setlk(here, Mode.SHARED, wait=False)
        await a.setlk(here, Mode.NONE)
        await b.setlk(there, Mode.NONE)
        await a.flock(here, fcntl.LOCK_SH)
        await b.flock(there, fcntl.LOCK_SH)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.flock, here, fcntl.LOCK_EX)
            await trio.sleep(1)
            await b.flock(there, fcntl.LOCK_UN)


async def test_a_writer_beside_readers_of_its_own_mount(app, tmp_path, autojump_clock):
    """flock and fcntl do not meet on one mount: the lock at the service is upgraded in place."""
    async with host(app, tmp_path / "a") as a, host(app, tmp_path / "b") as b:
        here, there = await a.open(), await b.open()
        await a.flock(here, fcntl.LOCK_SH)
        await b.flock(there, fcntl.LOCK_SH)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.setlk, here, Mode.EXCLUSIVE)
            await trio.sleep(5)
            await b.flock(there, fcntl.LOCK_UN)
        assert await refused(b, there, fcntl.LOCK_SH)
        await a.setlk(here, Mode.NONE)
        await b.flock(there, fcntl.LOCK_SH | NB)


async def test_an_exclusive_flock_becomes_shared_in_place(app, tmp_path, autojump_clock):
    """A downgrade sends what was written and lets readers elsewhere in."""
    async with host(app, tmp_path / "a") as a, host(app, tmp_path / "b") as b:
        here, there = await a.open(), await b.open()
        await a.flock(here, fcntl.LOCK_EX)
        await here.write(b"9")
        await a.flock(here, fcntl.LOCK_SH)
        await b.flock(there, fcntl.LOCK_SH)
        assert (await there.read())[:1] == b"9"
        assert await refused(b, there, fcntl.LOCK_EX)


async def test_closing_gives_up(app, tmp_path, autojump_clock):
    """The last close ends a flock, a close of any descriptor the process's fcntl locks."""
    async with host(app, tmp_path / "a") as a, host(app, tmp_path / "b") as b:
        there = await b.open()
        first, second = await a.open(), await a.open()
        await a.flock(first, fcntl.LOCK_EX)
        await first.close()
        await b.flock(there, fcntl.LOCK_EX | NB)
        await b.flock(there, fcntl.LOCK_UN)
        third = await a.open()
        await a.setlk(second, Mode.EXCLUSIVE)
        await a.program.fs.flush(third.handle, a.owner)
        await b.flock(there, fcntl.LOCK_EX | NB)


async def test_a_lock_right_after_a_close(app, tmp_path, autojump_clock):
    """A non-blocking lock waits for the release of a handle that was just closed."""
    async with host(app, tmp_path / "a") as a:
        first, second = await a.open(), await a.open()
        await a.flock(first, fcntl.LOCK_EX)
        await a.program.fs.flush(first.handle, 1)

        async def release() -> None:
            await trio.sleep(0.05)
            a.program.files.discard(first.handle)
            await a.program.fs.release(first.handle)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(release)
            await a.flock(second, fcntl.LOCK_EX | NB)
        third = await a.open()
        await a.program.fs.flush(second.handle, 1)
        assert await refused(a, third, fcntl.LOCK_EX)


@pytest.mark.semantics("S6.1")
async def test_who_holds_it_elsewhere(app, tmp_path, autojump_clock):
    """F_GETLK names a holder on another mount with process 0, one of this mount with its own."""
    async with host(app, tmp_path / "a") as a, host(app, tmp_path / "b") as b:
        here, there = await a.open(), await b.open()

        async def asked(mode: Mode):
            return await b.program.fs.locks.getlk(there.handle, b.owner, mode, SPAN)

        assert await asked(Mode.EXCLUSIVE) is None
        await a.flock(here, fcntl.LOCK_EX)
        found = await asked(Mode.SHARED)
        assert (found.mode, found.pid) == (Mode.EXCLUSIVE, 0)
        await a.flock(here, fcntl.LOCK_UN)
        await a.flock(here, fcntl.LOCK_SH)
        assert await asked(Mode.SHARED) is None
        found = await asked(Mode.EXCLUSIVE)
        assert (found.mode, found.pid) == (Mode.SHARED, 0)
        await a.flock(here, fcntl.LOCK_UN)
        await b.setlk(there, Mode.EXCLUSIVE, owner=300)
        assert (await asked(Mode.SHARED)).pid == 100


@pytest.mark.semantics("S6.10")
async def test_directories_and_nameless_files_are_this_mounts(app, tmp_path, autojump_clock):
    """Locks on what other hosts cannot open need no request."""
    async with host(app, tmp_path / "a") as a:
        await a.program.mkdir("directory")
        ino = (await a.program.stat("directory")).ino
        handle = await a.program.fs.opendir(ino)
        await a.program.fs.locks.flock(handle, Mode.EXCLUSIVE, wait=False, pid=1)
        other = await a.program.fs.opendir(ino)
        with expect(errno.EAGAIN):
            await a.program.fs.locks.flock(other, Mode.EXCLUSIVE, wait=False, pid=1)
        await a.program.fs.releasedir(handle)
        await a.program.fs.locks.flock(other, Mode.EXCLUSIVE, wait=False, pid=1)
        await a.program.fs.releasedir(other)
        file = await a.open()
        await a.program.unlink("file")
        a.line.requests.clear()
        await a.flock(file, fcntl.LOCK_EX | NB)
        assert a.line.requests == []


async def test_a_new_file_is_made_before_it_is_locked(app, tmp_path, autojump_clock):
    """A file that exists on this mount only is brought to the service by the lock."""
    async with host(app, tmp_path / "a") as a, host(app, tmp_path / "b", dir_ttl=0.0) as b:
        file = await a.open("new", os.O_CREAT | os.O_RDWR)
        await a.flock(file, fcntl.LOCK_EX)
        there = await b.open("new")
        assert await refused(b, there, fcntl.LOCK_SH)


@pytest.mark.semantics("S6.13")
async def test_an_end_in_good_order_leaves_no_lease(app, tmp_path, autojump_clock):
    """After an unmount the next mount gets everything at once, and the session says it is clean."""
    async with host(app, tmp_path / "a") as a:
        here = await a.open()
        await a.flock(here, fcntl.LOCK_EX)
    async with host(app, tmp_path / "b") as b:
        there = await b.open()
        await b.flock(there, fcntl.LOCK_EX | NB)
        async with other_client(app) as share:
            page = await share.list_page(SharePath.parse(".azfilesfs/dead"))
            assert [entry.name.endswith(".clean") for entry in page.entries] == [True]


async def test_locks_of_one_mount_alone(app, tmp_path, autojump_clock):
    """With --locks=local nothing reaches the service."""
    locks = LockOptions(clock=now_ns, reach_service=False)
    async with mounted(app, tmp_path, locks=locks) as program:
        file = await program.open("file", os.O_RDWR)
        await program.fs.locks.flock(file.handle, Mode.EXCLUSIVE, wait=False, pid=1)
        assert (await program.fs.locks.getlk(file.handle, 1, Mode.EXCLUSIVE, SPAN)) is None
        assert program.fs.locks.lock_session() is None
        rows = program.fs.locks.lock_rows()
        assert [(row.kind, row.mode, row.remote) for row in rows] == [
            ("flock", "exclusive", "local-only")
        ]
        await file.close()
        await program.fs.end_locks()


@pytest.mark.parametrize("seconds", [0.1, 0.3, 1.0])
async def test_locked_again_after_a_while(seconds, app, tmp_path, autojump_clock):
    """Who held a lock for long and takes it again at once gets it, without asking twice."""
    async with host(app, tmp_path / "a") as a:
        here = await a.open()
        for _ in range(3):
            await a.flock(here, fcntl.LOCK_EX)
            await trio.sleep(seconds)
            await a.flock(here, fcntl.LOCK_UN)
        a.line.requests.clear()
        with trio.fail_after(1):
            await a.flock(here, fcntl.LOCK_EX | NB)
        assert len(a.line.requests) == 2
