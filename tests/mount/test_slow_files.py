"""Files that the service does not answer for, beside others that it does."""

import os
import socket
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.mount.harness import Emulator, Mount, eventually, mounted, running_emulator

pytestmark = [pytest.mark.mount, pytest.mark.slow]

MIB = 2**20
STRIDE = 5 * MIB
"""Further apart than reads that follow each other: each of them is a request of its own."""
STUCK_SECONDS = 14
"""Less than one attempt may stand still: the requests are answered, very late."""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Emulator]:
    """Run an emulator whose faults are this test's own."""
    folder = tmp_path / "service"
    folder.mkdir()
    with running_emulator(folder, "--share", "slow") as running:
        yield running


@pytest.fixture
def address() -> str:
    """Return an address that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def made(service: Emulator, tmp_path: Path, address: str) -> Iterator[Mount]:
    """Mount its share, with metrics."""
    with mounted(tmp_path / "mount", service, "slow", "--metrics", address) as mount:
        yield mount


def gauge(address: str, name: str) -> float:
    """Return one of the mount's gauges."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    (line,) = (line for line in text.splitlines() if line.startswith(f"{name} "))
    return float(line.split()[1])


def fill(mount: Mount) -> None:
    """Make slow files and others, and forget what is known of them."""
    for folder in ("slow", "other"):
        (mount.path / folder).mkdir()
    with (mount.path / "slow" / "large").open("wb") as large:
        large.truncate(151 * STRIDE)
    for number in range(150):
        (mount.path / "slow" / f"small{number}").write_bytes(b"s" * 1000)
    (mount.path / "other" / "file").write_bytes(b"o" * 3 * MIB)
    mount.umount()
    mount.forget_cache()
    mount.mount()


@contextmanager
def reads_of_one_file(mount: Mount) -> Iterator[Callable[[int], bytes]]:
    """Open one file to be read at many places, through the page cache."""
    with (mount.path / "slow" / "large").open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        yield lambda number: os.pread(file.fileno(), 100, (number + 1) * STRIDE)


@contextmanager
def reads_of_many_files(mount: Mount) -> Iterator[Callable[[int], bytes]]:
    """Have as many files opened and read."""
    yield lambda number: (mount.path / "slow" / f"small{number}").read_bytes()


@pytest.mark.semantics("S16.1")
@pytest.mark.parametrize(
    ("reading", "count"),
    [(reads_of_one_file, 99), (reads_of_one_file, 150), (reads_of_many_files, 150)],
)
def test_slow_files_hold_up_nobody(
    reading: Callable[[Mount], AbstractContextManager[Callable[[int], bytes]]],
    count: int,
    made: Mount,
    service: Emulator,
    address: str,
):
    """With 99 and more requests stuck, a listing, a question, a read and a write are answered."""
    fill(made)
    with reading(made) as read:
        service.plan({"operation": "GetFile", "path": "slow/slow/*", "delay": STUCK_SECONDS})
        look(made, service, address, read, count)
    assert "circuit" not in made.log()


def look(
    made: Mount, service: Emulator, address: str, read: Callable[[int], bytes], count: int
) -> None:
    """Have reads get stuck, and see that everything else works meanwhile."""
    with ThreadPoolExecutor(count) as pool:
        stuck = [pool.submit(read, number) for number in range(count)]
        eventually(
            lambda: gauge(address, "azfilesfs_requests_in_flight") >= 28, "requests are stuck"
        )
        assert os.listdir(made.path / "other") == ["file"]
        assert (made.path / "other" / "file").stat().st_size == 3 * MIB
        assert (made.path / "other" / "file").read_bytes() == b"o" * 3 * MIB
        (made.path / "other" / "new").write_bytes(b"n" * 1000)
        assert sorted(os.listdir(made.path / "other")) == ["file", "new"]
        waits = gauge(address, "azfilesfs_requests_in_flight")
        ended = [future for future in stuck if future.done()]
        service.heal()

        assert not ended
        assert waits >= min(count, 99)
        assert {len(future.result()) for future in stuck} <= {100, 1000}
