"""The requests that reach us around pyfuse3, by the operation table, as plain values.

Locks are named as the system calls name them: operations of flock(2), types and ranges of fcntl(2)
with a length of 0 for a range to the end of the file, whatever its size becomes.
"""

from __future__ import annotations

import fcntl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What every request has.

    Attributes:
        token: names the request for its answer.
        inode: of the file.
        handle: what ``open`` or ``create`` answered.
        owner: who locks: an open file description for flock(2) and OFD locks, a process's table of
            files for the other locks of fcntl(2). 0 for requests other than locks.
        pid: the process, in the daemon's namespace; 0 if it has none there.
        uid: its user.
        gid: its group.
    """

    token: int
    inode: int
    handle: int
    owner: int
    pid: int
    uid: int
    gid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FlockRequest(Request):
    """A flock(2).

    Attributes:
        operation: LOCK_SH, LOCK_EX or LOCK_UN.
        blocking: whether to wait; if not, EWOULDBLOCK is the answer to a conflict.
    """

    operation: int
    blocking: bool

    @property
    def takes(self) -> bool:
        """Whether it asks for a lock, rather than giving one up."""
        return self.operation != fcntl.LOCK_UN


@dataclass(frozen=True, slots=True, kw_only=True)
class SetLockRequest(Request):
    """An F_SETLK, F_SETLKW, F_OFD_SETLK or F_OFD_SETLKW of fcntl(2).

    Attributes:
        type: F_RDLCK, F_WRLCK or F_UNLCK.
        start: the first byte.
        length: in bytes; 0 for all that follow.
        blocking: whether to wait; if not, EAGAIN is the answer to a conflict.
    """

    type: int
    start: int
    length: int
    blocking: bool

    @property
    def takes(self) -> bool:
        """Whether it asks for a lock, rather than giving one up."""
        return self.type != fcntl.F_UNLCK


@dataclass(frozen=True, slots=True, kw_only=True)
class GetLockRequest(Request):
    """An F_GETLK or F_OFD_GETLK of fcntl(2): would this lock be refused, and because of which?"""

    type: int
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class HeldLock:
    """The answer to F_GETLK; ``pid`` is 0 for a holder elsewhere, -1 for an OFD lock."""

    type: int
    start: int
    length: int
    pid: int


NO_CONFLICT = HeldLock(fcntl.F_UNLCK, 0, 0, 0)
"""The answer to F_GETLK that nothing stands in the way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocateRequest(Request):
    """A fallocate(2); ``mode`` has its flags."""

    mode: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SeekRequest(Request):
    """A lseek(2) with SEEK_DATA or SEEK_HOLE; the kernel answers the others itself."""

    offset: int
    whence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyRequest(Request):
    """A copy_file_range(2) between two files of the mount; ``inode`` and so on are the source's."""

    offset: int
    length: int
    target_inode: int
    target_handle: int
    target_offset: int
    flags: int


@dataclass(frozen=True, slots=True)
class Interrupt:
    """The process that waits for this request's answer has got a signal."""

    token: int


@dataclass(frozen=True, slots=True)
class Closing:
    """What pyfuse3 does not pass on of a flush or release.

    Attributes:
        inode: of the file.
        handle: what ``open`` or ``create`` answered.
        owner: flush: whose locks of fcntl(2) on this file end. release: the owner of the flock
            that ends, if there may be one.
        is_release: whether it is the handle's end, rather than one close(2) among several.
        ends_flock: release: whether a flock was ever asked for through this handle.
    """

    inode: int
    handle: int
    owner: int
    is_release: bool
    ends_flock: bool


AnyRequest = (
    FlockRequest | SetLockRequest | GetLockRequest | AllocateRequest | SeekRequest | CopyRequest
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Handlers:
    """What answers the requests; where there is None, the kernel never asks and does as without.

    Handlers raise ``VfsError`` for an errno. One that takes a lock is cancelled when the process
    that waits gets a signal, and must then leave no lock and no place in a queue behind.

    Attributes:
        flock: flock(2). Without it the kernel keeps these locks for itself.
        setlk: fcntl(2) locks; only together with ``getlk``.
        getlk: answers the lock that is in the way, or ``NO_CONFLICT``.
        fallocate: fallocate(2). Without it the answer is EOPNOTSUPP.
        lseek: answers the offset found, or raises ENXIO. Without it all is data up to the end.
        copy_file_range: answers how many bytes were copied. Without it the kernel reads and writes.
    """

    flock: Callable[[FlockRequest], Awaitable[None]] | None = None
    setlk: Callable[[SetLockRequest], Awaitable[None]] | None = None
    getlk: Callable[[GetLockRequest], Awaitable[HeldLock]] | None = None
    fallocate: Callable[[AllocateRequest], Awaitable[None]] | None = None
    lseek: Callable[[SeekRequest], Awaitable[int]] | None = None
    copy_file_range: Callable[[CopyRequest], Awaitable[int]] | None = None

    def __post_init__(self) -> None:
        """Refuse one half of the locks of fcntl(2): the kernel asks for both or for neither."""
        if (self.setlk is None) != (self.getlk is None):
            raise ValueError("setlk and getlk go together")

    def names(self) -> frozenset[str]:
        """Return the operations that have a handler."""
        return frozenset(name for name in self.__slots__ if getattr(self, name) is not None)
