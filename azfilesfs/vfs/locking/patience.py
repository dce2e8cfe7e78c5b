"""Requests that meet a lock: another host's is waited for, one of ours is taken along."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import trio

from azfilesfs.errors import LeaseExpired, LeaseIdMismatch, LeaseIdMissing, LeaseNotPresent
from azfilesfs.vfs.context import Context
from azfilesfs.vfs.errors import LOST_LOCK
from azfilesfs.vfs.inodes import Inode

_LOST: Final = (LeaseIdMismatch, LeaseNotPresent)
_SHARE_OF_DEADLINE: Final = 0.5
_FIRST_PAUSE: Final = 0.05
_LAST_PAUSE: Final = 1.0
_CHANGES: Final = 10
_T = TypeVar("_T")


async def with_patience(context: Context, inode: Inode, act: Callable[[], Awaitable[_T]]) -> _T:
    """Do what sends requests about a file, again where a lock was in the way and no longer is.

    Raises:
        LeaseIdMissing: another host held its lock for half of an operation's deadline.
        LeaseExpired: the lock that this mount held is lost; everybody concerned has been told.
    """
    deadline = trio.current_time() + context.options.operation_deadline * _SHARE_OF_DEADLINE
    pause = _FIRST_PAUSE
    for _ in range(_CHANGES):
        while True:
            lease_id = inode.lease_id
            try:
                return await act()
            except LeaseIdMissing:
                if inode.lease_id is not None:
                    break  # taken by a process of this mount meanwhile
                if trio.current_time() + pause > deadline:
                    raise
            except _LOST as error:
                if lease_id == inode.lease_id and context.locks.refused(inode, lease_id):
                    raise LeaseExpired(LOST_LOCK) from error
                break  # given up by a process of this mount meanwhile
            await trio.sleep(pause)
            pause = min(_LAST_PAUSE, 2 * pause)
    raise LeaseIdMissing("the locks on the file keep changing")
