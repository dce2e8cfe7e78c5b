"""Where a run works: a folder on the disk, and one in memory for the emulator's data."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PREFIX: Final = "azfilesfs-bench-"
_SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108  # a tmpfs; the folder in it is made by mkdtemp


@dataclass(frozen=True, slots=True)
class Places:
    """Folders of this run alone.

    Attributes:
        disk: for caches, archives and the local disk as a contender.
        memory: for the data of emulator and nginx.
        kind: what the latter is on, for the description of the machine.
    """

    disk: Path
    memory: Path
    kind: str


@contextmanager
def places(disk: Path | None, memory: Path | None) -> Iterator[Places]:
    """Make the folders while the block runs.

    Root gets a tmpfs with huge pages, in which a byte costs a fifth of what it does in one with
    pages of 4 KiB, so that less of what is measured is the service's memory.

    Args:
        disk: where to make the first; None for the system's temporary directory.
        memory: where to make the second; None for a tmpfs.

    Raises:
        OSError: they cannot be made.
    """
    first = Path(tempfile.mkdtemp(prefix=PREFIX, dir=disk))
    shared = _SHARED_MEMORY if memory is None and _SHARED_MEMORY.is_dir() else memory
    second = Path(tempfile.mkdtemp(prefix=PREFIX, dir=shared))
    is_mounted = memory is None and _mount_huge(second)
    kind = "tmpfs, huge pages" if is_mounted else str(second.parent)
    try:
        yield Places(first, second, kind)
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", second], capture_output=True, check=False)
        shutil.rmtree(first, ignore_errors=True)
        shutil.rmtree(second, ignore_errors=True)


def _mount_huge(folder: Path) -> bool:
    if os.geteuid() != 0:
        return False
    options = "huge=within_size,size=80%,mode=700"
    command = ["mount", "-t", "tmpfs", "-o", options, "azfilesfs-bench", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
