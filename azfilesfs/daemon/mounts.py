"""What commands ask about mounts that run, or ran: found by the mountpoint or by a path in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from azfilesfs.daemon.precheck import is_dead
from azfilesfs.daemon.registry import Record, Status, find, read_status, running
from azfilesfs.fuse.detach import detach
from azfilesfs.fuse.mountinfo import canonical, mount_above, mount_at
from azfilesfs.vfs.kept import Layout
from azfilesfs.vfs.recovery import collect

__all__ = [
    "Record",
    "Status",
    "detach_dead",
    "find_record",
    "is_ours_mounted",
    "last_status",
    "locate",
    "running_mounts",
    "unsent_of",
]


def find_record(mountpoint: Path, places: Sequence[Path]) -> Record | None:
    """Return who serves, or last served, a mountpoint."""
    return find(mountpoint, places)


def running_mounts(places: Sequence[Path]) -> list[Record]:
    """Return the mounts whose process lives, by mountpoint."""
    return running(places)


def last_status(record: Record) -> Status | None:
    """Return how far a mount's process is, or was; None if another process has written since."""
    status = read_status(Path(record.state))
    return status if status is not None and status.pid == record.pid else None


def is_ours_mounted(mountpoint: Path) -> bool:
    """Tell whether the mount table shows a mount of ours there, alive or dead."""
    found = mount_at(mountpoint)
    return found is not None and found.is_ours


def detach_dead(mountpoint: Path) -> bool:
    """Detach a mount of ours whose process is gone; one that is alive is left alone."""
    return is_dead(mountpoint) and detach(mountpoint)


def unsent_of(record: Record) -> int:
    """Return how many files the dead process of a mount left unsent; they become kept records.

    Raises:
        OSError: the disk refused.
        ConfigurationError: its state directory is not private any more.
    """
    kept = collect(Layout(Path(record.state)))
    return sum(1 for found in kept if found.pid == record.pid)


def locate(path: Path, places: Sequence[Path]) -> tuple[Record, str] | None:
    """Return the mount that a path lies in and the path below its root; None if none of ours.

    The path need not exist; its last component is not resolved.
    """
    found = mount_above(path)
    if found is None or not found.is_ours:
        return None
    record = find(found.mountpoint, places)
    if record is None:
        return None
    return record, canonical(path).relative_to(found.mountpoint).as_posix()
