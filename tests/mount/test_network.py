"""A mount without its network: errors in time, no hanging, no empty data, and back by itself."""

import errno
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from azfilesfs.config.exit_codes import ExitCode
from tests.mount.harness import Emulator, Mount, eventually, mounted, running_emulator

pytestmark = [pytest.mark.mount, pytest.mark.slow]

DEADLINE = 3
LOST = {errno.ETIMEDOUT, errno.EIO}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Emulator]:
    """Run an emulator that a test may stop."""
    folder = tmp_path / "service"
    folder.mkdir()
    with running_emulator(folder, "--share", "lonely") as running:
        yield running
        os.kill(running.process.pid, signal.SIGCONT)


@pytest.fixture
def made(service: Emulator, tmp_path: Path) -> Iterator[Mount]:
    """Mount its share with short deadlines."""
    limits = ("--operation-timeout", str(DEADLINE), "--transfer-timeout", str(DEADLINE))
    drain = ("--drain-timeout", str(DEADLINE), "--attr-ttl", "0", "--dir-ttl", "0")
    with mounted(tmp_path / "mount", service, "lonely", *limits, *drain) as mount:
        yield mount


def lost(work: object) -> None:
    """Do something that needs the service, and see it fail in time with an error of the network."""
    started = time.monotonic()
    with pytest.raises(OSError) as caught:  # noqa: PT011  # the errno is compared
        assert callable(work)
        work()
    assert caught.value.errno in LOST, caught.value
    assert time.monotonic() - started < 4 * DEADLINE


def test_silence_ends_with_an_error(made: Mount, service: Emulator):
    """While the service is silent, operations fail within their deadline; then all is well."""
    (made.path / "file").write_bytes(b"x" * 10_000)
    os.kill(service.process.pid, signal.SIGSTOP)

    lost(lambda: os.listdir(made.path))
    lost((made.path / "other").stat)
    lost((made.path / "file").read_bytes)
    lost(lambda: (made.path / "new").mkdir())

    os.kill(service.process.pid, signal.SIGCONT)
    # The breaker lets a probe through after its time.
    eventually(lambda: _readable(made.path / "file"), "the mount recovers by itself")
    assert (made.path / "file").read_bytes() == b"x" * 10_000
    (made.path / "afterwards").write_text("works")


def _readable(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


def test_a_failed_close_is_reported_and_made_good(made: Mount, service: Emulator):
    """A close whose upload failed says so; the bytes are sent once the network is back."""
    file = (made.path / "late").open("wb", buffering=0)
    file.write(b"not lost")
    os.kill(service.process.pid, signal.SIGSTOP)
    lost(file.close)
    os.kill(service.process.pid, signal.SIGCONT)

    eventually(lambda: service.count("CreateFile") > 0 and _sent(made), "it is sent by itself")
    made.umount()
    made.forget_cache()
    made.mount()
    assert (made.path / "late").read_bytes() == b"not lost"


def _sent(made: Mount) -> bool:
    try:
        with (made.path / "late").open("rb") as file:
            os.fsync(file.fileno())
    except OSError:
        return False
    return True


def test_unmounting_without_a_network(made: Mount, service: Emulator):
    """Unmounting ends in time, says that data is left, and the next mount can recover it."""
    file = (made.path / "kept").open("wb", buffering=0)
    file.write(b"kept for later")
    os.kill(service.process.pid, signal.SIGSTOP)
    lost(file.close)
    started = time.monotonic()
    done = made.umount(expect=int(ExitCode.UNSENT_DATA))
    assert time.monotonic() - started < 10 * DEADLINE
    assert "1 file(s) could not be sent" in done.stderr
    os.kill(service.process.pid, signal.SIGCONT)

    (line,) = (
        line for line in made.command("recover", "list").stdout.splitlines() if "kept" in line
    )
    made.command("recover", "send", line.split()[0])
    made.mount()
    assert (made.path / "kept").read_bytes() == b"kept for later"


def test_an_interruption_of_some_seconds_is_waited_out(service: Emulator, tmp_path: Path):
    """With the usual deadlines programs do not notice that the service was away for a moment."""
    with mounted(tmp_path / "patient", service, "lonely") as mount:
        (mount.path / "there").mkdir()
        service.plan({"cut": "before", "times": 8})
        names = [mount.path / f"missing {number}" for number in range(4)]

        started = time.monotonic()
        with ThreadPoolExecutor(len(names)) as pool:
            assert not any(pool.map(Path.exists, names))
        assert os.listdir(mount.path) == ["there"]
        # A breaker at rest for as long as an operation may take would have failed some of them.
        assert time.monotonic() - started < 40
        service.heal()
