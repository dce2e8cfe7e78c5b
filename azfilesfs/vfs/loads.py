"""What the block reader waits for: runs of blocks on their way, and the budget for all of them."""

from __future__ import annotations

import copy
from collections import deque
from typing import NamedTuple

import trio

from azfilesfs import errors
from azfilesfs.cache import BLOCK_BYTES
from azfilesfs.client import Priority, Urgency
from azfilesfs.model.properties import Properties
from azfilesfs.model.ranges import ByteRange
from azfilesfs.model.versions import Validator
from azfilesfs.vfs.errors import VfsError


class VersionMoved(Exception):
    """The service answered with another version than the one asked for."""

    def __init__(self, properties: Properties) -> None:
        """Carry the properties of the other version."""
        super().__init__("the file has another version")
        self.properties = properties


class Outdated(Exception):
    """A load that was started before this read has failed in a way that may no longer be true."""


class Piece(NamedTuple):
    """Bytes of one version from ``start`` on."""

    start: int
    data: bytes | memoryview


class Load:
    """A run of blocks of one version on its way; it belongs to the reader and survives its waiters.

    Attributes:
        serial: when it was started, on the reader's count of reads and loads.
        finished: set exactly once, when one of ``pieces``, ``moved`` and ``error`` is.
        is_reserved: whether its bytes are already taken from the budget.
        lent: how many bytes of the cache's room it still has for what is on its way.
        waiters: number of reads that joined it.
        urgency: of its requests; raised when somebody waits for it.
    """

    __slots__ = (
        "error",
        "finished",
        "indexes",
        "is_reserved",
        "lent",
        "moved",
        "pieces",
        "serial",
        "urgency",
        "validator",
        "waiters",
    )

    def __init__(self, validator: Validator, indexes: range, serial: int) -> None:
        """Describe the blocks; somebody must run it."""
        self.validator = validator
        self.indexes = indexes
        self.serial = serial
        self.is_reserved = False
        self.lent = 0
        self.waiters = 0
        self.urgency = Urgency(Priority.READAHEAD)
        self.pieces: list[Piece] | None = None
        self.moved: Properties | None = None
        self.error: Exception | None = None
        self.finished = trio.Event()

    @property
    def bytes_reserved(self) -> int:
        """What the load takes from the budget."""
        return len(self.indexes) * BLOCK_BYTES

    async def wait(self, began: int) -> list[Piece]:
        """Wait for the load and return its bytes; a cancellation leaves it running for the others.

        Args:
            began: when the waiting read began, on the same count as ``serial``.

        Raises:
            VersionMoved: the service has another version.
            Outdated: it was started before the read began, and failed in a way that a new request
                may not.
            AzureFilesError, VfsError: it failed.
        """
        self.waiters += 1
        self.urgency.promote()
        await self.finished.wait()
        if self.pieces is not None:
            return self.pieces
        # The path of a load that nobody waited for may have been renamed meanwhile. A broken
        # network is the same for all.
        is_shared_fate = isinstance(self.error, errors.NetworkError | errors.ServerError)
        if self.serial < began and not is_shared_fate:
            raise Outdated
        if self.moved is not None:
            raise VersionMoved(self.moved)
        raise _own(self.error) from self.error


def _own(error: Exception | None) -> Exception:
    """Return a copy for one waiter: one object raised in several tasks mixes their traces."""
    if isinstance(error, errors.AzureFilesError | VfsError):
        return copy.copy(error)
    return errors.ProtocolError(f"loading a block failed: {error!r}")


class ByteBudget:
    """Limits the bytes in flight, first come, first served; one larger than it goes alone.

    Small amounts that somebody waits for are counted and not limited: reads of a slow file, which
    may hold theirs for long, do not hold up those of others.

    Invariants: ``used`` is the sum of all amounts granted and not released; a waiter is in the
    queue until it is granted.
    """

    def __init__(self, limit: int) -> None:
        """Start with nothing in flight."""
        self.limit = limit
        self.used = 0
        self._queue: deque[tuple[int, trio.Event]] = deque()

    def acquire_nowait(self, amount: int) -> bool:
        """Take an amount if it is free and nobody waits; return whether it was taken."""
        if self._queue or not self._fits(amount):
            return False
        self.used += amount
        return True

    @property
    def is_crowded(self) -> bool:
        """Whether so much is in flight that one should ask for what is needed only."""
        return self.used > self.limit // 2

    def take(self, amount: int) -> None:
        """Take an amount, whatever is free."""
        self.used += amount

    async def acquire(self, amount: int) -> None:
        """Wait until an amount is free and take it; a cancellation takes nothing."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self.acquire_nowait(amount):
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        ticket = (amount, trio.Event())
        self._queue.append(ticket)
        try:
            await ticket[1].wait()
        except BaseException:
            if ticket[1].is_set():
                self.release(amount)
            else:
                self._queue.remove(ticket)
                self._grant()
            raise

    def release(self, amount: int) -> None:
        """Give an amount back."""
        self.used -= amount
        self._grant()

    def _fits(self, amount: int) -> bool:
        return self.used == 0 or self.used + amount <= self.limit

    def _grant(self) -> None:
        while self._queue and self._fits(self._queue[0][0]):
            amount, granted = self._queue.popleft()
            self.used += amount
            granted.set()


def assemble(pieces: list[Piece], window: ByteRange) -> bytes | memoryview:
    """Cut the window out of pieces that cover it, in any order and overlapping.

    Where one piece covers it all, the result is a view of that.

    Raises:
        IntegrityError: they do not cover it.
    """
    parts: list[memoryview] = []
    position = window.start
    for start, data in sorted(pieces, key=lambda piece: piece.start):
        if start > position or position >= window.stop:
            break
        part = memoryview(data)[position - start : window.stop - start]
        if part:
            parts.append(part)
            position += len(part)
    if position != window.stop:
        raise errors.IntegrityError("the blocks do not cover the range that was read")
    return parts[0] if len(parts) == 1 else b"".join(parts)
