"""The adapter on a real mount, over a filesystem in memory."""

import errno
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
import trio
import trio.testing

from azfilesfs.fuse import session as session_module
from azfilesfs.fuse.detach import detach
from azfilesfs.fuse.guard import Deadlines, Guard
from azfilesfs.fuse.mountinfo import mount_at
from azfilesfs.fuse.notifier import PyfuseNotifier
from azfilesfs.fuse.operations import Operations
from azfilesfs.fuse.session import MountFailed, MountOptions, mounted, raise_readahead
from azfilesfs.vfs.errors import VfsError
from tests.unit.fuse.memory import MemoryFilesystem
from tests.unit.fuse.serving import serve

pytestmark = pytest.mark.mount

R = TypeVar("R")


async def outside(work: Callable[[], R]) -> R:
    """Use the mount from a thread, while this one serves it."""
    return await trio.to_thread.run_sync(work)


@pytest.fixture
def mountpoint(tmp_path: Path) -> Path:
    """Make an empty directory to mount on."""
    path = tmp_path / "mnt with, odd 名"
    path.mkdir()
    return path


@pytest.fixture
def fs() -> MemoryFilesystem:
    """Make a filesystem."""
    return MemoryFilesystem()


def use_everything(path: Path) -> None:
    """Do once what programs do."""
    (path / "d").mkdir()
    (path / "d" / "f").write_bytes(b"hello")
    with open(path / "d" / "f", "r+b") as file:
        file.seek(1)
        file.write(b"EL")
        file.flush()
        os.fsync(file.fileno())
        file.truncate(4)
    assert (path / "d" / "f").read_bytes() == b"hELl"
    os.symlink("d/f", path / "link")
    assert os.readlink(path / "link") == "d/f"
    assert (path / "link").read_bytes() == b"hELl"
    os.utime(path / "d" / "f", ns=(5_000_000_100, -7_000_000_000))
    os.chmod(path / "d" / "f", 0o600)
    found = os.stat(path / "d" / "f")
    assert (found.st_atime_ns, found.st_mtime_ns) == (5_000_000_100, -7_000_000_000)
    assert (stat.S_IMODE(found.st_mode), found.st_size, found.st_blocks) == (0o600, 4, 1)
    os.rename(path / "d" / "f", path / "g")
    assert sorted(os.listdir(path)) == ["d", "g", "link"]
    directory = os.open(path / "d", os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)
    (path / "link").unlink()
    (path / "d").rmdir()
    assert os.statvfs(path).f_bavail == 600
    assert os.statvfs(path).f_namemax == 255


async def test_every_operation_arrives(fs, mountpoint):
    """Programs' calls reach the filesystem with their arguments, and its answers the programs."""
    async with serve(fs, mountpoint) as served:
        await outside(lambda: use_everything(mountpoint))

    arrived = {name for name, number in served.measured if number in {0, errno.ENOENT}}
    assert arrived >= {
        *("lookup", "getattr", "setattr", "readlink", "mkdir", "symlink", "unlink", "rmdir"),
        *("rename", "open", "create", "read", "write", "flush", "fsync", "release", "opendir"),
        *("readdir", "releasedir", "fsyncdir", "statfs"),
    }
    assert mount_at(mountpoint) is None


async def test_what_the_service_cannot_do(fs, mountpoint):
    """Hard links and fifos are EPERM, extended attributes do not exist."""

    def refused() -> list[int | None]:
        numbers = []
        (mountpoint / "f").touch()
        for call in (
            lambda: os.link(mountpoint / "f", mountpoint / "g"),
            lambda: os.mkfifo(mountpoint / "fifo"),
            lambda: os.setxattr(mountpoint / "f", "user.x", b"1"),
        ):
            with pytest.raises(OSError) as caught:  # noqa: PT011  # the errno is the result
                call()
            numbers.append(caught.value.errno)
        return numbers

    async with serve(fs, mountpoint):
        assert await outside(refused) == [errno.EPERM, errno.EPERM, errno.ENOTSUP]


@pytest.mark.expect_log("unexpected failure")
async def test_a_defect_does_not_end_the_mount(fs, mountpoint):
    """Every operation that raises something unexpected is one EIO; the mount lives on."""
    async with serve(fs, mountpoint) as served:
        await outside(lambda: (mountpoint / "f").write_bytes(b"x"))
        for operation in ("lookup", "getattr", "open", "read", "release", "forget", "readdir"):
            fs.fail[operation] = RuntimeError("a defect")

        def provoke() -> None:
            for name in ("f", "other"):
                with pytest.raises(OSError):  # noqa: PT011  # EIO or what the kernel makes of it
                    (mountpoint / name).read_bytes()
            with pytest.raises(OSError, match="Input/output"):
                os.listdir(mountpoint)

        await outside(provoke)
        fs.fail.clear()

        assert await outside((mountpoint / "f").read_bytes) == b"x"
        assert not served.ended.is_set()


async def test_lookup_counts_balance(fs, mountpoint):
    """What the kernel was told by lookup, create and readdir is what it forgets in the end."""
    for number in range(300):
        fs.add(1, b"file %04d with a rather long name" % number, stat.S_IFREG | 0o644)
    fs.lookups.clear()
    async with serve(fs, mountpoint) as served:
        names = await outside(lambda: sorted(os.listdir(mountpoint)))
        await outside(lambda: (mountpoint / "new").write_bytes(b"x"))
        assert len(names) == 300
        assert sum(fs.lookups.values()) >= 300
        await outside(lambda: subprocess.run(["fusermount3", "-u", mountpoint], check=True))
        await served.ended.wait()

    assert {ino: count for ino, count in fs.lookups.items() if count < 0} == {}


async def test_unmounting_ends_the_session(fs, mountpoint):
    """After ``fusermount3 -u`` serve returns by itself."""
    async with serve(fs, mountpoint) as served:
        await outside(lambda: subprocess.run(["fusermount3", "-u", mountpoint], check=True))
        with trio.fail_after(10):
            await served.ended.wait()

    assert mount_at(mountpoint) is None


async def test_how_it_shows_in_the_mount_table(fs, mountpoint):
    """Type, source and read-only are visible to mount(8), and permissions are the kernel's."""
    async with serve(fs, mountpoint, read_only=True):
        found = mount_at(mountpoint)
        assert found is not None
        assert found.is_ours
        assert (found.kind, found.source) == ("fuse.azfilesfs", "account/share")
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        (line,) = (line for line in lines if f" {found.device} " in line)
        assert " ro," in line
        assert "default_permissions" in line
        with pytest.raises(OSError, match="Read-only"):
            await outside(lambda: (mountpoint / "f").touch())


@pytest.mark.parametrize(
    ("allow_other", "checks_permissions", "checked"),
    [(False, True, True), (False, False, False), (True, True, True), (True, False, True)],
)
def test_who_checks_permissions(*, allow_other: bool, checks_permissions: bool, checked: bool):
    """The kernel does unless told otherwise, and always where other users may come in."""
    options = MountOptions(
        mountpoint=Path("/mnt"),
        source="account/share",
        allow_other=allow_other,
        checks_permissions=checks_permissions,
    )

    assert ("default_permissions" in options.flags()) == checked
    assert ("allow_other" in options.flags()) == allow_other


@pytest.mark.skipif(os.getuid() != 0, reason="only root may set the kernel's readahead")
async def test_the_kernel_reads_further_ahead(fs, mountpoint):
    """The readahead of the mount is raised where that is permitted."""
    async with serve(fs, mountpoint, readahead_kib=512):
        found = mount_at(mountpoint)
        assert found is not None
        setting = Path("/sys/class/bdi") / found.device / "read_ahead_kb"
        if not os.access(setting, os.W_OK):
            pytest.skip("sysfs is read-only here")
        assert int(setting.read_text()) == 512


def test_readahead_of_nothing(tmp_path):
    """Without a mount there is nothing to set, and nothing fails."""
    raise_readahead(tmp_path, 4096)

    assert mount_at(tmp_path) is None


async def test_pages_stay_or_go_as_the_filesystem_says(fs, mountpoint):
    """keep_cache=True serves a reopened file from the kernel's pages, False asks again."""
    reads = []
    async with serve(fs, mountpoint):
        await outside(lambda: (mountpoint / "f").write_bytes(b"x" * 5000))
        for fs.keep_cache in (False, True, False):
            fs.calls.clear()
            await outside((mountpoint / "f").read_bytes)
            reads.append("read" in fs.calls)

    assert reads == [True, False, True]


async def test_the_kernel_forgets_what_it_is_told_to(fs, mountpoint):
    """Dropped attributes are asked for again, dropped pages read again, dropped names looked up."""
    async with serve(fs, mountpoint) as served:
        await outside(lambda: (mountpoint / "f").write_bytes(b"x" * 5000))
        ino = await outside(lambda: os.stat(mountpoint / "f").st_ino)
        file = await outside(lambda: (mountpoint / "f").open("rb", buffering=0))
        await outside(lambda: file.read(10))

        fs.calls.clear()
        served.notifier.forget_attributes(ino)
        await outside(lambda: os.stat(mountpoint / "f"))
        assert "getattr" in fs.calls
        fs.calls.clear()
        served.notifier.forget_pages(ino)
        with trio.fail_after(10):
            while "read" not in fs.calls:
                await outside(lambda: os.pread(file.fileno(), 10, 0))
        served.notifier.forget_entry(1, b"f")
        with trio.fail_after(10):
            while "lookup" not in fs.calls:
                await outside(lambda: os.stat(mountpoint / "f"))
        await outside(file.close)
        served.notifier.forget_attributes(2**63 + 99)
        served.notifier.forget_entry(1, b"never seen")


async def test_invalidating_a_file_being_read_does_not_deadlock(fs, mountpoint, monkeypatch):
    """Pages may be dropped in the middle of a READ of the same file: both get done."""
    read = fs.read
    async with serve(fs, mountpoint) as served:
        await outside(lambda: (mountpoint / "f").write_bytes(b"x" * 5000))
        ino = await outside(lambda: os.stat(mountpoint / "f").st_ino)

        async def slow(handle: int, offset: int, size: int) -> bytes | memoryview:
            served.notifier.forget_attributes(ino)
            served.notifier.forget_pages(ino)
            await trio.testing.wait_all_tasks_blocked(0.05)
            return await read(handle, offset, size)

        monkeypatch.setattr(fs, "read", slow)
        with trio.fail_after(20):
            assert await outside((mountpoint / "f").read_bytes) == b"x" * 5000


def test_a_refused_mount_is_one_line(fs, tmp_path):
    """What libfuse says about a failed mount becomes the message, not lines on the terminal."""
    options = MountOptions(mountpoint=tmp_path / "missing", source="a/s")
    operations = Operations(fs, Guard(Deadlines(1, 1)))

    with (
        pytest.raises(MountFailed, match=r"missing.*No such file") as caught,
        mounted(operations, options, PyfuseNotifier()),
    ):
        pytest.fail("it was mounted")

    assert "\n" not in str(caught.value)


def test_detaching_nothing(tmp_path):
    """Detaching what is not mounted says so."""
    assert not detach(tmp_path)


def test_detaching_without_the_program(tmp_path, monkeypatch):
    """Without fusermount3 nothing can be detached, which is an answer and no crash."""
    monkeypatch.setenv("PATH", "")

    assert not detach(tmp_path)


@pytest.mark.expect_log("stuck")
async def test_a_stuck_invalidation_does_not_hold_up_the_end(fs, mountpoint, monkeypatch):
    """If a thread never comes back from the kernel the mount is detached and the session left."""
    monkeypatch.setattr(session_module, "_CLOSE_SECONDS", 0.01)
    async with serve(fs, mountpoint) as served:
        monkeypatch.setattr(served.notifier, "wait_idle", lambda seconds: False)

    assert mount_at(mountpoint) is None


async def test_an_errno_reaches_the_program(fs, mountpoint):
    """The errno of a failure is the errno of the system call."""
    fs.fail["create"] = VfsError(errno.ENOSPC)
    async with serve(fs, mountpoint):
        with pytest.raises(OSError) as caught:  # noqa: PT011  # the errno is compared
            await outside(lambda: (mountpoint / "f").touch())

    assert caught.value.errno == errno.ENOSPC
