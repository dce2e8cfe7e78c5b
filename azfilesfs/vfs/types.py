"""What the filesystem takes and gives at its rim.

Neutral stat structures, options, and the kernel's side as a protocol.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple, Protocol

from azfilesfs.model.limits import GIB, MIB

ROOT_INODE: Final = 1
PRIVATE_DIRECTORY: Final = ".azfilesfs"
"""In the root of the share, ours alone."""


class OnConflict(Enum):
    """What becomes of local changes when the remote file moved under them (docs/SEMANTICS.md)."""

    FAIL = "fail"
    COPY = "copy"
    OVERWRITE = "overwrite"


class Consistency(Enum):
    """When an open asks the service."""

    CLOSE_TO_OPEN = "close-to-open"
    TTL = "ttl"


class ExclusiveCreate(Enum):
    """Who decides O_EXCL: the service (exclusive between hosts), or this mount's knowledge."""

    SERVICE = "service"
    MOUNT = "mount"


class CloseMode(Enum):
    """When a close is answered: once the service has the data, or once the local disk has it."""

    SYNC = "sync"
    ASYNC = "async"


class Symlinks(Enum):
    """How symbolic links are stored."""

    MF = "mf"
    OFF = "off"


def boot_ns() -> int:
    """Return a clock in nanoseconds that goes on while the machine sleeps."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True, kw_only=True)
class LockOptions:
    """How locks are kept; seconds.

    Attributes:
        reach_service: whether they hold between hosts; else between the processes of this mount.
        fall_back: whether they hold on this mount alone where the service refuses for good.
        ttl: time to live of the mount's session.
        timeout: how long a blocking attempt may wait; None: for ever.
        break_foreign: whether leases of other programs are broken.
        clock: nanoseconds of a clock that goes on while the machine sleeps.
    """

    reach_service: bool = True
    fall_back: bool = False
    ttl: int = 60
    timeout: float | None = None
    break_foreign: bool = False
    clock: Callable[[], int] = boot_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class VfsOptions:
    """How the share is presented. Durations are seconds, sizes bytes, modes permission bits."""

    uid: int = 0
    gid: int = 0
    file_mode: int = 0o755
    dir_mode: int = 0o755
    umask: int = 0
    read_only: bool = False
    strict_modes: bool = False
    symlinks: Symlinks = Symlinks.MF
    exclusive_create: ExclusiveCreate = ExclusiveCreate.SERVICE
    close: CloseMode = CloseMode.SYNC
    consistency: Consistency = Consistency.CLOSE_TO_OPEN
    on_conflict: OnConflict = OnConflict.FAIL
    staging_limit: int = 8 * GIB
    attr_ttl: float = 1.0
    dir_ttl: float = 1.0
    operation_deadline: float = 60.0
    transfer_deadline: float = 300.0
    upload_parallelism: int = 8
    slowest_upload: float = MIB
    comparison_window: float = 0.01
    max_cached_names: int = 200_000
    readahead_blocks: int = 6
    host_name: str = "localhost"
    locks: LockOptions = field(default_factory=LockOptions)
    single_writer: bool = False


class Attrs(NamedTuple):
    """A neutral stat: times in Unix nanoseconds, mode with its type bits.

    A kernel that keeps sizes and times itself takes an inode of another generation for a new one.
    """

    ino: int
    mode: int
    size: int
    uid: int
    gid: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    nlink: int = 1
    blksize: int = 4096
    generation: int = 0

    @property
    def blocks(self) -> int:
        """Number of 512-byte blocks, rounded up."""
        return -(-self.size // 512)


class Entry(NamedTuple):
    """An answer about an inode and for how long (seconds) the kernel may believe it.

    A negative entry has ``attrs.ino == 0``: the name does not exist, and the kernel may believe
    that for ``entry_timeout``.
    """

    attrs: Attrs
    entry_timeout: float
    attr_timeout: float


class DirEntry(NamedTuple):
    """One name of a directory; ``offset`` is where the next read continues."""

    name: bytes
    entry: Entry
    offset: int


class SetAttr(NamedTuple):
    """What setattr shall change; None leaves a field as it is.

    A kernel that keeps the times itself brings ``ctime_ns`` along.
    """

    size: int | None = None
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    atime_ns: int | None = None
    mtime_ns: int | None = None
    ctime_ns: int | None = None


class OpenResult(NamedTuple):
    """An open file: its handle, and whether the kernel may keep the pages that it has."""

    handle: int
    keep_cache: bool


class StatFs(NamedTuple):
    """A neutral statvfs; counts are in blocks of ``block_size`` bytes."""

    block_size: int
    blocks: int
    blocks_free: int
    files: int
    files_free: int
    name_max: int


class KernelNotifier(Protocol):
    """What the filesystem asks of the kernel's caches.

    Only ``drop_pages`` awaits; failures are the notifier's to log.
    """

    @property
    def backlog(self) -> int:
        """Return how many pages and entries wait to be dropped."""

    def forget_attributes(self, ino: int) -> None:
        """Drop the kernel's attributes of an inode, not its pages. Safe from any task."""

    def forget_pages(self, ino: int) -> None:
        """Drop the kernel's pages of an inode, later, from a worker thread with no lock held."""

    def forget_entry(self, parent: int, name: bytes) -> None:
        """Drop the kernel's entry for a name, later, from a worker thread with no lock held."""

    async def drop_pages(self, ino: int) -> None:
        """Drop the kernel's pages and attributes of an inode and wait until that is done.

        The caller holds nothing that answering a read of the file needs.
        """


class SilentKernel:
    """A notifier for a filesystem without a kernel above it."""

    backlog = 0

    def forget_attributes(self, ino: int) -> None:
        """Do nothing."""

    def forget_pages(self, ino: int) -> None:
        """Do nothing."""

    def forget_entry(self, parent: int, name: bytes) -> None:
        """Do nothing."""

    async def drop_pages(self, ino: int) -> None:
        """Do nothing."""
