"""Two mounts of one share, with the kernel's caches in between."""

import errno
import mmap
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from azfilesfs.config.exit_codes import ExitCode
from tests.mount.harness import Mount, eventually

pytestmark = [pytest.mark.mount]

NewMount = Callable[..., Mount]
BELIEVING = ("--attr-ttl", "100", "--dir-ttl", "100")


@pytest.fixture
def pair(new_mount: NewMount) -> tuple[Path, Path]:
    """Mount a share twice; both believe what they have seen for long."""
    one, other = new_mount("third", *BELIEVING), new_mount("third", *BELIEVING)
    return one.path, other.path


def look(path: Path) -> bytes:
    """Read a file, and let the kernel keep its attributes and pages."""
    path.stat()
    return path.read_bytes()


@pytest.mark.parametrize("size", [10, 5_000_000], ids=["small", "of two ranges"])
def test_an_open_sees_what_was_closed_elsewhere(pair: tuple[Path, Path], size: int):
    """Growing, shrinking and changing on one mount is seen by the next open on the other."""
    here, there = (mountpoint / f"seen {size}" for mountpoint in pair)
    here.write_bytes(b"a" * size)
    assert look(there) == b"a" * size

    with here.open("ab") as file:
        file.write(b"grown")
    assert look(there) == b"a" * size + b"grown"

    os.truncate(here, 3)
    assert look(there) == b"aaa"

    with here.open("r+b") as file:
        file.write(b"b")
    assert look(there) == b"baa"


def test_an_open_sees_a_replaced_and_a_deleted_file(pair: tuple[Path, Path]):
    """A file that was replaced shows its new contents at the next open; a deleted one is gone."""
    here, there = (mountpoint / "replaced" for mountpoint in pair)
    here.write_bytes(b"old")
    assert look(there) == b"old"
    here.with_name("new").write_bytes(b"new contents")
    os.replace(here.with_name("new"), here)
    assert look(there) == b"new contents"

    here.unlink()
    with pytest.raises(FileNotFoundError):
        look(there)


def test_a_fsynced_file_is_seen_before_it_is_closed(pair: tuple[Path, Path]):
    """What is fsynced on one mount is seen by the next open on the other."""
    here, there = (mountpoint / "synced" for mountpoint in pair)
    with here.open("wb", buffering=0) as file:
        file.write(b"one")
        os.fsync(file.fileno())
        assert look(there) == b"one"
        file.write(b" two")
        os.fsync(file.fileno())
        assert look(there) == b"one two"


def test_a_lost_race_is_reported_and_kept(new_mount: NewMount):
    """Who closes second over the other's change gets ESTALE; nothing is overwritten or lost."""
    one, other = new_mount("third"), new_mount("third")
    (one.path / "raced").write_bytes(b"base")
    ours = (other.path / "raced").open("r+b", buffering=0)
    ours.write(b"ours")
    (one.path / "raced").write_bytes(b"their longer text")
    with pytest.raises(OSError) as caught:  # noqa: PT011  # the errno is compared
        ours.close()
    assert caught.value.errno == errno.ESTALE

    for mount in (one, other):
        assert (mount.path / "raced").read_bytes() == b"their longer text"
    listed = other.command("recover", "list").stdout
    assert "raced" in listed
    (kept,) = other.unsent()
    assert kept.read_bytes()[:4] == b"ours"
    number = next(word for line in listed.splitlines() if "raced" in line for word in line.split())
    done = other.command("recover", "send", number, expect=None)
    assert done.returncode == ExitCode.FAILED
    other.command("recover", "send", number, "--to", "raced, ours")
    eventually(lambda: (one.path / "raced, ours").exists(), "the other mount sees the file")
    assert other.command("recover", "list").stdout == "nothing was kept\n"
    assert other.unsent() == []


def test_a_conflict_copy(new_mount: NewMount):
    """With ``--on-conflict copy`` ours is saved beside theirs, and close succeeds."""
    one, other = new_mount("third"), new_mount("third", "--on-conflict", "copy")
    (one.path / "both").write_bytes(b"base")
    with (other.path / "both").open("r+b", buffering=0) as ours:
        ours.write(b"OURS")
        (one.path / "both").write_bytes(b"theirs")

    names = [name for name in os.listdir(other.path) if name.startswith("both")]
    (copy,) = (name for name in names if name != "both")
    assert copy.startswith("both (conflict ")
    assert (other.path / "both").read_bytes() == b"theirs"
    assert (other.path / copy).read_bytes()[:4] == b"OURS"


@pytest.mark.slow
def test_exclusive_creation_has_one_winner(pair: tuple[Path, Path]):
    """Of two mounts that create the same name with O_EXCL at the same time one wins, each time."""
    barrier = threading.Barrier(2, timeout=60)
    wins: list[list[int]] = [[], []]
    odd: list[OSError] = []

    def race(side: int) -> None:
        for number in range(200):
            barrier.wait()
            path = pair[side] / f"race {number:03}"
            try:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                wins[side].append(number)
            except FileExistsError:
                pass
            except OSError as error:
                odd.append(error)

    threads = [threading.Thread(target=race, args=(side,)) for side in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert odd == []
    assert sorted(wins[0] + wins[1]) == list(range(200))


def test_directories_are_made_by_one(pair: tuple[Path, Path]):
    """mkdir of a name that the other mount has made fails, whatever this one believes."""
    assert not (pair[1] / "made").exists()
    (pair[0] / "made").mkdir()

    with pytest.raises(FileExistsError):
        (pair[1] / "made").mkdir()


def test_a_shared_mapping(pair: tuple[Path, Path]):
    """What is written through a mapping and msynced is at the service, and read through another."""
    here, there = (mountpoint / "mapped" for mountpoint in pair)
    here.write_bytes(bytes(3 * mmap.PAGESIZE))
    with here.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
        mapping[10:15] = b"mmap!"
        mapping.flush()
        os.fsync(file.fileno())
        with there.open("rb") as other, mmap.mmap(other.fileno(), 0, prot=mmap.PROT_READ) as seen:
            assert seen[10:15] == b"mmap!"
        mapping[0:4] = b"last"

    eventually(lambda: look(there)[:4] == b"last", "the last pages arrive with the release")


def test_what_is_written_while_unmounting_is_not_lost(new_mount: NewMount):
    """A program that writes until the very end finds all that it closed on the other mount."""
    one, other = new_mount("third", "--drain-timeout", "3"), new_mount("third")
    script = (
        "import itertools, os, sys\n"
        "here = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY)\n"
        "for n in itertools.count():\n"
        "    file = os.open(f'until {n}', os.O_CREAT | os.O_WRONLY, dir_fd=here)\n"
        "    os.write(file, b'x' * 1000)\n"
        "    os.close(file)\n"
        "    print(n, flush=True)\n"
    )
    command = [sys.executable, "-c", script, str(one.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as writer:
        assert writer.stdout
        first = writer.stdout.readline()
        one.umount()
        closed = (first + writer.stdout.read()).split()

    assert len(closed) > 1
    for number in closed:
        assert (other.path / f"until {int(number)}").read_text() == "x" * 1000
    assert os.listdir(one.path) == []
