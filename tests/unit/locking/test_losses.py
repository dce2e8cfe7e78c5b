"""Mounts that die, are cut off or lose a lock: who takes over, and what becomes of bytes."""

import errno
import fcntl
import os

import pytest
import trio

from azfilesfs.model.limits import MIB
from azfilesfs.model.paths import SharePath
from azfilesfs.vfs.locks.modes import Mode
from tests.unit.locking.harness import Host, host
from tests.unit.vfs.harness import expect, get, other_client, put

NB = fcntl.LOCK_NB
FILE = SharePath.parse("file")
LOST = pytest.mark.expect_log(
    "a lock was lost", "another mount has declared this one dead", "was broken or taken",
    "cannot be confirmed", "deadline|timed out|no answer|cut",
)  # fmt: skip
TAKEN = pytest.mark.expect_log("taken over from a mount that died")


def kept(side: Host) -> list[str]:
    """Return the paths of what is kept for recovery."""
    return [str(record.path) for record in side.program.staging.kept()]


@pytest.mark.semantics("S6.5")
@TAKEN
@pytest.mark.parametrize("operation", [fcntl.LOCK_EX, fcntl.LOCK_SH])
async def test_a_dead_mounts_lock_is_taken_over(operation, app, tmp_path, autojump_clock):
    """Whoever wants the lock of a mount that died gets it once its time to live is over."""
    async with host(app, tmp_path / "b", ttl=6) as b:
        there = await b.open()
        async with host(app, tmp_path / "a", ttl=6, end=False) as a:
            await a.flock(await a.open(), fcntl.LOCK_EX)
        died = trio.current_time()
        await b.flock(there, operation)
        assert trio.current_time() - died <= 6 + 3


@pytest.mark.semantics("S6.5")
async def test_a_dead_reader_keeps_nobody_out(app, tmp_path, autojump_clock):
    """The announcement of a mount that died is removed by the writer that it was in the way of."""
    async with host(app, tmp_path / "b", ttl=6) as b:
        there = await b.open()
        async with host(app, tmp_path / "a", ttl=6, end=False) as a:
            await a.flock(await a.open(), fcntl.LOCK_SH)
        died = trio.current_time()
        await b.flock(there, fcntl.LOCK_EX)
        assert trio.current_time() - died <= 6 + 3


@pytest.mark.semantics("S6.5")
async def test_the_next_mount_of_the_same_host_gives_back_at_once(app, tmp_path, autojump_clock):
    """With the journal in the state directory no time has to pass."""
    async with host(app, tmp_path / "a", end=False) as a:
        await a.flock(await a.open(), fcntl.LOCK_EX)
    async with host(app, tmp_path / "b") as b:
        there = await b.open()
        with expect(errno.EAGAIN):
            await b.flock(there, fcntl.LOCK_EX | NB)
        async with host(app, tmp_path / "a"):
            began = trio.current_time()
            await b.flock(there, fcntl.LOCK_EX)
            assert trio.current_time() - began < 5
            # After ten minutes nothing of the dead one can arrive any more, and that is noted.
            await trio.sleep(1300)
        async with other_client(app) as share:
            page = await share.list_page(SharePath.parse(".azfilesfs/dead"))
            assert all(entry.name.endswith(".clean") for entry in page.entries)


@pytest.mark.semantics("S6.6", "S6.7")
@LOST
@TAKEN
async def test_a_mount_that_was_cut_off(app, tmp_path, autojump_clock):
    """Its lock is taken over; its late writes fail, are kept, and the winner's bytes stand."""
    async with host(app, tmp_path / "a", ttl=6) as a, host(app, tmp_path / "b", ttl=6) as b:
        here, there = await a.open(), await b.open()
        aside = await a.open("aside", os.O_CREAT | os.O_RDWR)
        await a.flock(here, fcntl.LOCK_EX)
        await here.write(b"late")
        await aside.write(b"late as well")
        a.line.is_cut = True
        await b.flock(there, fcntl.LOCK_EX)
        await there.write(b"winner")
        await b.flock(there, fcntl.LOCK_UN)
        a.line.is_cut = False
        await trio.sleep(10)
        for act in (here.fsync, here.read, lambda: here.write(b"x"), aside.fsync):
            with expect(errno.EIO):
                await act()
        assert sorted(kept(a)) == ["aside", "file"]
        async with other_client(app) as share:
            assert (await get(share, "file"))[:6] == b"winner"
            assert await get(share, "aside") is None
        # Locked again, or opened again, everything works.
        await a.flock(here, fcntl.LOCK_SH)
        assert (await here.read())[:6] == b"winner"


@pytest.mark.semantics("S6.7")
@pytest.mark.expect_log("cannot be confirmed", "deadline|timed out|connection|cut|broke")
async def test_changes_wait_for_the_session(app, tmp_path, autojump_clock):
    """While locks are held and the service cannot be asked, no change is sent, of any path."""
    async with host(app, tmp_path / "a", ttl=60, operation_deadline=20.0) as a:
        here = await a.open()
        await a.flock(here, fcntl.LOCK_EX)
        app.faults.add(operation="RenameFile", status=503, code="ServerBusy", times=1000)
        await trio.sleep(50)
        a.line.requests.clear()
        with expect(errno.EIO):
            await a.program.mkdir("directory")
        assert not [line for line in a.line.requests if "directory?" in line]
        app.faults.clear()
        await trio.sleep(5)
        await a.program.mkdir("directory")


@pytest.mark.semantics("S6.6")
@LOST
async def test_a_lease_that_is_broken_by_hand(app, tmp_path, autojump_clock):
    """The next request that carries it is refused, and the lock is lost by that."""
    async with host(app, tmp_path / "a") as a, other_client(app) as share:
        here = await a.open()
        await a.flock(here, fcntl.LOCK_EX)
        await here.write(b"mine")
        await share.break_file_lease(FILE)
        await share.put_range(FILE, 0, b"hers")
        with expect(errno.EIO):
            await here.fsync()
        assert kept(a) == ["file"]
        assert (await get(share, "file"))[:4] == b"hers"
        await a.flock(here, fcntl.LOCK_UN)


@pytest.mark.semantics("S6.6")
@LOST
async def test_reads_under_a_lost_lease(app, tmp_path, autojump_clock):
    """Bytes that are not cached are read with the lease, so a lost one is noticed."""
    async with host(app, tmp_path / "a") as a, other_client(app) as share:
        await put(share, "file", bytes(2 * MIB))
        here = await a.open()
        await a.flock(here, fcntl.LOCK_EX)
        await share.break_file_lease(FILE)
        with expect(errno.EIO):
            await here.read(MIB, 10)


@pytest.mark.semantics("S6.4")
async def test_who_has_no_lock_is_kept_out_and_waits(app, tmp_path, autojump_clock):
    """A write to a file that another mount has locked waits, and then succeeds."""
    async with host(app, tmp_path / "a") as a, host(app, tmp_path / "b") as b:
        here, there = await a.open(), await b.open()
        await a.flock(here, fcntl.LOCK_EX)
        await there.write(b"bystander")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(there.fsync)
            await trio.sleep(5)
            await a.flock(here, fcntl.LOCK_UN)
        async with other_client(app) as share:
            assert await get(share, "file") == b"bystander0"


@pytest.mark.semantics("S6.4")
@pytest.mark.expect_log("leased|LeaseIdMissing|lease")
async def test_who_has_no_lock_does_not_wait_for_ever(app, tmp_path, autojump_clock):
    """After half of an operation's deadline it is EBUSY, and the bytes are still dirty here."""
    async with (
        host(app, tmp_path / "a") as a,
        host(app, tmp_path / "b", operation_deadline=10.0) as b,
    ):
        here, there = await a.open(), await b.open()
        await a.flock(here, fcntl.LOCK_EX)
        await there.write(b"bystander")
        with expect(errno.EBUSY):
            await there.fsync()
        with expect(errno.EBUSY):
            await b.program.unlink("file")
        with expect(errno.EBUSY):
            await b.program.rename("file", "other")
        await a.flock(here, fcntl.LOCK_UN)
        await trio.sleep(20)
        async with other_client(app) as share:
            assert await get(share, "file") == b"bystander0"


async def test_unlocked_writers_of_the_locking_mount(app, tmp_path, autojump_clock):
    """They carry the lease as well: it is the mount that has it."""
    async with host(app, tmp_path / "a") as a:
        here, other = await a.open(), await a.open()
        await a.flock(here, fcntl.LOCK_EX)
        await other.write(b"beside")
        await other.close()
        await a.program.rename("file", "moved")
        await a.flock(here, fcntl.LOCK_UN)
        async with other_client(app) as share:
            assert (await get(share, "moved"))[:6] == b"beside"


async def test_locked_files_that_lose_their_names(app, tmp_path, autojump_clock):
    """Removed or replaced through this mount, a locked file keeps its holder's lock here."""
    async with host(app, tmp_path / "a") as a, host(app, tmp_path / "b", dir_ttl=0.0) as b:
        here = await a.open()
        await a.flock(here, fcntl.LOCK_EX)
        await a.program.write("new", b"new")
        await a.program.rename("new", "file")
        other = await a.open()
        await a.flock(other, fcntl.LOCK_EX | NB)
        await a.program.unlink("file")
        await a.program.write("file", b"third")
        there = await b.open()
        await b.flock(there, fcntl.LOCK_EX | NB)
        await a.flock(here, fcntl.LOCK_UN)
        await a.flock(other, fcntl.LOCK_UN)


@pytest.mark.semantics("S6.2")
async def test_a_file_that_others_remove(app, tmp_path, autojump_clock):
    """A lock on what is no longer there is ESTALE, as any use of it."""
    async with host(app, tmp_path / "a") as a, other_client(app) as share:
        here = await a.open()
        await share.delete_file(FILE)
        with expect(errno.ESTALE):
            await a.flock(here, fcntl.LOCK_EX)
        with expect(errno.ESTALE):
            await a.flock(here, fcntl.LOCK_SH)


@pytest.mark.semantics("S6.2")
@pytest.mark.expect_log("conflict on")
async def test_a_lock_file_that_two_mounts_make(app, tmp_path, autojump_clock):
    """Who comes second with bytes of its own is refused, each of its descriptors."""
    async with host(app, tmp_path / "a") as a, host(app, tmp_path / "b") as b:
        mine = [await b.open("made", os.O_CREAT | os.O_RDWR) for _ in range(2)]
        await mine[0].write(b"bytes")
        here = await a.open("made", os.O_CREAT | os.O_RDWR)
        await trio.sleep(2)
        await a.flock(here, fcntl.LOCK_EX)
        for opened in mine:
            with expect(errno.ESTALE):
                await b.flock(opened, fcntl.LOCK_EX | NB)
        there = await b.open("made")
        with expect(errno.EAGAIN):
            await b.flock(there, fcntl.LOCK_EX | NB)


@pytest.mark.semantics("S6.12")
@pytest.mark.expect_log("locks between hosts cannot be had")
async def test_a_service_that_refuses(app, tmp_path, autojump_clock):
    """Without the right to write our files a lock is ENOLCK, and the log names the way out."""
    async with host(app, tmp_path / "a") as a:
        here = await a.open()
        app.faults.add(
            operation="CreateFile", status=403, code="AuthorizationPermissionMismatch", times=1000
        )
        for operation in (fcntl.LOCK_EX, fcntl.LOCK_SH | NB):
            with expect(errno.ENOLCK):
                await a.flock(here, operation)
        app.faults.clear()
        await a.flock(here, fcntl.LOCK_EX)


@pytest.mark.semantics("S6.12")
@pytest.mark.expect_log("locks hold on this mount alone")
async def test_a_service_that_refuses_with_auto(app, tmp_path, autojump_clock):
    """With --locks=auto the locks hold on this mount then."""
    async with host(app, tmp_path / "a", fall_back=True) as a:
        here, other = await a.open(), await a.open()
        app.faults.add(
            operation="CreateFile", status=403, code="AuthorizationPermissionMismatch", times=1000
        )
        await a.flock(here, fcntl.LOCK_EX)
        with expect(errno.EAGAIN):
            await a.flock(other, fcntl.LOCK_EX | NB)
        await a.flock(here, fcntl.LOCK_UN)
        await a.flock(other, fcntl.LOCK_EX | NB)


async def test_lost_answers(app, tmp_path, autojump_clock):
    """Leases whose answers are lost are found again, given back, and swept."""
    async with host(app, tmp_path / "a") as a, host(app, tmp_path / "b") as b:
        here, there = await a.open(), await b.open()
        for operation in ("LeaseFile", "CreateFile", "ListDirectoriesAndFiles", "DeleteFile"):
            for mode in (fcntl.LOCK_EX, fcntl.LOCK_SH):
                app.faults.add(operation=operation, cut="after", times=1)
                await a.flock(here, mode)
                app.faults.add(operation=operation, cut="after", times=1)
                await a.flock(here, fcntl.LOCK_UN)
                app.faults.clear()
        await trio.sleep(40)
        await b.flock(there, fcntl.LOCK_EX)
        await b.flock(there, fcntl.LOCK_UN)


async def test_a_journal_that_cannot_be_written(app, tmp_path, autojump_clock, log_guard):
    """Nothing is leased that could not be noted first."""
    log_guard.allow("journal of locks|locks between hosts")
    async with host(app, tmp_path / "a") as a:
        here = await a.open()
        (tmp_path / "a" / "state" / "locks").mkdir()
        with expect(errno.ENOLCK):
            await a.flock(here, fcntl.LOCK_EX)
        (tmp_path / "a" / "state" / "locks").rmdir()
        await a.flock(here, fcntl.LOCK_EX)


async def test_what_is_shown_to_people(app, tmp_path, autojump_clock):
    """Held and awaited locks are listed, with process, range and where they hold."""
    async with host(app, tmp_path / "a") as a, host(app, tmp_path / "b") as b:
        here, there = await a.open(), await b.open()
        await a.setlk(here, Mode.EXCLUSIVE, 3, 9, pid=os.getpid())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(b.flock, there, fcntl.LOCK_EX)
            await trio.sleep(1)
            (row,) = a.program.fs.locks.lock_rows()
            assert (row.path, row.kind, row.mode, row.start, row.stop, row.remote, row.waiting) == (
                *("file", "fcntl", "exclusive", 3, 9),
                *("held", False),
            )
            assert row.process.startswith(("python", "pytest"))
            (row,) = b.program.fs.locks.lock_rows()
            assert (row.remote, row.waiting) == ("wanted", True)
            await a.setlk(here, Mode.NONE)


@pytest.mark.semantics("S6.7", "S6.8")
@LOST
async def test_a_reader_that_was_cut_off(app, tmp_path, autojump_clock):
    """What this mount is asked for under a shared lock it answers only while the lock is sure."""
    async with host(app, tmp_path / "a", ttl=6) as a, host(app, tmp_path / "b", ttl=6) as b:
        here, there = await a.open(), await b.open()
        await a.flock(here, fcntl.LOCK_SH)
        assert await here.read() == b"0" * 10
        a.line.is_cut = True
        await b.flock(there, fcntl.LOCK_EX)
        await there.write(b"1")
        await b.flock(there, fcntl.LOCK_UN)
        with expect(errno.EIO):
            await here.read()
        a.line.is_cut = False
        await trio.sleep(10)
        with expect(errno.EIO):
            await here.read()
        await a.flock(here, fcntl.LOCK_SH)
        assert (await here.read())[:1] == b"1"


@pytest.mark.semantics("S6.12")
@pytest.mark.expect_log("locks hold on this mount alone")
async def test_a_lock_that_fell_back_is_kept(app, tmp_path, autojump_clock):
    """What the service refused and the mount granted by itself stays until it is given up."""
    async with host(app, tmp_path / "a", fall_back=True) as a:
        here, other = await a.open(), await a.open()
        app.faults.add(
            operation="CreateFile", status=403, code="AuthorizationPermissionMismatch", times=1000
        )
        await a.flock(here, fcntl.LOCK_EX)
        for _ in range(20):
            with expect(errno.EAGAIN):
                await a.flock(other, fcntl.LOCK_EX | NB)
            await trio.sleep(0.5)
        await a.flock(here, fcntl.LOCK_UN)
        await a.flock(other, fcntl.LOCK_EX | NB)


@pytest.mark.semantics("S6.12", "S15.5")
@pytest.mark.expect_log("the mount is read-only")
@pytest.mark.parametrize("falls_back", [False, True])
async def test_a_mount_that_only_reads(falls_back, app, tmp_path, autojump_clock):
    """It writes nothing, not even for locks: they are refused, or hold on this mount alone."""
    async with host(app, tmp_path / "a", read_only=True, fall_back=falls_back) as a:
        here, other = await a.open(flags=os.O_RDONLY), await a.open(flags=os.O_RDONLY)
        a.line.requests.clear()
        if falls_back:
            await a.flock(here, fcntl.LOCK_EX)
            with expect(errno.EAGAIN):
                await a.flock(other, fcntl.LOCK_SH | NB)
        else:
            with expect(errno.ENOLCK):
                await a.flock(here, fcntl.LOCK_SH)
        assert a.line.requests == []
