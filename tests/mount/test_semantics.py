"""Statements of docs/SEMANTICS.md that only a real kernel can show."""

import errno
import fcntl
import mmap
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from azfilesfs.config.exit_codes import ExitCode
from tests.conftest import fuse_mounts_below
from tests.mount.harness import COMMAND, Emulator, Mount, eventually, run

pytestmark = [pytest.mark.mount]

NewMount = Callable[..., Mount]
PAGE = mmap.PAGESIZE


def refused(*numbers: int) -> Any:
    """Expect one of these errnos."""
    names = "|".join(os.strerror(number) for number in numbers)
    return pytest.raises(OSError, match=names)


# -- writing -------------------------------------------------------------------------------------


@pytest.mark.semantics("S2.4")
@pytest.mark.parametrize("how", ["msync", "fsync"])
def test_mapping_is_durable(new_mount: NewMount, how: str):
    """What was written to a shared mapping is on the service after msync, and after fsync."""
    here, there = new_mount("others"), new_mount("others")
    name = f"mapped by {how}"
    (here.path / name).write_bytes(bytes(3 * PAGE))
    with (here.path / name).open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[PAGE : PAGE + 5] = b"12345"
        if how == "msync":
            mapped.flush()
        else:
            os.fsync(file.fileno())

        assert (there.path / name).read_bytes()[PAGE : PAGE + 6] == b"12345\0"


@pytest.mark.semantics("S2.4")
def test_mapping_that_outlives_its_file(new_mount: NewMount):
    """What was written to a mapping after the last close is uploaded when the mapping ends."""
    here, there = new_mount("others"), new_mount("others")
    (here.path / "outlived").write_bytes(bytes(PAGE))
    with (here.path / "outlived").open("r+b") as file:
        mapped = mmap.mmap(file.fileno(), 0)
    mapped[:5] = b"12345"
    mapped.close()

    eventually(lambda: (there.path / "outlived").read_bytes()[:5] == b"12345", "it is uploaded")


@pytest.mark.semantics("S2.7")
def test_appenders(folder: Path):
    """Several processes that append to one file on one mount lose no line of each other's."""
    script = (
        "import os,sys\n"
        "f = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY | os.O_APPEND)\n"
        "for n in range(100): os.write(f, f'{sys.argv[2]} {n:04}\\n'.encode())\n"
        "os.close(f)\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", script, folder / "log", str(number)])
        for number in range(4)
    ]
    assert [writer.wait(120) for writer in writers] == [0] * 4

    lines = (folder / "log").read_text().splitlines()
    assert sorted(lines) == [f"{writer} {n:04}" for writer in range(4) for n in range(100)]


@pytest.mark.semantics("S2.9")
def test_cut_and_grown_again(folder: Path):
    """The kernel's pages and the service agree on zeros where a file was cut and grown again."""
    path = folder / "file"
    path.write_bytes(b"x" * 3 * PAGE)
    with path.open("r+b") as file:
        assert file.read() == b"x" * 3 * PAGE
        file.truncate(100)
        file.truncate(3 * PAGE)
        file.seek(0)
        assert file.read() == b"x" * 100 + bytes(3 * PAGE - 100)
    assert path.read_bytes() == b"x" * 100 + bytes(3 * PAGE - 100)


# -- locks ---------------------------------------------------------------------------------------


LOCKER = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
try:
    if sys.argv[2] == "flock":
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("held back")
else:
    print("locked")
"""


@pytest.mark.semantics("S6.1")
@pytest.mark.parametrize("kind", ["flock", "fcntl"])
def test_locks_hold_on_all_mounts(new_mount: NewMount, kind: str):
    """Another process is held back on the same mount and on another one, until the lock is gone."""
    here, there = new_mount("others"), new_mount("others")
    name = f"locked by {kind}"
    (here.path / name).write_bytes(b"content")
    with (here.path / name).open("r+b") as file:
        if kind == "flock":
            fcntl.flock(file, fcntl.LOCK_EX)
        else:
            fcntl.lockf(file, fcntl.LOCK_EX)
        same, other = (
            run(sys.executable, "-c", LOCKER, mount.path / name, kind).stdout.strip()
            for mount in (here, there)
        )

    assert (same, other) == ("held back", "held back")
    for mount in (here, there):
        locker = run(sys.executable, "-c", LOCKER, mount.path / name, kind)
        assert locker.stdout.strip() == "locked"


# -- names ---------------------------------------------------------------------------------------


@pytest.mark.semantics("S7.1", "S7.2")
def test_unlinked_file(new_mount: NewMount):
    """A file without a name is read and written on; the other mount does not see it."""
    here, there = new_mount("others"), new_mount("others")
    with (here.path / "unlinked").open("w+b", buffering=0) as file:
        file.write(b"content")
        os.fsync(file.fileno())
        assert (there.path / "unlinked").read_bytes() == b"content"

        (here.path / "unlinked").unlink()

        assert not (here.path / "unlinked").exists()
        with refused(errno.ENOENT):
            (there.path / "unlinked").read_bytes()
        file.write(b" and more")
        file.seek(0)
        assert file.read() == b"content and more"
        assert os.fstat(file.fileno()).st_size == 16


@pytest.mark.semantics("S8.1", "S8.2")
def test_another_spelling(folder: Path):
    """Any spelling finds the file, the listing shows the stored one, and absence is not kept."""
    assert not (folder / "later").exists()
    (folder / "LATER").write_text("content")

    for spelling in ("later", "Later", "LATER"):
        assert (folder / spelling).read_text() == "content"
    assert os.listdir(folder) == ["LATER"]
    (folder / "later").unlink()
    assert not (folder / "LATER").exists()
    assert os.listdir(folder) == []


@pytest.mark.semantics("S8.2")
def test_name_made_elsewhere(new_mount: NewMount):
    """A name whose absence was seen is found, in any spelling, soon after it was made elsewhere."""
    here, there = new_mount("others"), new_mount("others")
    assert not (there.path / "made elsewhere").exists()
    (here.path / "made elsewhere").write_text("content")

    eventually((there.path / "MADE elsewhere").exists, "it is found", 10)


@pytest.mark.semantics("S8.3")
def test_rename_of_case(common: Mount, folder: Path):
    """Through the kernel it returns 0 and does nothing; ``azfilesfs mv`` does it."""
    (folder / "readme").write_text("content")

    (folder / "readme").rename(folder / "README")
    assert os.listdir(folder) == ["readme"]

    common.command("mv", folder / "readme", folder / "README")
    eventually(lambda: os.listdir(folder) == ["README"], "the new spelling is shown", 10)
    assert (folder / "README").read_text() == "content"


@pytest.mark.semantics("S5.2")
def test_rename_without_replacing(folder: Path):
    """``mv -n`` and ``renameat2`` with RENAME_NOREPLACE leave the target alone."""
    (folder / "one").write_text("1")
    (folder / "two").write_text("2")
    run("mv", "-n", folder / "one", folder / "two", expect=None)
    assert (folder / "two").read_text() == "2"

    # -f against -n: the plain rename replaces.
    run("mv", "-f", folder / "one", folder / "two")
    assert (folder / "two").read_text() == "1"
    assert os.listdir(folder) == ["two"]


# -- what there is not ---------------------------------------------------------------------------


@pytest.mark.semantics("S11.3")
def test_what_the_service_cannot_keep(folder: Path):
    """Hard links and special files are EPERM, extended attributes are not supported."""
    file = folder / "file"
    file.write_text("content")
    with refused(errno.EPERM):
        os.link(file, folder / "link")
    with refused(errno.EPERM):
        os.mkfifo(folder / "pipe")
    with refused(errno.EPERM), socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "socket"))
    with refused(errno.ENOTSUP):
        os.setxattr(file, "user.x", b"1")
    with refused(errno.ENOTSUP):
        os.getxattr(file, "user.x")

    assert os.listdir(folder) == ["file"]
    assert file.stat().st_nlink == 1
    assert file.stat().st_blocks == 1


@pytest.mark.semantics("S11.1", "S11.2")
def test_modes(folder: Path):
    """chmod succeeds and changes nothing; the owner is the mounting user."""
    file = folder / "file"
    file.write_text("content")
    file.chmod(0o400)
    os.chown(file, -1, -1)

    assert stat.S_IMODE(file.stat().st_mode) == 0o755
    assert (file.stat().st_uid, file.stat().st_gid) == (os.getuid(), os.getgid())
    file.write_text("changed")
    assert file.read_text() == "changed"


# -- stopping ------------------------------------------------------------------------------------


def is_visible(mount: Mount) -> bool:
    """Tell whether the mount is in the tree."""
    return bool(fuse_mounts_below(mount.path))


def held_open(mount: Mount, name: str, content: bytes) -> int:
    """Write to a file and leave it open."""
    descriptor = os.open(mount.path / name, os.O_CREAT | os.O_RDWR)
    os.write(descriptor, content)
    return descriptor


@pytest.mark.semantics("S13.1", "S13.3")
def test_umount_sends_and_waits(new_mount: NewMount):
    """``azfilesfs umount`` returns when what was unsent is on the service."""
    here, there = new_mount("others", "--drain-timeout", "6"), new_mount("others")
    descriptor = held_open(here, "unsent at umount", b"content")

    here.umount()

    assert not is_visible(here)
    assert (there.path / "unsent at umount").read_bytes() == b"content"
    with refused(errno.ENOTCONN, errno.ECONNABORTED, errno.EIO, errno.ENODEV):
        os.close(descriptor)


@pytest.mark.semantics("S13.2")
def test_fusermount_sends_without_waiting(new_mount: NewMount):
    """``fusermount3 -u`` frees the mountpoint at once, and the daemon ends when it has sent."""
    here, there = new_mount("others"), new_mount("others")
    pid = here.pid()
    (here.path / "before fusermount").write_text("content")

    run("fusermount3", "-u", here.path)
    here.is_mounted = False

    assert not is_visible(here)
    eventually(lambda: not Path(f"/proc/{pid}").exists(), "the daemon ends")
    assert here.unsent() == []
    assert (there.path / "before fusermount").read_text() == "content"


@pytest.mark.semantics("S13.3")
def test_sigterm_with_open_files(new_mount: NewMount):
    """The mountpoint is free at once; open files are served until they are closed."""
    here, there = new_mount("others"), new_mount("others")
    pid = here.pid()
    descriptor = held_open(here, "open at SIGTERM", b"before, ")

    os.kill(pid, signal.SIGTERM)
    eventually(lambda: not is_visible(here), "the mount is out of the tree")
    here.is_mounted = False
    os.write(descriptor, b"after")
    assert os.pread(descriptor, 100, 0) == b"before, after"
    os.close(descriptor)

    eventually(lambda: not Path(f"/proc/{pid}").exists(), "the daemon ends")
    assert (there.path / "open at SIGTERM").read_bytes() == b"before, after"


@pytest.mark.semantics("S13.4")
def test_what_cannot_be_sent_stays(new_mount: NewMount, emulator: Emulator):
    """The exit status says that something is left, and it is listed for recovery."""
    here = new_mount("others", "--drain-timeout", "3")
    descriptor = held_open(here, "cannot be sent", b"content")
    emulator.plan({"path": "others/cannot be sent", "cut": "before"})
    try:
        done = run(COMMAND, "umount", here.path, environment=here.xdg, expect=None)
    finally:
        emulator.heal()
    here.is_mounted = False
    with refused(errno.ENOTCONN, errno.ECONNABORTED, errno.EIO, errno.ENODEV):
        os.close(descriptor)

    assert done.returncode == ExitCode.UNSENT_DATA
    assert "cannot be sent" in here.command("recover", "list").stdout
