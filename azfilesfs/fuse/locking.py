"""The handlers of the operation table for locks: arguments in, the filesystem's answer out."""

from __future__ import annotations

import fcntl
from collections.abc import Awaitable
from typing import Final, Protocol

from azfilesfs.fuse.requests import (
    NO_CONFLICT,
    FlockRequest,
    GetLockRequest,
    Handlers,
    HeldLock,
    SetLockRequest,
)
from azfilesfs.vfs.locks.modes import Mode
from azfilesfs.vfs.locks.ranges import END_OF_FILE, Held, Kind, Span

_FLOCKS: Final = {
    fcntl.LOCK_SH: Mode.SHARED,
    fcntl.LOCK_EX: Mode.EXCLUSIVE,
    fcntl.LOCK_UN: Mode.NONE,
}
_TYPES: Final = {
    fcntl.F_RDLCK: Mode.SHARED,
    fcntl.F_WRLCK: Mode.EXCLUSIVE,
    fcntl.F_UNLCK: Mode.NONE,
}


class Locks(Protocol):
    """What the adapter needs of a filesystem's locks; raises ``VfsError`` only."""

    def flock(self, handle: int, mode: Mode, *, wait: bool, pid: int) -> Awaitable[None]:
        """Take, change or give up the flock of an open file description."""
        ...

    def setlk(
        self, handle: int, owner: int, mode: Mode, span: Span, *, wait: bool, pid: int
    ) -> Awaitable[None]:
        """Take, change or give up a range of bytes for a lock owner."""
        ...

    def getlk(self, handle: int, owner: int, mode: Mode, span: Span) -> Awaitable[Held | None]:
        """Return a lock that is in the way of such a one, None for none."""
        ...


class LockHandlers:
    """Answers FLOCK, SETLK, SETLKW and GETLK."""

    def __init__(self, locks: Locks) -> None:
        """Stand on the locks of a filesystem."""
        self._locks = locks

    def table(self) -> Handlers:
        """Return the handlers to register."""
        return Handlers(flock=self.flock, setlk=self.setlk, getlk=self.getlk)

    async def flock(self, request: FlockRequest) -> None:
        """Answer flock(2)."""
        mode = _FLOCKS[request.operation]
        await self._locks.flock(request.handle, mode, wait=request.blocking, pid=request.pid)

    async def setlk(self, request: SetLockRequest) -> None:
        """Answer F_SETLK, F_SETLKW and their OFD forms."""
        await self._locks.setlk(
            request.handle,
            request.owner,
            _TYPES[request.type],
            _span(request.start, request.length),
            wait=request.blocking,
            pid=request.pid,
        )

    async def getlk(self, request: GetLockRequest) -> HeldLock:
        """Answer F_GETLK and F_OFD_GETLK."""
        span = _span(request.start, request.length)
        mode = _TYPES[request.type]
        held = await self._locks.getlk(request.handle, request.owner, mode, span)
        return NO_CONFLICT if held is None else _shown(held)


def _span(start: int, length: int) -> Span:
    return Span(start, start + length if length else END_OF_FILE)


def _shown(held: Held) -> HeldLock:
    kind = fcntl.F_WRLCK if held.mode is Mode.EXCLUSIVE else fcntl.F_RDLCK
    is_open = held.span.stop >= END_OF_FILE
    length = 0 if is_open else held.span.stop - held.span.start
    pid = -1 if held.owner.kind is Kind.OFD else held.pid
    return HeldLock(kind, held.span.start, length, pid)
