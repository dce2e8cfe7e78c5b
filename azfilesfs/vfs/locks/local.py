"""The locks of the processes of one mount: who has what, who waits, in which order.

Every method is one step without waiting. A ``Ticket`` that is WAITING is granted by a later step,
which returns it; the caller wakes whom it belongs to. A grant that turns out to be worth nothing,
because the service's lock cannot be had, is taken back by ``undo``.

Order: who comes first is served first, so that readers cannot keep a writer out. Nobody stands
behind a waiter who waits for themselves, and nobody longer than ``PATIENCE_NS`` for the sake of the
order alone: processes that wait for each other by other means must not be locked up by it.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Final

from azfilesfs.vfs.locks.modes import Mode
from azfilesfs.vfs.locks.ranges import Held, Kind, Owner, restore, set_range

PATIENCE_NS: Final = 5_000_000_000


class Stand(Enum):
    """Where a request for a lock stands."""

    WAITING = auto()
    GRANTED = auto()
    REFUSED = auto()
    """For the reason in ``errno``: EAGAIN, EDEADLK."""
    GONE = auto()
    """Cancelled, or undone."""


@dataclass(slots=True, eq=False)
class Ticket:
    """A request for a lock, or for giving one up (Mode.NONE).

    Attributes:
        before: what the owner held on the file when it was granted, for ``undo``.
        since_ns: when it began to wait.
    """

    inode: int
    wish: Held
    stand: Stand = Stand.WAITING
    errno: int = 0
    before: tuple[Held, ...] = ()
    since_ns: int = 0

    @property
    def owner(self) -> Owner:
        """Who asks."""
        return self.wish.owner


@dataclass(slots=True)
class _File:
    """The locks on one file: flock's and fcntl's stand apart, the queue is one."""

    flocks: tuple[Held, ...] = ()
    ranges: tuple[Held, ...] = ()
    queue: list[Ticket] = field(default_factory=list)

    def held(self, kind: Kind) -> tuple[Held, ...]:
        return self.flocks if kind is Kind.FLOCK else self.ranges

    def put(self, kind: Kind, held: tuple[Held, ...]) -> None:
        if kind is Kind.FLOCK:
            self.flocks = held
        else:
            self.ranges = held

    def blockers(self, wish: Held) -> list[Held]:
        """Return what is held against a wish."""
        return [
            one
            for one in self.held(wish.owner.kind)
            if one.conflicts(wish.owner, wish.mode, wish.span)
        ]

    def ahead(self, ticket: Ticket) -> Iterator[Ticket]:
        """Yield who came earlier and wants what the ticket's wish would keep from them."""
        wish = ticket.wish
        for other in self.queue:
            if other is ticket:
                return
            alike = (other.owner.kind is Kind.FLOCK) == (wish.owner.kind is Kind.FLOCK)
            if alike and other.wish.conflicts(wish.owner, wish.mode, wish.span):
                yield other


class LocalLocks:
    """All locks of one mount's processes, by inode number."""

    def __init__(self) -> None:
        """Begin with nothing locked."""
        self._files: dict[int, _File] = {}

    # Requests

    def request(self, inode: int, wish: Held, *, wait: bool, now_ns: int) -> Ticket:
        """Ask for a lock, or give one up; the answer is in the ticket's ``stand``.

        flock: an exclusive wish of who holds the shared lock drops it first where somebody else
        holds one too, so others may come between and, without ``wait``, nothing is left (flock(2)).
        Every request is followed by ``serve``: what it gave up may be what others wait for.

        Refused with EAGAIN without ``wait``; with EDEADLK where processes would wait for each other
        by fcntl locks.
        """
        file = self._files.setdefault(inode, _File())
        ticket = Ticket(inode, wish, since_ns=now_ns)
        if wish.mode is Mode.NONE or self._is_free(file, ticket, barging=not wait):
            self._grant(file, ticket)
            return ticket
        if wish.owner.kind is Kind.FLOCK:
            file.flocks = tuple(one for one in file.flocks if one.owner != wish.owner)
        if not wait:
            self._refuse(ticket, errno.EAGAIN)
        elif self._is_deadlock(file, ticket):
            self._refuse(ticket, errno.EDEADLK)
        else:
            file.queue.append(ticket)
        return ticket

    def holder(self, inode: int, wish: Held) -> Held | None:
        """Return what is in the way of a wish, the first by position; None if nothing (F_GETLK)."""
        file = self._files.get(inode)
        return next(iter(file.blockers(wish)), None) if file else None

    def cancel(self, ticket: Ticket) -> list[Ticket]:
        """Withdraw a request that waits; return those whose turn has come by that.

        One that was granted in the meantime stays granted.
        """
        if ticket.stand is not Stand.WAITING:
            return []
        ticket.stand = Stand.GONE
        self._files[ticket.inode].queue.remove(ticket)
        return self.serve(ticket.inode, ticket.since_ns)

    def undo(self, ticket: Ticket, now_ns: int) -> list[Ticket]:
        """Take a grant back as if it had been refused; return those whose turn has come.

        fcntl: what the owner held before is held again. flock: nothing is.
        """
        if ticket.stand is not Stand.GRANTED:
            return []
        ticket.stand = Stand.GONE
        file = self._files.setdefault(ticket.inode, _File())
        kind, wish = ticket.owner.kind, ticket.wish
        held = set_range(file.held(kind), replace(wish, mode=Mode.NONE))
        if kind is not Kind.FLOCK:
            held = restore(held, wish.owner, wish.span, ticket.before)
        file.put(kind, held)
        return self.serve(ticket.inode, now_ns)

    # Closing

    def flush(self, inode: int, key: int, now_ns: int) -> list[Ticket]:
        """Drop the process's fcntl locks (a descriptor of the file was closed)."""
        owner = Owner(Kind.POSIX, key)
        return self._drop(inode, now_ns, lambda held: held.owner == owner)

    def release(self, inode: int, handle: int, now_ns: int) -> list[Ticket]:
        """Drop everything that was taken or is wanted through a handle (its last close)."""
        file = self._files.get(inode)
        if file is not None:
            for ticket in [one for one in file.queue if one.wish.handle == handle]:
                ticket.stand = Stand.GONE
                file.queue.remove(ticket)
        return self._drop(inode, now_ns, lambda held: held.handle == handle)

    def lose(self, inode: int, lost: Iterable[Held], now_ns: int) -> list[Ticket]:
        """Drop locks that the service's lock no longer stands behind."""
        gone = set(lost)
        return self._drop(inode, now_ns, lambda held: held in gone)

    # Order

    def serve(self, inode: int, now_ns: int) -> list[Ticket]:
        """Grant what can be granted by now, in order; return it."""
        file = self._files.get(inode)
        if file is None:
            return []
        granted = []
        for ticket in list(file.queue):
            patient = now_ns - ticket.since_ns < PATIENCE_NS
            if self._is_free(file, ticket, barging=not patient):
                file.queue.remove(ticket)
                self._grant(file, ticket)
                granted.append(ticket)
        self._forget_if_empty(inode)
        return granted

    def tick(self, now_ns: int) -> list[Ticket]:
        """Grant what only the order has held up for too long; called every second or so."""
        return [ticket for inode in list(self._files) for ticket in self.serve(inode, now_ns)]

    # What is known

    def needed(self, inode: int) -> Mode:
        """Return the lock that the mount needs at the service for what its processes hold."""
        file = self._files.get(inode)
        held = (*file.flocks, *file.ranges) if file else ()
        return max((one.mode for one in held), default=Mode.NONE)

    def held(self, inode: int) -> tuple[Held, ...]:
        """Return what is held on a file."""
        file = self._files.get(inode)
        return (*file.flocks, *file.ranges) if file else ()

    def waiting(self, inode: int) -> tuple[Ticket, ...]:
        """Return who waits for a file, in order."""
        file = self._files.get(inode)
        return tuple(file.queue) if file else ()

    def inodes(self) -> tuple[int, ...]:
        """Return the files on which anything is held or wanted."""
        return tuple(self._files)

    # Steps

    def _is_free(self, file: _File, ticket: Ticket, *, barging: bool) -> bool:
        if file.blockers(ticket.wish):
            return False
        return barging or all(self._waits_for(file, one, ticket) for one in file.ahead(ticket))

    def _waits_for(self, file: _File, other: Ticket, ticket: Ticket) -> bool:
        """Tell whether a waiter waits for the one who asks, so that asking must not wait for it."""
        return any(
            one.owner == ticket.owner or one.pid == ticket.wish.pid
            for one in file.blockers(other.wish)
        )

    def _grant(self, file: _File, ticket: Ticket) -> None:
        kind = ticket.owner.kind
        held = file.held(kind)
        ticket.before = tuple(one for one in held if one.owner == ticket.owner)
        ticket.stand = Stand.GRANTED
        file.put(kind, set_range(held, ticket.wish))

    def _refuse(self, ticket: Ticket, number: int) -> None:
        ticket.stand, ticket.errno = Stand.REFUSED, number

    def _drop(self, inode: int, now_ns: int, chosen: Callable[[Held], bool]) -> list[Ticket]:
        file = self._files.get(inode)
        if file is None:
            return []
        file.flocks = tuple(one for one in file.flocks if not chosen(one))
        file.ranges = tuple(one for one in file.ranges if not chosen(one))
        return self.serve(inode, now_ns)

    def _forget_if_empty(self, inode: int) -> None:
        if self._files.get(inode) == _File():
            del self._files[inode]

    # Deadlock

    def _is_deadlock(self, file: _File, ticket: Ticket) -> bool:
        """Tell whether a process that holds what is asked for waits, by any detour, for the asker.

        Only processes count: an open file description may be used by who does not wait.
        """
        if ticket.owner.kind is not Kind.POSIX:
            return False
        todo = [one.owner for one in file.blockers(ticket.wish)]
        seen: set[Owner] = set()
        while todo:
            owner = todo.pop()
            if owner == ticket.owner:
                return True
            if owner not in seen and owner.kind is Kind.POSIX:
                seen.add(owner)
                todo.extend(self._waited_for_by(owner))
        return False

    def _waited_for_by(self, owner: Owner) -> Iterator[Owner]:
        for file in self._files.values():
            for ticket in file.queue:
                if ticket.owner == owner:
                    yield from (one.owner for one in file.blockers(ticket.wish))
