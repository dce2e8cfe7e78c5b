"""The operation table on real mounts, each served by a process of its own."""

import ctypes
import errno
import fcntl
import json
import os
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import detach
from tests.features import REPOSITORY

pytestmark = pytest.mark.mount

SECONDS = 20.0
LOCKS = ("flock", "setlk", "getlk")
MNT_FORCE = 1
OTHERS = ("fallocate", "lseek", "copy_file_range")

HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
getattr(fcntl, sys.argv[2])(file, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""

INTERRUPTED = """
import ctypes, fcntl, os, signal, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
signal.signal(signal.SIGUSR1, lambda *_: None)
signal.siginterrupt(signal.SIGUSR1, True)
fd = os.open(sys.argv[1], os.O_RDWR)
if sys.argv[2] == "flock":
    outcome = libc.flock(fd, fcntl.LOCK_EX)
else:
    lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0)
    outcome = libc.fcntl(fd, fcntl.F_SETLKW, lock)
print(outcome, ctypes.get_errno(), flush=True)
"""


class Mount:
    """The serving process, its events and the mount."""

    def __init__(self, mountpoint: Path, operations: tuple[str, ...]) -> None:
        """Start it and wait until the kernel has spoken to it."""
        command = [sys.executable, "-m", "tests.unit.fuse.locking_mount", mountpoint, *operations]
        self.path = mountpoint
        self.process = subprocess.Popen(
            [str(word) for word in command],
            cwd=REPOSITORY,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        self.children: list[subprocess.Popen[bytes]] = []
        self.events: list[dict[str, Any]] = []
        self.complaint: str | None = None
        self._buffer = b""
        self.agreed = self.expect("up")

    def read(self, seconds: float = SECONDS) -> bool:
        """Read what the process has to say; False once it has nothing more."""
        out = self.process.stdout
        assert out is not None
        if not select.select([out], [], [], seconds)[0]:
            raise TimeoutError(f"no event; so far {self.events}")
        piece = out.read(65536)
        *lines, self._buffer = (self._buffer + (piece or b"")).split(b"\n")
        self.events += [json.loads(line) for line in lines]
        return bool(piece)

    def expect(self, event: str, **facts: Any) -> dict[str, Any]:
        """Wait for an event with these facts, take it and all before it away, and return it."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            for place, found in enumerate(self.events):
                if found["event"] == event and facts.items() <= found.items():
                    del self.events[: place + 1]
                    return found
            if not self.read():
                assert self.process.stderr is not None
                raise AssertionError(f"ended: {self.process.stderr.read().decode()}")
        raise TimeoutError(f"no {event} with {facts}; so far {self.events}")

    def order(self, order: str) -> None:
        """Ask for something."""
        assert self.process.stdin is not None
        self.process.stdin.write(order.encode() + b"\n")

    def unanswered(self) -> int:
        """Return how many requests wait for an answer."""
        self.order("unanswered")
        return int(self.expect("unanswered")["count"])

    def start(self, program: str, *arguments: str | Path) -> "subprocess.Popen[bytes]":
        """Start a program that uses the mount."""
        child = subprocess.Popen(
            [sys.executable, "-S", "-c", program, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.children.append(child)
        return child

    def close(self) -> None:
        """End everything; what still waits is answered."""
        for child in self.children:
            child.kill()
            child.communicate()
        if self.process.poll() is None:
            self.order("terminate")
        try:
            _, complaints = self.process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            detach(self.path)
            raise
        if self.complaint is None:
            assert complaints == b""
        else:
            assert self.complaint in complaints.decode()


Maker = Callable[..., Mount]


@pytest.fixture
def make_mount(tmp_path: Path) -> Iterator[Maker]:
    """Give a function that mounts with handlers for the operations it is given."""
    made: list[Mount] = []

    def make(*operations: str) -> Mount:
        path = tmp_path / f"mnt{len(made)}"
        path.mkdir()
        made.append(Mount(path, operations))
        return made[-1]

    yield make
    for mount in made:
        mount.close()


@pytest.fixture
def mount(make_mount: Maker) -> Mount:
    """Mount with handlers for everything, with a file to work on."""
    mount = make_mount(*LOCKS, *OTHERS)
    (mount.path / "f").write_bytes(b"x" * 20000)
    return mount


def hold(mount: Mount, call: str) -> "subprocess.Popen[bytes]":
    """Let another process hold the lock."""
    holder = mount.start(HOLDER, mount.path / "f", call)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"locked\n"
    return holder


def lock_of(type_: int, start: int = 0, length: int = 0) -> bytes:
    """Build a struct flock of fcntl(2)."""
    return struct.pack("hhqqi4x", type_, os.SEEK_SET, start, length, 0)


def test_the_kernel_agrees_to_what_is_registered(make_mount: Maker):
    """Locks are asked for where there are handlers, and only there."""
    assert make_mount(*LOCKS).agreed | {"event": ""} == {"event": "", "flock": True, "posix": True}
    assert make_mount("flock").agreed | {"event": ""} == {
        "event": "",
        "flock": True,
        "posix": False,
    }
    assert make_mount().agreed | {"event": ""} == {"event": "", "flock": False, "posix": False}


def test_flock_arrives(mount: Mount):
    """A flock(2) brings operation, handle, owner and process, and its answer goes back."""
    with open(mount.path / "f", "rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        shared = mount.expect("flock", operation=fcntl.LOCK_SH, blocking=True)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        exclusive = mount.expect("flock", operation=fcntl.LOCK_EX, blocking=False)
        fcntl.flock(file, fcntl.LOCK_UN)
        mount.expect("flock", operation=fcntl.LOCK_UN)
    release = mount.expect("release", ends_flock=True)

    assert shared["owner"] == exclusive["owner"] == release["owner"] != 0
    assert shared["fh"] == exclusive["fh"] == release["fh"] != 0
    assert shared["pid"] == os.getpid()
    assert shared["uid"] == os.getuid()


def test_a_conflict_is_refused(mount: Mount):
    """The handler's errno is what LOCK_NB and F_SETLK answer."""
    hold(mount, "flock")
    hold(mount, "lockf")
    with open(mount.path / "f", "r+b") as file:
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(BlockingIOError):
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("call", ["flock", "lockf"])
def test_a_blocked_lock_is_answered_later(mount: Mount, call: str):
    """A waiter gets the lock when the holder goes, and the mount works meanwhile."""
    kind = {"flock": "flock", "lockf": "setlk"}[call]
    holder = hold(mount, call)
    mount.expect(f"{kind} granted")
    waiter = mount.start(HOLDER, mount.path / "f", call)
    mount.expect(kind, pid=waiter.pid, blocking=True)

    assert mount.unanswered() == 1
    (mount.path / "g").write_bytes(b"meanwhile")
    assert (mount.path / "g").read_bytes() == b"meanwhile"
    holder.communicate()
    mount.expect(f"{kind} granted")

    assert waiter.stdout is not None
    assert waiter.stdout.readline() == b"locked\n"
    assert mount.unanswered() == 0


@pytest.mark.parametrize("call", ["flock", "lockf"])
def test_a_signal_ends_a_wait_at_once(mount: Mount, call: str):
    """A signalled waiter gets EINTR within a moment, and its handler is cancelled."""
    kind = {"flock": "flock", "lockf": "setlk"}[call]
    hold(mount, call)
    mount.expect(f"{kind} granted")
    waiter = mount.start(INTERRUPTED, mount.path / "f", call)
    owner = mount.expect(kind, pid=waiter.pid)["owner"]

    started = time.monotonic()
    waiter.send_signal(signal.SIGUSR1)
    output, _ = waiter.communicate(timeout=SECONDS)

    assert output.split() == [b"-1", str(errno.EINTR).encode()]
    assert time.monotonic() - started < 1
    mount.expect(f"{kind} cancelled", owner=owner)
    assert mount.unanswered() == 0


def test_a_signal_with_restart_locks_again(mount: Mount):
    """A handler of signals with SA_RESTART does not show: the kernel asks once more."""
    holder = hold(mount, "flock")
    mount.expect("flock granted")
    waiter = mount.start(INTERRUPTED.replace("True)", "False)"), mount.path / "f", "flock")
    owner = mount.expect("flock", pid=waiter.pid)["owner"]

    waiter.send_signal(signal.SIGUSR1)
    mount.expect("flock cancelled", owner=owner)
    mount.expect("flock", owner=owner)
    holder.communicate()
    output, _ = waiter.communicate(timeout=SECONDS)

    assert output.split()[0] == b"0"


def test_a_killed_waiter_leaves_nothing(mount: Mount):
    """After a kill -9 of waiters no request, handler or handle of theirs is left."""
    holder = hold(mount, "flock")
    mount.expect("flock granted")
    waiters = [mount.start(HOLDER, mount.path / "f", "flock") for _ in range(5)]
    arrived = {mount.expect("flock")["owner"] for _ in waiters}
    assert mount.unanswered() == 5

    for waiter in waiters:
        waiter.kill()
    cancelled = {mount.expect("flock cancelled")["owner"] for _ in waiters}
    for waiter in waiters:
        assert waiter.wait(SECONDS) == -signal.SIGKILL

    assert cancelled == arrived
    assert mount.unanswered() == 0
    holder.communicate()
    with open(mount.path / "f", "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)


def wait_for_a_lock(mount: Mount) -> "subprocess.Popen[bytes]":
    """Let one process hold a lock and another wait for it."""
    hold(mount, "flock")
    mount.expect("flock granted")
    waiter = mount.start(INTERRUPTED, mount.path / "f", "flock")
    mount.expect("flock", pid=waiter.pid)
    return waiter


def terminate(mount: Mount) -> None:
    """Ask the process to end the mount."""
    mount.order("terminate")


def abort(mount: Mount) -> None:
    """Let the kernel cut the connection; for root only."""
    assert ctypes.CDLL(None).umount2(os.fsencode(mount.path), MNT_FORCE) == -1  # busy, but cut off


ENDS = [(terminate, errno.ENOTCONN)] + [(abort, errno.ECONNABORTED)] * (os.geteuid() == 0)


@pytest.mark.parametrize(("end", "number"), ENDS)
def test_the_mount_ends_with_waiters(mount: Mount, end: Callable[[Mount], None], number: int):
    """Ending the mount answers those who wait, and the process ends in good order."""
    waiter = wait_for_a_lock(mount)

    end(mount)
    output, _ = waiter.communicate(timeout=SECONDS)
    down = mount.expect("down")

    assert output.split() == [b"-1", str(number).encode()]
    assert down == {"event": "down", "unanswered": 0, "closed": True}
    assert mount.process.wait(SECONDS) == 0
    if end is abort:
        detach(mount.path)  # libfuse takes a connection that was cut for an unmounted one


def test_a_killed_process_leaves_no_waiter(mount: Mount):
    """When the serving process dies, the kernel answers those who wait."""
    waiter = wait_for_a_lock(mount)

    mount.process.kill()
    output, _ = waiter.communicate(timeout=SECONDS)
    detach(mount.path)

    assert output.split() == [b"-1", str(errno.ECONNABORTED).encode()]


def test_a_lazy_unmount_with_a_waiter(mount: Mount):
    """A waiter on a mount that was taken out of the tree still waits, and still gets its lock."""
    holder = hold(mount, "flock")
    mount.expect("flock granted")
    waiter = mount.start(HOLDER, mount.path / "f", "flock")
    mount.expect("flock", pid=waiter.pid)

    detach(mount.path)
    holder.communicate()

    assert waiter.stdout is not None
    assert waiter.stdout.readline() == b"locked\n"
    waiter.communicate()
    mount.expect("down")


def test_ranges_arrive(mount: Mount):
    """Locks of fcntl(2) arrive with type, range and whether they wait; 0 is up to the end."""
    with open(mount.path / "f", "r+b") as file:
        fcntl.fcntl(file, fcntl.F_SETLK, lock_of(fcntl.F_WRLCK, 10, 20))
        written = mount.expect("setlk", type=fcntl.F_WRLCK, start=10, length=20, blocking=False)
        fcntl.fcntl(file, fcntl.F_SETLKW, lock_of(fcntl.F_RDLCK, 2**33))
        mount.expect("setlk", type=fcntl.F_RDLCK, start=2**33, length=0, blocking=True)
        fcntl.fcntl(file, fcntl.F_SETLK, lock_of(fcntl.F_UNLCK))
        mount.expect("setlk", type=fcntl.F_UNLCK, start=0, length=0)
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, lock_of(fcntl.F_WRLCK, 1, 1))
        by_description = mount.expect("setlk", type=fcntl.F_WRLCK, start=1, length=1)

    assert written["owner"] != by_description["owner"]


def test_getlk_names_the_holder(mount: Mount):
    """F_GETLK answers the handler's lock, or that there is none."""
    with open(mount.path / "f", "r+b") as file:
        held = fcntl.fcntl(file, fcntl.F_GETLK, lock_of(fcntl.F_WRLCK, 5, 6))
        free = fcntl.fcntl(file, fcntl.F_GETLK, lock_of(fcntl.F_RDLCK, 1000, 6))

    mount.expect("getlk", type=fcntl.F_WRLCK, start=5, length=6)
    fields = struct.unpack("hhqqi4x", held)
    assert fields == (fcntl.F_WRLCK, os.SEEK_SET, 7, 11, mount.process.pid)
    assert struct.unpack("hhqqi4x", free)[0] == fcntl.F_UNLCK


def test_flush_has_the_owner(mount: Mount):
    """A close(2) names whose locks of fcntl(2) end: the same as the lock did."""
    with open(mount.path / "f", "r+b") as file, open(mount.path / "f", "r+b") as other:
        fcntl.lockf(file, fcntl.LOCK_EX)
        locked = mount.expect("setlk")
        other.close()  # any close of the file by the process ends its locks
        flush = mount.expect("flush")
        release = mount.expect("release")

    assert flush["owner"] == locked["owner"] != 0
    assert flush["fh"] == release["fh"] != locked["fh"]
    assert not release["ends_flock"]


def test_a_defect_costs_one_errno(mount: Mount):
    """A handler that raises anything answers EIO, and the mount goes on."""
    mount.complaint = "EIO: unexpected failure"
    with open(mount.path / "f", "r+b") as file:
        with pytest.raises(OSError, match="Input/output") as caught:
            fcntl.fcntl(file, fcntl.F_SETLK, lock_of(fcntl.F_WRLCK, 2**40, 1))
        fcntl.flock(file, fcntl.LOCK_EX)

    assert caught.value.errno == errno.EIO


def test_the_other_operations_arrive(mount: Mount):
    """Fallocate, lseek and copy_file_range have handlers, and their answers go back."""
    with open(mount.path / "f", "r+b") as file, open(mount.path / "g", "wb") as target:
        os.posix_fallocate(file.fileno(), 100, 50)
        mount.expect("fallocate", mode=0, offset=100, length=50)
        assert os.lseek(file.fileno(), 5000, os.SEEK_DATA) == 8192
        mount.expect("lseek", offset=5000, whence=os.SEEK_DATA)
        assert os.lseek(file.fileno(), 100, os.SEEK_HOLE) == 4096
        assert os.copy_file_range(file.fileno(), target.fileno(), 9, 2, 1) == 3
        copied = mount.expect("copy_file_range", offset=2, length=9, target_offset=1)

    assert copied["source"] != copied["target"]


def test_without_handlers_the_kernel_does_as_before(make_mount: Maker):
    """Nothing is registered, nothing arrives: local locks, no fallocate, no holes, plain copies."""
    mount = make_mount()
    (mount.path / "f").write_bytes(b"x" * 20000)
    libc = ctypes.CDLL(None, use_errno=True)
    with open(mount.path / "f", "r+b") as file, open(mount.path / "f", "r+b") as other:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        size = ctypes.c_long(50)
        assert libc.fallocate(file.fileno(), 0, ctypes.c_long(0), size) == -1
        assert ctypes.get_errno() == errno.EOPNOTSUPP
        assert os.lseek(file.fileno(), 5000, os.SEEK_DATA) == 5000
        assert os.lseek(file.fileno(), 0, os.SEEK_HOLE) == 20000
        assert os.copy_file_range(file.fileno(), other.fileno(), 9, 2, 100) == 9
    mount.expect("release")

    assert not {found["event"] for found in mount.events} & {*LOCKS, *OTHERS}


def test_many_requests_at_once(mount: Mount):
    """More waiters than pyfuse3 has tasks leave the mount usable, and all get their turn."""
    program = (
        "import fcntl, sys, threading\n"
        "def work():\n"
        "    with open(sys.argv[1], 'rb') as file:\n"
        "        fcntl.flock(file, fcntl.LOCK_EX)\n"
        "threads = [threading.Thread(target=work) for _ in range(150)]\n"
        "[thread.start() for thread in threads]\n"
        "[thread.join() for thread in threads]\n"
    )
    holder = hold(mount, "flock")
    crowd = mount.start(program, mount.path / "f")
    deadline = time.monotonic() + SECONDS
    while mount.unanswered() < 150:
        assert time.monotonic() < deadline

    (mount.path / "g").write_bytes(b"meanwhile")
    assert (mount.path / "g").read_bytes() == b"meanwhile"
    holder.communicate()
    crowd.communicate(timeout=SECONDS)

    assert crowd.returncode == 0
    assert mount.unanswered() == 0
