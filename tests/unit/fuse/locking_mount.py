"""A mount of a filesystem in memory with the operations of the table, as a program of its own.

Each event is a line of JSON on standard output; a line on standard input asks for something.
"""

import errno
import fcntl
import json
import os
import sys
from pathlib import Path
from typing import Any

import trio

from azfilesfs.fuse import optable
from azfilesfs.fuse.dispatcher import Dispatcher, dispatching
from azfilesfs.fuse.guard import Deadlines, Guard
from azfilesfs.fuse.notifier import PyfuseNotifier
from azfilesfs.fuse.operations import Operations
from azfilesfs.fuse.requests import (
    NO_CONFLICT,
    AllocateRequest,
    CopyRequest,
    FlockRequest,
    GetLockRequest,
    Handlers,
    HeldLock,
    SeekRequest,
    SetLockRequest,
)
from azfilesfs.fuse.session import MountOptions, Session, mounted
from azfilesfs.vfs.errors import VfsError
from tests.unit.fuse.memory import MemoryFilesystem


def tell(event: str, **facts: Any) -> None:
    """Print an event."""
    sys.stdout.write(json.dumps({"event": event} | facts) + "\n")
    sys.stdout.flush()


class Locks:
    """Exclusive locks, one a file and kind; enough to make somebody wait."""

    def __init__(self) -> None:
        """Start with none held."""
        self.owners: dict[tuple[str, int], int] = {}
        self.changed = trio.Event()

    def free(self, kind: str, inode: int, owner: int) -> None:
        """Let go, if it is this owner's."""
        if self.owners.get((kind, inode)) == owner:
            del self.owners[kind, inode]
            self.changed.set()
            self.changed = trio.Event()

    async def take(self, request: FlockRequest | SetLockRequest, kind: str) -> None:
        """Take it, after a wait if the request may wait."""
        key = (kind, request.inode)
        while self.owners.get(key, request.owner) != request.owner:
            if not request.blocking:
                raise VfsError(errno.EWOULDBLOCK)
            await self.changed.wait()
        self.owners[key] = request.owner


class Handling:
    """The handlers; each tells what arrived and how it ended."""

    def __init__(self, locks: Locks) -> None:
        """Stand on the locks."""
        self.locks = locks

    async def flock(self, request: FlockRequest) -> None:
        """Lock or unlock."""
        await self._lock(request, "flock", operation=request.operation)

    async def setlk(self, request: SetLockRequest) -> None:
        """Lock or unlock; bytes from 2**40 on belong to the handler's defect."""
        if request.start == 2**40:
            raise KeyError("a defect")
        await self._lock(
            request, "setlk", type=request.type, start=request.start, length=request.length
        )

    async def _lock(self, request: FlockRequest | SetLockRequest, kind: str, **facts: Any) -> None:
        tell(
            kind,
            fh=request.handle,
            owner=request.owner,
            pid=request.pid,
            uid=request.uid,
            blocking=request.blocking,
            **facts,
        )
        if not request.takes:
            self.locks.free(kind, request.inode, request.owner)
            return
        outcome = "cancelled"
        try:
            await self.locks.take(request, kind)
            outcome = "granted"
        except VfsError:
            outcome = "refused"
            raise
        finally:
            tell(f"{kind} {outcome}", owner=request.owner)

    async def getlk(self, request: GetLockRequest) -> HeldLock:
        """Answer a made-up holder of bytes below 1000, nobody above."""
        tell("getlk", type=request.type, start=request.start, length=request.length)
        return HeldLock(fcntl.F_WRLCK, 7, 11, os.getpid()) if request.start < 1000 else NO_CONFLICT

    async def fallocate(self, request: AllocateRequest) -> None:
        """Accept any."""
        tell("fallocate", mode=request.mode, offset=request.offset, length=request.length)

    async def lseek(self, request: SeekRequest) -> int:
        """Answer that every second block of 4 KiB is a hole."""
        tell("lseek", offset=request.offset, whence=request.whence)
        block = request.offset // 4096
        is_there = block % 2 == (0 if request.whence == os.SEEK_DATA else 1)
        return request.offset if is_there else (block + 1) * 4096

    async def copy_file_range(self, request: CopyRequest) -> int:
        """Claim to have copied three bytes."""
        tell(
            "copy_file_range",
            offset=request.offset,
            length=request.length,
            source=request.handle,
            target=request.target_handle,
            target_offset=request.target_offset,
        )
        return 3


class Watched(MemoryFilesystem):
    """Tells what is known of every close."""

    def __init__(self, table: optable.OperationTable, locks: Locks) -> None:
        """Start with an empty root directory."""
        super().__init__()
        self._table = table
        self._locks = locks

    async def flush(self, handle: int, lock_owner: int | None = None) -> None:
        """End the locks that end with a close(2)."""
        closing = self._table.closing(handle)
        assert closing is not None
        assert not closing.is_release
        tell("flush", fh=handle, owner=closing.owner)
        self._locks.free("setlk", closing.inode, closing.owner)

    async def release(self, handle: int) -> None:
        """End the locks that end with the handle."""
        closing = self._table.closing(handle)
        assert closing is not None
        assert closing.is_release
        assert self._table.closing(handle) is None
        tell("release", fh=handle, owner=closing.owner, ends_flock=closing.ends_flock)
        self._locks.free("flock", closing.inode, closing.owner)


async def obey(session: Session, dispatcher: Dispatcher) -> None:
    """Do what standard input asks for."""
    async with trio.lowlevel.FdStream(os.dup(0)) as orders:
        async for order in orders:
            if order == b"unanswered\n":
                tell("unanswered", count=dispatcher.unanswered)
            else:
                session.terminate()


async def main(mountpoint: Path, operations: list[str]) -> None:
    """Mount with handlers for the operations, until the mount ends."""
    table = optable.load()
    locks = Locks()
    handling = Handling(locks)
    handlers = Handlers(**{name: getattr(handling, name) for name in operations})
    guard = Guard(Deadlines(10, 10))
    served = Operations(Watched(table, locks), guard)
    options = MountOptions(mountpoint=mountpoint, source="account/share")
    with (
        dispatching(table, handlers, guard) as dispatcher,
        mounted(served, options, PyfuseNotifier(), dispatcher) as session,
    ):
        async with trio.open_nursery() as nursery:

            async def serve(*, task_status: trio.TaskStatus[None]) -> None:
                await session.serve(task_status=task_status)
                nursery.cancel_scope.cancel()

            await nursery.start(serve)
            tell("up", flock=table.has_flock, posix=table.has_posix_locks)
            nursery.start_soon(obey, session, dispatcher)
    tell("down", unanswered=dispatcher.unanswered, closed=table.wake_fd < 0)


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), sys.argv[2:])
