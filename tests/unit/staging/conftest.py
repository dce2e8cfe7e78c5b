"""A staging area in a fresh state directory, and a disk that can be full."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from azfilesfs.model.paths import SharePath
from azfilesfs.model.versions import Validator
from azfilesfs.vfs.staged import StagedFile
from azfilesfs.vfs.staging import StagingArea

BASE = Validator(7, '"0x8DD"', 1000, 17)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Return a mount's state directory."""
    directory = tmp_path / "state"
    directory.mkdir(0o700)
    return directory


@pytest.fixture
def area(state: Path) -> Iterator[StagingArea]:
    """Own a staging area of 64 KiB."""
    with StagingArea.open(state, 65536, share="account/share") as area:
        yield area


@pytest.fixture
def file(area: StagingArea) -> StagedFile:
    """Stage a file of 1,000 bytes that the service has."""
    return area.create(SharePath(("dir", "file")), BASE, 1000)


@contextmanager
def full_disk(data_room: int, journal_room: int) -> Iterator[None]:
    """Let data and journals take so many bytes more each while the block runs."""

    def limited(call: Callable[..., int], room: int) -> Callable[..., int]:
        rooms = [room]

        def write(descriptor: int, data: bytes, *position: int) -> int:
            if rooms[0] <= 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            piece = memoryview(data)[: rooms[0]]
            rooms[0] -= len(piece)
            return call(descriptor, piece, *position)

        return write

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "pwrite", limited(os.pwrite, data_room))
        patch.setattr(os, "write", limited(os.write, journal_room))
        yield


@pytest.fixture(name="full_disk")
def full_disk_fixture() -> Callable[[int, int], AbstractContextManager[None]]:
    """Return ``full_disk``."""
    return full_disk
