"""What is mounted, by /proc/self/mountinfo (proc_pid_mountinfo(5)): no filesystem is asked."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FILESYSTEM_TYPE: Final = "fuse.azfilesfs"
_TABLE: Final = Path("/proc/self/mountinfo")
_OCTAL = re.compile(r"\\(\d{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of the table.

    Attributes:
        mountpoint: absolute, without symbolic links.
        device: ``major:minor``, the name of its directory in /sys/class/bdi.
        kind: the filesystem type, ``fuse.azfilesfs`` for ours.
        source: what stands in the first column of mount(8)'s output.
    """

    mountpoint: Path
    device: str
    kind: str
    source: str

    @property
    def is_ours(self) -> bool:
        """Whether it is a mount of this program, alive or dead."""
        return self.kind == FILESYSTEM_TYPE


def parse(table: str) -> list[Mount]:
    """Read the table; a later mount covers an earlier one of the same mountpoint."""
    mounts = []
    for line in table.splitlines():
        left, _, right = line.partition(" - ")
        fields, tail = left.split(" "), right.split(" ")
        if len(fields) < 5 or len(tail) < 2:
            continue
        mounts.append(Mount(Path(_plain(fields[4])), fields[2], tail[0], _plain(tail[1])))
    return mounts


def _plain(field: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), field)


def mounts() -> list[Mount]:
    """Return what this process sees mounted."""
    # Decoded byte by byte, since the escapes stand for bytes; then as file names are everywhere
    # else.
    table = _TABLE.read_bytes().decode("latin-1")
    return [
        Mount(Path(_name(str(found.mountpoint))), found.device, found.kind, _name(found.source))
        for found in parse(table)
    ]


def _name(text: str) -> str:
    return os.fsdecode(text.encode("latin-1"))


def mount_at(mountpoint: Path) -> Mount | None:
    """Return what is mounted on exactly this path, None if nothing is.

    The last component is not resolved, since on a dead mount that would fail.
    """
    wanted = canonical(mountpoint)
    return next((found for found in reversed(mounts()) if found.mountpoint == wanted), None)


def mount_above(path: Path) -> Mount | None:
    """Return the mount that a path lies in; the path need not exist."""
    wanted = canonical(path)
    candidates = [found for found in mounts() if wanted.is_relative_to(found.mountpoint)]
    deepest = max((len(found.mountpoint.parts) for found in candidates), default=0)
    return next((c for c in reversed(candidates) if len(c.mountpoint.parts) == deepest), None)


def canonical(path: Path) -> Path:
    """Make a path absolute and resolve its parent, never the path itself."""
    absolute = Path(os.path.abspath(path))
    if absolute == absolute.parent:
        return absolute
    return Path(os.path.realpath(absolute.parent)) / absolute.name
