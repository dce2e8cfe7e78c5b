"""Locks between the processes of one mount: ``LocalLocks`` with somebody to wake who waits.

Every method but ``request`` is one synchronous step.
"""

from __future__ import annotations

import errno
import math
from collections.abc import Iterable
from typing import Final

import trio

from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.locking.keeper import Clock
from azfilesfs.vfs.locks.local import LocalLocks, Stand, Ticket
from azfilesfs.vfs.locks.modes import Mode
from azfilesfs.vfs.locks.ranges import Held, Kind, Owner

_FLUSHED_SECONDS: Final = 0.1
"""How long a lock that is refused because of a handle just closed waits for the handle's end."""


class Arbiter:
    """Who of this mount's processes has and awaits what.

    Attributes:
        local: the state, by inode number.
    """

    def __init__(self, clock: Clock) -> None:
        """Begin with nothing locked."""
        self.local = LocalLocks()
        self._clock = clock
        self._turns: dict[Ticket, trio.Event] = {}
        self._flushed: dict[int, float] = {}
        self._released = trio.Event()

    async def request(self, inode: int, wish: Held, *, wait: bool) -> Ticket:
        """Take a lock as far as this mount is concerned; the ticket is granted.

        A cancellation leaves no lock and no place in the queue.

        Raises:
            VfsError: EAGAIN without ``wait``, EDEADLK, EBADF where the handle was closed meanwhile.
        """
        ticket = await self._ask(inode, wish, wait=wait)
        if ticket.stand is Stand.WAITING:
            turn = self._turns[ticket] = trio.Event()
            try:
                await turn.wait()
            except BaseException:
                self.take_back(ticket)
                raise
            finally:
                del self._turns[ticket]
        if ticket.stand is not Stand.GRANTED:
            raise VfsError(ticket.errno or errno.EBADF, "another process of this mount has it")
        return ticket

    async def _ask(self, inode: int, wish: Held, *, wait: bool) -> Ticket:
        """Ask once; where handles that are being closed are in the way, again at their end."""
        deadline = trio.current_time() + _FLUSHED_SECONDS
        while True:
            ticket = self.local.request(inode, wish, wait=wait, now_ns=self._clock())
            self._wake(self.local.serve(inode, self._clock()))
            refused = ticket.stand is Stand.REFUSED and ticket.errno == errno.EAGAIN
            if not (refused and self._are_closing(self._in_the_way(inode, wish))):
                return ticket
            with trio.move_on_at(deadline) as late:
                await self._released.wait()
            if late.cancelled_caught:
                return ticket

    def _in_the_way(self, inode: int, wish: Held) -> list[Held]:
        is_flock = wish.owner.kind is Kind.FLOCK
        return [
            one
            for one in self.local.held(inode)
            if (one.owner.kind is Kind.FLOCK) == is_flock
            and one.conflicts(wish.owner, wish.mode, wish.span)
        ]

    def _are_closing(self, held: list[Held]) -> bool:
        """Tell whether all these belong to handles just flushed, whose release is on its way."""
        earliest = trio.current_time() - _FLUSHED_SECONDS
        return bool(held) and all(
            self._flushed.get(one.handle, -math.inf) >= earliest for one in held
        )

    def take_back(self, ticket: Ticket) -> None:
        """Withdraw a request that waits, or undo its grant."""
        if ticket.stand is Stand.WAITING:
            self._wake(self.local.cancel(ticket))
        else:
            self._wake(self.local.undo(ticket, self._clock()))

    def give(self, inode: int, wish: Held) -> None:
        """Give up what a wish of Mode.NONE names."""
        self.local.request(inode, wish, wait=False, now_ns=self._clock())
        self._wake(self.local.serve(inode, self._clock()))

    def flush(self, inode: int, handle: int, owner: int) -> None:
        """Drop the fcntl locks of a process that has closed a descriptor of the file."""
        self._flushed[handle] = trio.current_time()
        self._wake(self.local.flush(inode, owner, self._clock()))

    def release(self, inode: int, handle: int) -> None:
        """Drop all that was taken, or is awaited, through a handle that has ended."""
        self._flushed.pop(handle, None)
        self._wake(self.local.release(inode, handle, self._clock()))
        self._wake([ticket for ticket in self._turns if ticket.stand is Stand.GONE])
        self._released.set()
        self._released = trio.Event()

    def lose(self, inode: int, held: Iterable[Held]) -> None:
        """Drop locks that are worth nothing any more."""
        self._wake(self.local.lose(inode, held, self._clock()))

    def tick(self) -> None:
        """Let those go on whom the order alone has held up for too long."""
        if self._turns:
            self._wake(self.local.tick(self._clock()))

    def holds_exclusive(self, inode: int, owner: Owner) -> bool:
        """Tell whether an owner holds an exclusive lock, of any range."""
        mine = (one for one in self.local.held(inode) if one.owner == owner)
        return any(one.mode is Mode.EXCLUSIVE for one in mine)

    def waiting(self) -> int:
        """Return how many requests wait for others of this mount."""
        return len(self._turns)

    def _wake(self, granted: Iterable[Ticket]) -> None:
        for ticket in granted:
            turn = self._turns.get(ticket)
            if turn is not None:
                turn.set()
