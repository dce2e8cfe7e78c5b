"""``--single-writer``: the kernel collects what programs write, and keeps sizes and times."""

import errno
import inspect
import json
import mmap
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from azfilesfs.config.exit_codes import ExitCode
from tests import features
from tests.mount import test_programs as programs
from tests.mount.harness import Emulator, Mount, eventually, mounted, run
from tests.mount.test_random_operations import compare

pytestmark = [pytest.mark.mount]

NewMount = Callable[..., Mount]
SHARE = "third"
PAGE = 4096
PAGES = 512
WRITES = re.compile(r'^azfilesfs_fuse_operation_seconds_count{operation="write"} (\S+)$', re.M)


@pytest.fixture(scope="module")
def metrics() -> str:
    """Find an address for the metrics of the mount."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(scope="module")
def single(
    emulator: Emulator, tmp_path_factory: pytest.TempPathFactory, metrics: str
) -> Iterator[Mount]:
    """Mount a share for its single writer."""
    if reason := features.fuse_missing():
        pytest.skip(reason)
    place = tmp_path_factory.mktemp("single")
    with mounted(place, emulator, SHARE, "--single-writer", "--metrics", metrics) as made:
        yield made


@pytest.fixture
def place(single: Mount, request: pytest.FixtureRequest) -> Path:
    """Make an empty directory there."""
    path = single.path / request.node.name.replace("/", "-")[:80]
    path.mkdir()
    return path


@pytest.fixture
def other(new_mount: NewMount) -> Mount:
    """Mount the same share elsewhere, as anybody does."""
    return new_mount(SHARE)


def there(other: Mount, single: Mount, path: Path) -> Path:
    """Return where a path shows elsewhere."""
    return other.path / path.relative_to(single.path)


def writes(metrics: str) -> float:
    """Return how many pieces the kernel has handed over."""
    with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=30) as answer:
        found = WRITES.search(answer.read().decode())
    return float(found[1]) if found else 0.0


def failure(call: Callable[[int], None], descriptor: int) -> int | None:
    """Return the errno that a call fails with."""
    try:
        call(descriptor)
    except OSError as error:
        return error.errno
    return None


def shown(path: Path) -> tuple[int, int, int]:
    """Return what stat shows of size and times."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


@pytest.mark.semantics("S17.1")
def test_pages_are_collected(single: Mount, place: Path, metrics: str, other: Mount):
    """So many small writes reach the filesystem in few pieces, and others see them after close."""
    before = writes(metrics)
    run("dd", "if=/dev/zero", f"of={place / 'f'}", f"bs={PAGE}", f"count={PAGES}", "status=none")

    # The kernel hands over at most 1 MiB at once.
    assert 1 <= writes(metrics) - before <= PAGES / 16
    assert there(other, single, place / "f").read_bytes() == bytes(PAGE * PAGES)


@pytest.mark.semantics("S17.1")
@pytest.mark.parametrize("end", ["fsync", "close"])
def test_fsync_and_close_are_durable(single: Mount, place: Path, other: Mount, end: str):
    """What they return on is read by others, whole, and nothing of it is still local."""
    content = os.urandom(3 * PAGE + 5)
    with (place / "f").open("wb", buffering=0) as file:
        for start in range(0, len(content), 100):
            file.write(content[start : start + 100])
        if end == "fsync":
            os.fsync(file)
            assert there(other, single, place / "f").read_bytes() == content
    assert there(other, single, place / "f").read_bytes() == content
    assert single.unsent() == []


@pytest.mark.semantics("S17.1")
@pytest.mark.parametrize("size", [0, 100, 3 * PAGE])
def test_sizes_and_times_stay(single: Mount, place: Path, other: Mount, size: int):
    """fstat before the close, stat after it, and stat elsewhere show the same."""
    path = place / "f"
    path.write_bytes(b"old")
    with path.open("r+b", buffering=0) as file:
        file.truncate(0)
        file.write(bytes(size))
        found = os.fstat(file.fileno())
    before = (found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    assert before[0] == size
    assert before[1] % 100 == 0
    assert shown(path) == before
    assert shown(there(other, single, path)) == before
    os.utime(path, ns=(10**18, 10**18 + 100))
    assert path.stat().st_mtime_ns == 10**18 + 100
    time_there = eventually(
        lambda: there(other, single, path).stat().st_mtime_ns == 10**18 + 100, "it shows elsewhere"
    )
    assert time_there


@pytest.mark.semantics("S17.1")
def test_appending(single: Mount, place: Path, other: Mount):
    """Appenders of this mount do not overwrite each other, and ``>>`` goes to the end."""
    path = place / "f"
    program = "import sys\nfor n in range(200):\n open(sys.argv[1], 'a').write(sys.argv[2] * 7)"
    running = [subprocess.Popen([sys.executable, "-c", program, path, x]) for x in "ab"]
    for process in running:
        assert process.wait(120) == 0
    run("sh", "-c", 'echo end >> "$0"', path)

    found = there(other, single, path).read_text()
    assert (found.count("a"), found.count("b"), len(found)) == (1400, 1400, 2804)
    assert found.endswith("end\n")


@pytest.mark.semantics("S17.1")
def test_partial_pages_and_truncation(single: Mount, place: Path, other: Mount):
    """A part of a page is written through a descriptor that cannot read; what is cut is gone."""
    path = place / "f"
    path.write_bytes(b"x" * (2 * PAGE))
    single.umount()
    single.mount()
    descriptor = os.open(path, os.O_WRONLY)  # the kernel reads through it all the same
    os.pwrite(descriptor, b"new", PAGE + 10)
    os.ftruncate(descriptor, PAGE + 20)
    os.ftruncate(descriptor, PAGE + 30)
    os.close(descriptor)

    expected = b"x" * (PAGE + 10) + b"new" + b"x" * 7 + bytes(10)
    assert path.read_bytes() == expected
    assert there(other, single, path).read_bytes() == expected


@pytest.mark.semantics("S17.1")
def test_renaming_costs_no_more(single: Mount, place: Path, other: Mount, emulator: Emulator):
    """The kernel brings its times with every rename and removal; they cost no request.

    So the change time here is the kernel's, and the service has one of about the same moment.
    """
    (place / "f").write_bytes(b"content")
    emulator.reset()
    (place / "f").rename(place / "g")
    here, elsewhere = shown(place / "g"), shown(there(other, single, place / "g"))
    assert here[:2] == elsewhere[:2]
    assert abs(here[2] - elsewhere[2]) < 10**9
    (place / "g").unlink()
    asked = emulator.requests()
    assert "SetFileProperties" not in asked, asked


@pytest.mark.semantics("S17.1")
def test_mappings(single: Mount, place: Path, other: Mount):
    """msync makes a shared mapping durable; what follows is there when the mapping has ended."""
    path = place / "f"
    path.write_bytes(bytes(3 * PAGE))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
        mapping[5:10] = b"first"
        mapping.flush()
        assert there(other, single, path).read_bytes()[5:10] == b"first"
        mapping[PAGE : PAGE + 6] = b"second"
    assert path.read_bytes()[PAGE : PAGE + 6] == b"second"
    eventually(
        lambda: there(other, single, path).read_bytes()[PAGE : PAGE + 6] == b"second",
        "what was written at last is there",
    )


@pytest.mark.semantics("S17.2")
def test_a_kill_loses_what_the_kernel_has(new_mount: NewMount):
    """What was not handed over dies with the daemon; what was synced does not."""
    made = new_mount(SHARE, "--single-writer")
    path = made.path / "killed-alone"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.write(descriptor, b"synced")
    os.fsync(descriptor)
    os.write(descriptor, b" and lost")
    os.kill(made.pid(), signal.SIGKILL)
    assert failure(os.close, descriptor)
    made.umount(expect=None)

    made.mount()
    assert path.read_bytes() == b"synced"
    assert made.unsent() == []


@pytest.mark.semantics("S17.2")
def test_a_full_staging_area_is_told_by_fsync(new_mount: NewMount, emulator: Emulator):
    """A write that there is no room for succeeds; the fsync fails."""
    made = new_mount(SHARE, "--single-writer", "--staging-limit=64K", "--operation-timeout=3")
    emulator.plan({"operation": "CreateFile", "status": 403, "code": "AuthorizationFailure"})
    try:
        descriptor = os.open(made.path / "full", os.O_WRONLY | os.O_CREAT)
        assert os.write(descriptor, bytes(256 * 1024)) == 256 * 1024
        assert failure(os.fsync, descriptor) in {errno.ENOSPC, errno.EIO}
        assert failure(os.close, descriptor)
    finally:
        emulator.heal()


@pytest.mark.semantics("S17.3")
def test_changes_elsewhere_of_closed_files(single: Mount, place: Path, other: Mount):
    """Who opens sees what was closed elsewhere: longer, shorter or replaced; and appends to it."""
    path = place / "f"
    away = there(other, single, path)
    path.write_text("1\n")
    for number in range(2, 6):
        run("sh", "-c", f'echo {number} >> "$0"', away if number % 2 else path)
    assert path.read_text() == away.read_text() == "1\n2\n3\n4\n5\n"

    away.write_text("short")
    assert path.read_text() == "short"
    with path.open("rb") as file:
        assert os.fstat(file.fileno()).st_size == 5
    away.write_text("same!")
    assert path.read_text() == "same!"
    away.write_bytes(bytes(3 * PAGE))
    eventually(lambda: path.stat().st_size == 3 * PAGE, "stat shows it after the TTL")


@pytest.mark.semantics("S17.4")
def test_changes_elsewhere_of_open_files(single: Mount, place: Path, other: Mount):
    """While somebody has the file open the size stays; afterwards it is the new one."""
    path = place / "f"
    away = there(other, single, path)
    path.write_bytes(b"x" * 100)
    with path.open("rb"):
        with away.open("ab") as file:
            file.write(b"y" * 100)
        assert path.read_bytes() == b"x" * 100
    assert path.read_bytes() == b"x" * 100 + b"y" * 100

    with path.open("rb"):
        away.write_bytes(b"z" * 50)
        assert path.read_bytes() == b"z" * 50 + bytes(150)
    assert path.read_bytes() == b"z" * 50


@pytest.mark.semantics("S17.5")
@pytest.mark.parametrize("looks", [False, True])
def test_conflicts_are_told(single: Mount, place: Path, other: Mount, looks: bool):
    """Bytes that the kernel collected do not go over what others closed meanwhile."""
    path = place / "f"
    away = there(other, single, path)
    path.write_bytes(b"old")
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.write(descriptor, b" here")
    away.write_bytes(b"from elsewhere")
    if looks:
        path.read_bytes()  # an open asks the service: the mount has learnt of the new version
    assert failure(os.close, descriptor) in {errno.ESTALE, errno.EIO}

    assert away.read_bytes() == b"from elsewhere"
    assert path.read_bytes() == b"from elsewhere"
    assert any(kept.read_bytes().endswith(b" here") for kept in single.unsent())
    (record,) = json.loads(single.command("recover", "list", "--json").stdout)
    single.command("recover", "discard", "--yes", record["id"])


@pytest.mark.semantics("S17.6")
def test_locks_are_local(new_mount: NewMount, emulator: Emulator, single: Mount, place: Path):
    """Locks cost no request; wishes that contradict this are refused in one line."""
    (place / "f").touch()
    emulator.reset()
    run("flock", place / "f", "true")
    assert emulator.count("LeaseFile") == 0
    made = new_mount("others")
    made.umount()
    for flags in (("--locks=service",), ("--locks=auto",), ("--read-only",)):
        done = made.mount("--single-writer", *flags, expect=int(ExitCode.USAGE))
        assert len(done.stderr.splitlines()) == 1
        assert "--single-writer" in done.stderr
    made.mount("--single-writer", "--locks=local")


@pytest.mark.semantics("S17.1")
def test_random_operations(place: Path, tmp_path: Path):
    """Some hundred of them, through open files and mappings too, end as on a local disk."""
    compare(3, 300, place, tmp_path / "local")


@pytest.mark.parametrize(
    "program",
    [
        *(programs.test_cp, programs.test_tar, programs.test_git, programs.test_sqlite),
        *(programs.test_rsync, programs.test_sed, programs.test_vim, programs.test_gcc),
        programs.test_zip,
    ],
    ids=lambda program: program.__name__,
)
def test_programs(
    program: Callable[..., None], place: Path, tree: Path, tmp_path: Path, emulator: Emulator
):
    """Programs run unmodified, as on any other mount."""
    for mark in getattr(program, "pytestmark", []):
        if mark.name == "skipif" and mark.args[0]:
            pytest.skip(mark.kwargs["reason"])
    given = {"folder": place, "tree": tree, "tmp_path": tmp_path, "emulator": emulator}
    program(**{name: given[name] for name in inspect.signature(program).parameters})
