"""The lock of this mount on one file, as the filesystem uses it.

``lock``, ``upgrade``, ``downgrade`` and ``unlock`` begin an operation; machine.py tells how it goes
on.
"""

from __future__ import annotations

from dataclasses import dataclass

from azfilesfs.vfs.locks.foreign import Foreign
from azfilesfs.vfs.locks.machine import After, Operation, Phase, Result
from azfilesfs.vfs.locks.modes import Mode
from azfilesfs.vfs.locks.requests import Answer


@dataclass(slots=True)
class FileLock(Foreign):
    """The whole machine: see ``Machine`` for its fields and events."""

    def lock(self, mode: Mode, now_ns: int, *, wait: bool = True) -> None:
        """Begin to take a lock, from nothing.

        Ends GRANTED, WOULD_BLOCK (without ``wait``), STALE, LOST, CANCELLED or FAILED.
        """
        if self.held is not Mode.NONE or mode is Mode.NONE:
            raise RuntimeError(f"lock {mode.name} while {self.held.name} is held")
        exclusive = mode is Mode.EXCLUSIVE
        self._begin(Operation.EXCLUSIVE if exclusive else Operation.SHARED, wait=wait)
        self.announcement = 0
        self._retry(now_ns)

    def upgrade(self, now_ns: int, *, wait: bool = True) -> None:
        """Begin to make the shared lock exclusive without giving it up (fcntl).

        Ends GRANTED; or, the shared lock kept, WOULD_BLOCK, DEADLOCK (with ``wait``: it never
        waits for another mount), STALE, CANCELLED or FAILED; or LOST. flock does not need this: it
        unlocks, then locks.
        """
        if self.held is not Mode.SHARED:
            raise RuntimeError(f"upgrade while {self.held.name} is held")
        self._begin(Operation.UPGRADE, wait=wait)
        self._retry(now_ns)

    def downgrade(self, now_ns: int, *, wait: bool = True) -> None:
        """Begin to make the exclusive lock shared; everything written is on the service already.

        Ends GRANTED; or, with nothing held, as ``lock`` does.
        """
        if self.held is not Mode.EXCLUSIVE:
            raise RuntimeError(f"downgrade while {self.held.name} is held")
        self._begin(Operation.DOWNGRADE, wait=wait)
        self.announcement = 0
        self._retry(now_ns)

    def unlock(self, now_ns: int) -> None:
        """Begin to give the lock up; everything written is on the service already.

        Nothing is believed in from here on. Ends RELEASED, also where the lease had gone, or FAILED
        (then the sweep goes on trying).
        """
        self._begin(Operation.UNLOCK)
        self.held = Mode.NONE
        self._undo(After.FINISH, now_ns, Result.RELEASED)

    def _retry(self, now_ns: int) -> None:
        if self.operation in (Operation.EXCLUSIVE, Operation.UPGRADE):
            self._acquire(now_ns)
        else:
            self._announce(now_ns)

    def _taken(self, answer: Answer, now_ns: int) -> None:
        if self.operation is Operation.SHARED:
            self._announce(now_ns)
        else:
            self._on_acquire(answer, now_ns)

    def _take_unanswered(self, now_ns: int) -> None:
        if self.operation is Operation.SHARED:
            self._pause()
        else:
            self._number_in_doubt(now_ns)

    def _is_ready(self, now_ns: int) -> bool:
        if self.phase is Phase.SUSPECT:
            fresh = now_ns - self.session.renewed_ns <= self.session.timings.beat_ns
            return fresh and self.session.is_valid(now_ns)
        if self.phase is Phase.PAUSE and self.operation in (Operation.EXCLUSIVE, Operation.UPGRADE):
            return self.session.is_ready(self.session.number, now_ns)
        return self.session.is_valid(now_ns)

    def is_resting(self) -> bool:
        """Tell whether no operation is under way."""
        return self.phase is Phase.REST
