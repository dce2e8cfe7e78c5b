"""Keeps requests and renames apart.

A path must not change between building a request from it and its answer.

Each request holds its inode in the gate; a rename closes the gate for a subtree, waits for the
requests in flight below it, and holds new ones back until it is done. Cancellation at any point
leaves the gate as if the task had never come.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import trio

from azfilesfs.model.paths import SharePath
from azfilesfs.vfs.inodes import Inode


class PathGate:
    """Requests in flight by inode, and the subtrees that are being moved."""

    def __init__(self) -> None:
        self._in_flight: dict[Inode, int] = {}
        self._moving: dict[Inode, trio.Event] = {}
        self._changed = trio.Event()

    def path(self, inode: Inode) -> HeldPath:
        """Hold the path of an inode for one request."""
        return HeldPath(self, inode)

    async def hold(self, inode: Inode) -> None:
        """Wait while an inode is being moved, and count a request for it."""
        while (reopened := self._blocked_by(inode)) is not None:
            await reopened.wait()
        self._in_flight[inode] = self._in_flight.get(inode, 0) + 1

    def let_go(self, inode: Inode) -> None:
        """Count a request less."""
        left = self._in_flight[inode] - 1
        if left:
            self._in_flight[inode] = left
        else:
            del self._in_flight[inode]
        # Who waits for requests to end has closed the gate before.
        if self._moving:
            self._notify()

    @asynccontextmanager
    async def moving(self, *inodes: Inode) -> AsyncIterator[None]:
        """Hold still everything at and below the inodes while their paths change.

        Waits for a move that overlaps: two renames in one subtree come one after the other.
        """
        while any(self._overlaps(inode) for inode in inodes):
            await self._changed.wait()
        reopened = trio.Event()
        for inode in inodes:
            self._moving[inode] = reopened
        try:
            while self._busy_below(inodes):
                await self._changed.wait()
            yield
        finally:
            for inode in inodes:
                self._moving.pop(inode, None)
            reopened.set()
            self._notify()

    @property
    def requests_in_flight(self) -> int:
        """Number of requests that hold a path now."""
        return sum(self._in_flight.values())

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def _blocked_by(self, inode: Inode) -> trio.Event | None:
        if self._moving:
            for ancestor in inode.ancestors():
                if ancestor in self._moving:
                    return self._moving[ancestor]
        return None

    def _overlaps(self, inode: Inode) -> bool:
        if self._blocked_by(inode) is not None:
            return True
        return any(inode in moving.ancestors() for moving in self._moving)

    def _busy_below(self, inodes: tuple[Inode, ...]) -> bool:
        return any(
            ancestor in inodes for active in self._in_flight for ancestor in active.ancestors()
        )


class HeldPath(AbstractAsyncContextManager[SharePath]):
    """The path of an inode, held for one request.

    A class rather than a generator, which costs every request several times as much.
    """

    __slots__ = ("_gate", "_inode")

    def __init__(self, gate: PathGate, inode: Inode) -> None:
        self._gate = gate
        self._inode = inode

    async def __aenter__(self) -> SharePath:
        await self._gate.hold(self._inode)
        try:
            return self._inode.path()
        except BaseException:
            self._gate.let_go(self._inode)
            raise

    async def __aexit__(self, *_raised: object) -> None:
        self._gate.let_go(self._inode)
