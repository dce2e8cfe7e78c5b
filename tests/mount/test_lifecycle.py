"""Beginning and end of a mount: into the background, draining, crashes, signals."""

import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from azfilesfs.config.exit_codes import ExitCode
from azfilesfs.daemon.processes import Process, start_time
from tests.conftest import fuse_mounts_below
from tests.mount.harness import COMMAND, Emulator, Mount, eventually, mounted, run

pytestmark = [pytest.mark.mount]

NewMount = Callable[..., Mount]


def process_of(made: Mount) -> Process:
    """Return the process that serves a mount."""
    pid = made.pid()
    started = start_time(pid)
    assert started is not None
    return Process(pid, started)


def is_visible(made: Mount) -> bool:
    """Tell whether the mount stands in the tree."""
    return made.path in fuse_mounts_below(made.path)


def umount_beside(made: Mount) -> subprocess.Popen[str]:
    """Start to unmount, while the test goes on."""
    made.is_mounted = False
    return subprocess.Popen(
        [COMMAND, "umount", made.path],
        env=os.environ | made.xdg,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def kill(made: Mount) -> None:
    """Let the daemon die without a chance to do anything."""
    process = process_of(made)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(60)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for a command; return its exit status and what it said."""
    _, said = process.communicate(timeout=60)
    return process.returncode, said


def test_the_command_ends_when_the_mount_can_be_used(new_mount: NewMount):
    """After ``mount`` the mount is there at once, served by a process in the background."""
    made = new_mount()
    assert is_visible(made)
    (made.path / "f").write_text("at once")

    daemon = Path(f"/proc/{made.pid()}")
    assert os.getsid(made.pid()) == made.pid()
    assert (daemon / "cwd").resolve() == Path("/")
    assert (daemon / "fd" / "0").resolve() == Path("/dev/null")
    limits = (daemon / "limits").read_text()
    assert "Max core file size        0                    0" in limits
    assert "AccountKey" not in (daemon / "cmdline").read_text()


def test_umount_leaves_nothing_behind(new_mount: NewMount):
    """After ``umount`` the process is gone, the place empty, and nothing is unsent."""
    made = new_mount()
    process = process_of(made)
    (made.path / "f").write_text("kept")
    made.umount()

    assert not process.is_alive
    assert not is_visible(made)
    assert os.listdir(made.path) == []
    assert made.unsent() == []
    assert list((made.home / "run").rglob("*.json")) == []
    made.mount()
    assert (made.path / "f").read_text() == "kept"


def test_open_files_are_served_until_they_are_closed(new_mount: NewMount):
    """While a file is open ``umount`` waits: the mount is out of the tree, the file still works."""
    made = new_mount()
    with (made.path / "late").open("w") as file:
        file.write("before ")
        file.flush()
        unmounting = umount_beside(made)
        eventually(lambda: not is_visible(made), "the mount is detached")
        file.write("after")
        file.flush()
        os.fsync(file.fileno())
        file.write(" close")
        assert unmounting.poll() is None
    assert ended(unmounting)[0] == 0

    made.mount()
    assert (made.path / "late").read_text() == "before after close"


def test_files_that_stay_open_are_sent_all_the_same(new_mount: NewMount):
    """When the time is nearly up a file that nobody closes is sent as it is, and the mount ends."""
    made = new_mount("others", "--drain-timeout", "3")
    file = (made.path / "stays open").open("wb")
    file.write(b"x" * 100_000)
    file.flush()
    assert ended(umount_beside(made))[0] == 0
    with pytest.raises(OSError, match=r"not connected|abort"):
        os.fsync(file.fileno())
    with pytest.raises(OSError):  # noqa: PT011  # whichever errno the kernel has for it
        file.close()

    made.mount()
    assert (made.path / "stays open").read_bytes() == b"x" * 100_000


def test_what_cannot_be_sent_is_said_and_kept(new_mount: NewMount, emulator: Emulator):
    """If the service refuses until the end, the exit status says so and the bytes are kept."""
    made = new_mount("others", "--drain-timeout", "3")
    file = (made.path / "unsendable").open("wb", buffering=0)
    file.write(b"precious")
    emulator.plan({"path": "others/unsendable*", "cut": "before"})
    try:
        unmounting = umount_beside(made)
        code, said = ended(unmounting)
    finally:
        emulator.heal()
        with pytest.raises(OSError):  # noqa: PT011  # the mount is gone, whichever errno says so
            file.close()

    assert code == ExitCode.UNSENT_DATA
    assert "1 file(s) could not be sent" in said
    assert "azfilesfs recover list" in said
    (kept,) = made.unsent()
    assert kept.read_bytes() == b"precious"


def test_fusermount_drains_too(new_mount: NewMount):
    """``fusermount3 -u`` ends the mount in the same order; only it does not wait."""
    made = new_mount()
    process = process_of(made)
    (made.path / "f").write_text("x")
    run("fusermount3", "-u", made.path)
    made.is_mounted = False

    assert process.wait(60)
    assert not is_visible(made)
    assert made.unsent() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_does_not_wait_for_open_files(new_mount: NewMount, number: int):
    """The first signal serves open files on, the second sends what there is and ends."""
    made = new_mount("others", "--drain-timeout", "100")
    process = process_of(made)
    file = (made.path / f"hurried {number}").open("wb", buffering=0)
    file.write(b"in time")
    os.kill(process.pid, number)
    eventually(lambda: not is_visible(made), "the mount is detached")
    assert process.is_alive
    os.kill(process.pid, number)
    assert process.wait(30)
    made.is_mounted = False
    with pytest.raises(OSError):  # noqa: PT011  # the mount is gone, whichever errno says so
        file.close()

    made.mount()
    assert (made.path / f"hurried {number}").read_bytes() == b"in time"


def test_a_killed_daemon_leaves_a_place_to_mount_on(new_mount: NewMount):
    """After ``kill -9`` the next mount detaches the dead one by itself."""
    made = new_mount()
    (made.path / "f").write_text("survives")
    kill(made)
    with pytest.raises(OSError, match=r"not connected|abort"):
        os.listdir(made.path)

    made.mount()
    assert (made.path / "f").read_text() == "survives"
    assert len(fuse_mounts_below(made.path)) == 1


def test_unmounting_a_dead_mount(new_mount: NewMount):
    """``umount`` detaches a dead mount, and says whether its process left unsent data."""
    made = new_mount()
    kill(made)
    made.umount()
    assert not is_visible(made)

    made.mount()
    file = (made.path / "dirty").open("wb", buffering=0)
    file.write(b"staged")
    kill(made)
    done = made.umount(expect=ExitCode.UNSENT_DATA)
    assert not is_visible(made)
    assert "1 unsent file(s)" in done.stderr
    with pytest.raises(OSError):  # noqa: PT011  # the mount is gone, whichever errno says so
        file.close()

    assert [path.read_bytes() for path in made.unsent()] == [b"staged"]


def test_umount_of_nothing(new_mount: NewMount, tmp_path: Path):
    """What is not mounted cannot be unmounted, which is said in one line."""
    made = new_mount()
    done = made.command("umount", tmp_path, expect=ExitCode.NOT_MOUNTED)

    assert done.stderr == f"azfilesfs: no azfilesfs mount on {tmp_path}\n"
    assert done.stdout == ""


def test_umount_waits_no_longer_than_it_is_told(new_mount: NewMount):
    """With ``--timeout`` the command gives up waiting; the mount goes on draining."""
    made = new_mount("others", "--drain-timeout", "60")
    process = process_of(made)
    with (made.path / "waited for").open("w"):
        done = made.umount("--timeout", "0.1", expect=ExitCode.STILL_DRAINING)
        assert "still being sent" in done.stderr
        assert process.is_alive

    assert process.wait(60)


def test_one_mountpoint_has_one_mount(new_mount: NewMount):
    """A mountpoint that is in use is refused."""
    made = new_mount()
    done = made.mount(expect=ExitCode.MOUNTPOINT_IN_USE)
    made.is_mounted = True

    assert "is in use: devstoreaccount1/others is mounted there" in done.stderr


def test_a_draining_mount_keeps_its_place(new_mount: NewMount):
    """While a detached mount still serves open files, its directories are not given to another."""
    made = new_mount("others", "--drain-timeout", "60")
    with (made.path / "busy").open("w"):
        unmounting = umount_beside(made)
        eventually(lambda: not is_visible(made), "the mount is detached")
        done = made.mount(expect=ExitCode.MOUNTPOINT_IN_USE)
        assert "another azfilesfs" in done.stderr
    assert ended(unmounting)[0] == 0


def test_two_mounts_of_one_share(new_mount: NewMount):
    """Two mounts live side by side, each with its own directories, and see each other's files."""
    one, other = new_mount("others"), new_mount("others")
    (one.path / "shared").write_text("from one")

    eventually(lambda: (other.path / "shared").exists(), "the other mount sees the file")
    assert (other.path / "shared").read_text() == "from one"
    assert one.pid() != other.pid()


def test_in_the_foreground(emulator: Emulator, tmp_path: Path):
    """With ``--foreground`` the process stays, tells the service manager, and ends by a signal."""
    made = Mount(tmp_path / "mnt", tmp_path / "home", "others", emulator.environment)
    made.path.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0azfilesfs test {os.getpid()}")
        manager.settimeout(60)
        process = subprocess.Popen(
            [COMMAND, "mount", "--foreground", "--log-level", "info", made.target, made.path],
            env=os.environ | made.xdg | {"NOTIFY_SOCKET": f"@azfilesfs test {os.getpid()}"},
            stderr=subprocess.PIPE,
            text=True,
        )
        ready = manager.recv(1000).decode()
        assert "READY=1\n" in ready
        assert f"MAINPID={process.pid}" in ready
        (made.path / "f").write_text("x")
        process.send_signal(signal.SIGINT)
        assert manager.recv(1000).decode().startswith("STOPPING=1")
        _, said = process.communicate(timeout=60)

    assert process.returncode == 0
    assert "is mounted" in said
    assert not is_visible(made)


def test_interrupted_before_the_mount(emulator: Emulator, tmp_path: Path):
    """A signal while the share has not answered yet ends the start at once."""
    made = Mount(tmp_path / "mnt", tmp_path / "home", "third", emulator.environment)
    made.path.mkdir()
    emulator.plan({"operation": "GetDirectoryProperties", "path": "third*", "delay": 30})
    try:
        emulator.reset()
        process = subprocess.Popen(
            [COMMAND, "mount", "--foreground", made.target, made.path],
            env=os.environ | made.xdg,
            stderr=subprocess.PIPE,
            text=True,
        )
        eventually(
            lambda: list((made.home / "run").rglob("*.json")) or process.poll(),
            "the daemon has registered itself",
        )
        # It handles signals before it asks the share, which is after it has registered itself.
        status = eventually(
            lambda: (
                next((made.home / "state").rglob("session"), None)
                or next((made.home / "state").rglob("staging"), None)
            ),
            "the layers are built",
        )
        assert status
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=20)
    finally:
        emulator.heal()

    assert process.returncode == ExitCode.INTERRUPTED
    assert said == "azfilesfs: interrupted before the mount was made\n"


def test_every_mount_ends_by_itself(emulator: Emulator, tmp_path: Path):
    """The helper of these tests itself: a mount ends with its block."""
    with mounted(tmp_path / "place", emulator, "others") as made:
        assert is_visible(made)

    assert not is_visible(made)
