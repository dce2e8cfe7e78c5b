"""The same random operations on a mount and on the local file system give the same results."""

import mmap
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mount.compare import picture

pytestmark = [pytest.mark.mount]

NAMES = [f"name{number}" for number in range(8)]
Result = tuple[str, object]


class Twins:
    """Two directories, a mount's and a local one, that get every operation alike."""

    def __init__(self, seed: int, mounted: Path, local: Path) -> None:
        self.random = random.Random(seed)
        self.roots = (mounted, local)
        self.files: list[tuple[int, int]] = []
        self.done: list[str] = []

    def step(self) -> None:
        """Do one operation on both; they must agree on its result, errno included."""
        kinds = [name for name in dir(self) if name.startswith("op_")]
        kind = self.random.choice(kinds)
        operation = getattr(self, kind)()
        if operation is None:
            return
        results = [attempt(operation, root, index) for index, root in enumerate(self.roots)]
        self.done.append(f"{kind} {results[1]}")
        if not (
            kind in {"op_rename", "op_rmdir"} and {result[0] for result in results} == {"OSError"}
        ):
            # Of several errors that fit, each file system reports the one that it meets first.
            assert results[0] == results[1], "\n".join(self.done[-20:])

    def close(self) -> None:
        """Close what is open."""
        for pair in self.files:
            for descriptor in pair:
                os.close(descriptor)
        self.files.clear()

    def name(self) -> str:
        """Choose a name, in the root or in a directory."""
        local = self.roots[1]
        folders = [entry.name for entry in os.scandir(local) if entry.is_dir(follow_symlinks=False)]
        return str(Path(self.random.choice(["", *sorted(folders)])) / self.random.choice(NAMES))

    def offset(self) -> int:
        """Choose an offset: the start, near it, or in another range."""
        return self.random.choice(
            [0, self.random.randrange(20_000), self.random.randrange(9 << 20)]
        )

    def data(self) -> bytes:
        """Choose bytes to write."""
        return self.random.randbytes(self.random.choice([0, 1, 100, 5_000, 200_000]))

    def op_write(self):
        name, offset, data = self.name(), self.offset(), self.data()
        flags = os.O_RDWR | os.O_CREAT | self.random.choice([0, os.O_EXCL, os.O_TRUNC, os.O_APPEND])

        def write(root: Path, index: int) -> int:
            descriptor = os.open(root / name, flags, 0o644)
            try:
                return os.pwrite(descriptor, data, offset)
            finally:
                os.close(descriptor)

        return write

    def op_truncate(self):
        name, size = self.name(), self.offset()
        return lambda root, index: os.truncate(root / name, size)

    def op_rename(self):
        old, new = self.name(), self.name()
        return lambda root, index: os.rename(root / old, root / new)

    def op_unlink(self):
        name = self.name()
        return lambda root, index: os.unlink(root / name)

    def op_mkdir(self):
        name = self.name()
        return lambda root, index: os.mkdir(root / name)

    def op_rmdir(self):
        name = self.name()
        return lambda root, index: os.rmdir(root / name)

    def op_symlink(self):
        name = self.name()
        return lambda root, index: os.symlink("target", root / name)

    def op_read(self):
        name = self.name()
        return lambda root, index: (root / name).read_bytes()

    def op_list(self):
        name = self.random.choice([".", *NAMES])
        return lambda root, index: sorted(os.listdir(root / name))

    def op_set_time(self):
        name, time_ns = self.name(), self.random.randrange(10**9) * 1_000

        def set_time(root: Path, index: int) -> int:
            os.utime(root / name, ns=(time_ns, time_ns))
            return (root / name).stat().st_mtime_ns

        return set_time

    def op_open(self):
        name = self.name()
        opened: list[int] = []

        def open_file(root: Path, index: int) -> None:
            opened.append(os.open(root / name, os.O_RDWR))
            if index:
                self.files.append((opened[0], opened[1]))

        return open_file if len(self.files) < 6 else None

    def op_close(self):
        return self.with_file(os.close, takes_out=True)

    def op_fsync(self):
        return self.with_file(os.fsync)

    def op_pwrite(self):
        data, offset = self.data(), self.offset()
        return self.with_file(lambda descriptor: os.pwrite(descriptor, data, offset))

    def op_pread(self):
        size, offset = len(self.data()) + 1, self.offset()
        return self.with_file(lambda descriptor: os.pread(descriptor, size, offset))

    def op_ftruncate(self):
        size = self.offset()
        return self.with_file(lambda descriptor: os.ftruncate(descriptor, size))

    def op_map(self):
        offset = self.offset()

        def change(descriptor: int) -> bytes | None:
            size = os.fstat(descriptor).st_size
            if size < 8:
                return None
            with mmap.mmap(descriptor, size) as mapping:
                start = offset % (size - 4)
                mapping[start : start + 4] = b"MMAP"
                mapping.flush()
                return mapping[:]

        return self.with_file(change)

    def with_file(self, operation: Callable[[int], object], *, takes_out: bool = False):
        """Apply an operation to one of the open files."""
        if not self.files:
            return None
        position = self.random.randrange(len(self.files))
        pair = self.files.pop(position) if takes_out else self.files[position]
        return lambda root, index: operation(pair[index])


def attempt(operation: Callable[[Path, int], object], root: Path, index: int) -> Result:
    """Do it and return what came of it."""
    try:
        return "value", operation(root, index)
    except OSError as error:
        return "OSError", error.errno


def compare(seed: int, steps: int, mounted: Path, local: Path) -> None:
    """Do a number of random operations on both, and compare what is left."""
    local.mkdir()
    twins = Twins(seed, mounted, local)
    try:
        for _ in range(steps):
            twins.step()
    finally:
        twins.close()
    assert picture(mounted, times=False) == picture(local, times=False)


@pytest.mark.parametrize("seed", [1, 2])
def test_mount_does_what_a_local_file_system_does(seed, folder, tmp_path):
    """Some hundred random operations, through open files and mappings too, have equal results."""
    compare(seed, 400, folder, tmp_path / "local")


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10, 20))
def test_mount_does_so_for_long(seed, folder, tmp_path):
    """Thousands of random operations have equal results."""
    compare(seed, 3_000, folder, tmp_path / "local")
