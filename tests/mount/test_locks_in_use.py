"""Locks as programs use them: lock files, appending shells, renames, an unmount in between."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import features
from tests.mount.harness import Emulator, Mount, eventually, mounted
from tests.mount.lock_processes import Obeying, obeying

pytestmark = [pytest.mark.mount]

NewMount = Callable[..., Mount]
SHARE = "third"
FOLDER = "a folder"


@pytest.fixture(scope="module")
def pair(
    emulator: Emulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Path]]:
    """Mount a share, and on another host only a directory of it; return that directory on both."""
    if reason := features.fuse_missing():
        pytest.skip(reason)
    place = tmp_path_factory.mktemp("pair")
    with mounted(place / "one", emulator, SHARE) as one:
        (one.path / FOLDER).mkdir()
        with mounted(place / "other", emulator, f"{SHARE}/{FOLDER}") as other:
            yield one.path / FOLDER, other.path


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Give a name in the share that no other test uses."""
    return str(request.node.name)


def locked(process: Obeying, *, wait: bool = True, mode: str = "exclusive") -> int:
    """Let a process take a lock."""
    return process("lock", kind="flock", mode=mode, wait=wait)


def wait_for(shells: list[subprocess.Popen[bytes]]) -> None:
    """Wait until all have ended well; none is left behind."""
    try:
        assert [shell.wait(200) for shell in shells] == [0] * len(shells)
    finally:
        for shell in shells:
            shell.kill()
            shell.wait()


def test_appending_shells(pair: tuple[Path, Path], name: str):
    """``flock FILE sh -c 'echo >> FILE'`` on both mounts: the lock is one process's, the write
    another's.
    """
    (pair[0] / name).touch()
    script = """for n in 1 2 3 4 5 6 7 8 9 10; do
        flock "$1" sh -c "echo $2 $n >> \\"\\$0\\"" "$1"
    done"""
    shells = [
        subprocess.Popen(["sh", "-ec", script, "sh", str(mount / name), f"{side}{number}"])
        for side, mount in enumerate(pair)
        for number in range(2)
    ]
    wait_for(shells)

    for mount in pair:
        lines = (mount / name).read_text().splitlines()
        names = [f"{side}{number}" for side in (0, 1) for number in (0, 1)]
        assert sorted(lines) == sorted(f"{one} {n}" for one in names for n in range(1, 11))


def test_a_lock_file_that_nobody_has_made_yet(pair: tuple[Path, Path], name: str):
    """``flock LOCK command`` on both mounts: whoever comes first makes it, the command is alone."""
    counter = f"{name} counter"
    (pair[0] / counter).write_text("0\n")
    for mount in pair:
        eventually((mount / counter).exists, "both see the counter")
        assert not (mount / name).exists()
    script = """for n in 1 2 3 4 5 6 7 8 9 10; do
        flock "$1" sh -ec 'read n < "$0"; echo $((n + 1)) > "$0"' "$2"
    done"""
    shells = [
        subprocess.Popen(["sh", "-ec", script, "sh", str(mount / name), str(mount / counter)])
        for mount in pair
        for _ in range(3)
    ]
    wait_for(shells)

    assert [(mount / counter).read_text() for mount in pair] == ["60\n", "60\n"]


@pytest.mark.semantics("S6.14")
def test_a_lock_file_that_both_have_opened_to_make_it(pair: tuple[Path, Path], name: str):
    """Each has made it on its own host before either locks it: they have one file and one lock."""
    paths = [mount / name for mount in pair]
    with obeying(*paths) as (here, there):
        assert locked(here, wait=False) == 0
        assert locked(there, wait=False) == errno.EWOULDBLOCK
        assert here("write", offset=0, text="owner: here") == 0
        assert locked(here, mode="none") == 0
        assert locked(there, wait=False) == 0
        assert there.read() == "owner: here"
        assert locked(here, wait=False) == errno.EWOULDBLOCK


@pytest.mark.semantics("S6.10")
def test_a_lock_file_that_is_removed_by_its_holder(pair: tuple[Path, Path], name: str):
    """The name is free at once, and the next who makes it has a lock of its own."""
    paths = [mount / name for mount in pair]
    for _ in range(2):
        paths[0].touch()
        eventually(paths[1].exists, "the name is seen there")
        with obeying(*paths) as (here, there):
            assert locked(here) == 0
            assert locked(there, wait=False) == errno.EWOULDBLOCK
            paths[0].unlink()
            eventually(lambda: not paths[1].exists(), "the name is gone there")
            with obeying(paths[1]) as (third,):
                assert locked(third, wait=False) == 0
                assert locked(here, mode="none") == 0
                assert locked(third, mode="none") == 0
        paths[1].unlink()
        eventually(lambda: not paths[0].exists(), "the name is gone here")


def test_a_locked_file_is_renamed_by_its_holder(pair: tuple[Path, Path], name: str):
    """The lock goes with the file, and what is written under it too."""
    (pair[0] / name).write_text("before")
    with obeying(pair[0] / name) as (here,):
        assert locked(here) == 0
        assert here("write", offset=0, text="moved!") == 0
        (pair[0] / name).rename(pair[0] / f"{name} moved")
        eventually((pair[1] / f"{name} moved").exists, "the new name is seen")
        with obeying(pair[1] / f"{name} moved") as (there,):
            assert locked(there, wait=False) == errno.EWOULDBLOCK
            assert here("write", offset=6, text=" again") == 0
            assert locked(here, mode="none") == 0
            assert locked(there, wait=False) == 0
            assert there.read() == "moved! again"


def test_a_locked_file_is_replaced_by_its_holder(pair: tuple[Path, Path], name: str):
    """Saving by a rename over the locked file works; who had it open gets ESTALE."""
    (pair[0] / name).write_text("old")
    eventually((pair[1] / name).exists, "the name is seen there")
    with obeying(pair[0] / name, pair[1] / name) as (here, there):
        assert there.read() == "old"
        assert locked(here) == 0
        (pair[0] / f"{name} new").write_text("new")
        (pair[0] / f"{name} new").rename(pair[0] / name)
        assert locked(here, mode="none") in {0, errno.ESTALE}
        assert locked(there) == errno.ESTALE
    with obeying(pair[1] / name) as (there,):
        assert locked(there, wait=False) == 0
        assert there.read() == "new"


def test_much_is_written_under_a_lock(pair: tuple[Path, Path], name: str):
    """Several ranges are sent at once, all of them before the lock is free."""
    size = 9_000_000
    (pair[0] / name).write_bytes(b"-" * size)
    eventually((pair[1] / name).exists, "the name is seen there")
    with obeying(pair[0] / name, pair[1] / name) as (here, there):
        for number in range(4):
            writer, reader = (here, there) if number % 2 else (there, here)
            assert locked(writer) == 0
            for offset in range(0, size, 1_000_000):
                assert writer("write", offset=offset, text=str(number) * 1_000_000) == 0
            assert locked(writer, mode="none") == 0
            assert locked(reader, mode="shared") == 0
            for offset in (0, 4_194_300, size - 10):
                assert reader.read(10, offset) == str(number) * 10
            assert locked(reader, mode="none") == 0


def test_many_files_at_once(pair: tuple[Path, Path], name: str):
    """A process on each mount holds every other file of many."""
    here, there = pair[0] / name, pair[1] / name
    here.mkdir()
    files = [here / str(number) for number in range(40)]
    for path in files:
        path.touch()
    script = (
        "import fcntl, os, sys\n"
        "files = [os.open(path, os.O_RDWR) for path in sys.argv[1:]]\n"
        "for file in files:\n"
        "    fcntl.flock(file, fcntl.LOCK_EX)\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    sides = [files[::2], [there / path.name for path in files[1::2]]]
    holders = [
        subprocess.Popen(
            [sys.executable, "-c", script, *side],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for side in sides
    ]
    try:
        for holder in holders:
            assert holder.stdout
            assert holder.stdout.readline() == "held\n"
        for path in files:
            done = subprocess.run(["flock", "-n", path, "true"], check=False, timeout=60)
            assert done.returncode == 1
    finally:
        for holder in holders:
            holder.communicate(timeout=120)
    for path in files:
        subprocess.run(["flock", "-n", there / path.name, "true"], check=True, timeout=60)


@pytest.mark.semantics("S6.3", "S6.13")
def test_an_unmount_gives_locks_up(new_mount: NewMount, pair: tuple[Path, Path], name: str):
    """Nobody waits for a mount that has ended, even where a process still had the file open."""
    (pair[0] / name).write_text("before")
    # A file that stays open is served for two thirds of this.
    made = new_mount(f"{SHARE}/{FOLDER}", "--drain-timeout", "9")
    with obeying(made.path / name, pair[0] / name) as (here, there):
        assert locked(here) == 0
        assert here("write", offset=0, text="during") == 0
        made.umount("--timeout", "120")
        assert locked(there, wait=False) == 0
        assert there.read() == "during"
        assert os.path.exists(pair[1] / name)


@pytest.mark.semantics("S6.10")
def test_directories(pair: tuple[Path, Path], name: str):
    """The service has no leases on them: their locks hold on the mount."""
    (pair[0] / name).mkdir()
    holder = subprocess.Popen(
        ["flock", pair[0] / name, "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdin
    assert holder.stdout
    holder.stdin.write("held\n")
    holder.stdin.flush()
    assert holder.stdout.readline() == "held\n"
    eventually((pair[1] / name).is_dir, "the other mount sees it")
    codes = [
        subprocess.run(["flock", "-n", mount / name, "true"], check=False, timeout=60).returncode
        for mount in pair
    ]
    holder.communicate(timeout=60)
    assert codes == [1, 0]
