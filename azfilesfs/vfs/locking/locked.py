"""One file with locks: the protocol's machine for it, and the requests that wait for it."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from typing import Final

import trio

from azfilesfs.client.jitter import jitter
from azfilesfs.vfs.errors import VfsError
from azfilesfs.vfs.inodes import Inode
from azfilesfs.vfs.locks.filelock import FileLock
from azfilesfs.vfs.locks.local import LocalLocks, Ticket
from azfilesfs.vfs.locks.modes import Mode
from azfilesfs.vfs.locks.session import SECOND_NS

TURN_NS: Final = SECOND_NS // 4
TURN_GRANTS: Final = 16
"""After either, processes here that come one after the other let other mounts have a turn."""

HELD_BACK_NS: Final = 5 * SECOND_NS
"""How long a reader is held back for a writer elsewhere; as local.PATIENCE_NS."""

_FIRST_BACKOFF: Final = 0.015
_LAST_BACKOFF: Final = 0.7
_POLITE_SECONDS: Final = 0.2
"""How long the lock is left to others at the end of a turn: longer than who waits sleeps."""

_PATIENT_BACKOFF: Final = 0.15
_PATIENT: Final = 20
_CONTENTION_NS: Final = 10 * SECOND_NS
_RECENT_NS: Final = SECOND_NS // 5


def text_path(inode: Inode) -> str | None:
    """Return where a file is on the service, as the protocol notes it; None for nowhere."""
    if not inode.is_named and inode.parked is None:
        return None
    return "/".join(inode.path().components)


class Pending:
    """A lock that a process of this mount has, as far as this mount is concerned, and awaits.

    Attributes:
        done: set once the service's lock is there, or cannot be had (``error``).
        since_ns: boot time at which it began to wait here.
    """

    __slots__ = ("done", "error", "since_ns", "ticket", "wait")

    def __init__(self, ticket: Ticket, *, wait: bool, now_ns: int) -> None:
        self.ticket = ticket
        self.wait = wait
        self.since_ns = now_ns
        self.done = trio.Event()
        self.error: VfsError | None = None

    @property
    def mode(self) -> Mode:
        """What is wanted."""
        return self.ticket.wish.mode

    def had_shared(self) -> bool:
        """Tell whether its owner held the shared lock before, by fcntl, and wants it exclusive."""
        overlaps = (one.span.overlaps(self.ticket.wish.span) for one in self.ticket.before)
        return any(overlaps)


class LockedFile:
    """The state of one file; one worker task at a time acts on it.

    Attributes:
        machine: what is held at the service.
        pendings: in order of arrival.
        changed: set whenever the worker should look again; replaced by it.
        settled: set, and replaced, when the worker has nothing to do any more, or cannot do it now.
        is_working: whether there is a worker.
        stuck: why the lock cannot be given up: what was written under it is not sent yet.
        since_ns: boot time at which the lock was taken at the service; released_ns: was last given
            up.
        turn_ns: when the present turn of this mount began; grants: how often the lock was passed on
            in it. It goes on where the lock is taken again at once.
        wished_ns: when others were last asked for a turn, 0 for never.
        tried, tried_ns: as the machine's, over several locks.
        checked_ns: boot time of the last look for a writer elsewhere; writer_waits: what it showed.
        contended_ns: boot time until which somebody elsewhere is believed to want it too.
        is_local: whether its locks hold on this mount alone, the service having refused them.
        has_granted: whether anybody here has had it since it was taken at the service.
    """

    def __init__(
        self,
        inode: Inode,
        machine: FileLock,
        take_back: Callable[[Ticket], None],
        noted: Callable[[LockedFile, int], None],
    ) -> None:
        """Begin with nothing held.

        ``take_back`` undoes a ticket on this mount whose lock cannot be had at the service;
        ``noted`` is told of each step of the machine, and how the number of leases changed.
        """
        self.inode = inode
        self.machine = machine
        self._take_back = take_back
        self._noted = noted
        self.pendings: list[Pending] = []
        self.changed = trio.Event()
        self.settled = trio.Event()
        self.is_working = False
        self.stuck: VfsError | None = None
        self.since_ns = 0
        self.turn_ns = 0
        self.grants = 0
        self.wished_ns = 0
        self.met_others = False
        self.tried: frozenset[str] = frozenset()
        self.tried_ns = 0
        self.released_ns = 0
        self.contended_ns = 0
        self.checked_ns = 0
        self.writer_waits = False
        self.has_granted = False
        self.is_local = False
        self._backoffs = 0

    def wake(self) -> None:
        """Have the worker look again."""
        self.changed.set()

    def settle(self) -> None:
        """Let those go on who have given a lock up."""
        self.settled.set()
        self.settled = trio.Event()

    def sync_lease(self) -> None:
        """Let the file's other requests carry what the machine holds."""
        before, after = self.inode.lease_id, self.machine.lease
        self.inode.lease_id = after
        self._noted(self, (after is not None) - (before is not None))

    # What is wanted

    def needed(self, local: LocalLocks, now_ns: int) -> Mode:
        """Return the lock that is needed at the service.

        Less than what is held for a moment, where this mount has had it for long and nobody here
        would lose anything by waiting for another turn.
        """
        held = self.machine.held
        if held is Mode.NONE and (self.is_local or not self.inode.is_named):
            return Mode.NONE  # nobody elsewhere is to be kept out
        needed = local.needed(self.inode.number)
        if needed is Mode.NONE or held is Mode.NONE or not self._all_pending(local):
            return needed
        if held is Mode.EXCLUSIVE and self.has_granted and self._turn_is_over(now_ns):
            return Mode.NONE
        if held is Mode.SHARED and self.writer_waits:
            return Mode.NONE
        return needed

    def _all_pending(self, local: LocalLocks) -> bool:
        """Tell whether nobody here has been told yet that the lock is theirs."""
        waiting = {pending.ticket.owner for pending in self.pendings if not pending.ticket.before}
        return all(one.owner in waiting for one in local.held(self.inode.number))

    def _turn_is_over(self, now_ns: int) -> bool:
        return self.grants >= TURN_GRANTS or now_ns - self.turn_ns >= TURN_NS

    def begin_turn(self, now_ns: int) -> None:
        """Note that the lock is there: a new turn, unless nobody else could have had it."""
        self.since_ns = self.checked_ns = now_ns
        self.writer_waits = False
        self.has_granted = False
        others_could = self.met_others or now_ns - self.released_ns > _RECENT_NS
        # At the end of a turn others were waited for, if any are known.
        if others_could or self._turn_is_over(now_ns):
            self.turn_ns, self.grants = now_ns, 0
        self.met_others = False

    def wants(self) -> list[Pending]:
        """Return who waits for more than what is held."""
        return [one for one in self.pendings if one.mode > self.machine.held]

    def is_held_back(self, pending: Pending, now_ns: int) -> bool:
        """Tell whether a reader lets a writer elsewhere go first."""
        if not self.writer_waits or self.machine.held is not Mode.SHARED:
            return False
        return now_ns - pending.since_ns < HELD_BACK_NS

    # What becomes of those who wait

    def grant(self, now_ns: int) -> None:
        """Tell everybody whose lock is there."""
        for pending in list(self.pendings):
            if pending.mode <= self.machine.held and not self.is_held_back(pending, now_ns):
                self.grants += 1
                self.has_granted = True
                self._end(pending)

    def grant_here(self) -> None:
        """Tell everybody that their lock on this mount is all there is."""
        for pending in list(self.pendings):
            self._end(pending)

    def refuse(self, pendings: Iterable[Pending], error: VfsError) -> None:
        """Tell those that their lock cannot be had; they take their tickets back."""
        for pending in list(pendings):
            if pending in self.pendings:
                self._end(pending, error)

    def _end(self, pending: Pending, error: VfsError | None = None) -> None:
        self.pendings.remove(pending)
        pending.error = error
        if error is not None:
            self._take_back(pending.ticket)
        pending.done.set()

    def withdraw(self, ticket: Ticket) -> None:
        """Forget a request that its process has given up."""
        self.pendings = [one for one in self.pendings if one.ticket is not ticket]
        self.wake()

    def refuse_impatient(self) -> None:
        """Tell who does not want to wait that it would take a while."""
        impatient = [one for one in self.wants() if not one.wait]
        self.refuse(impatient, VfsError(errno.EAGAIN, "another mount holds it"))

    # Pauses

    def note_contention(self, now_ns: int) -> None:
        """Remember that somebody elsewhere wants it too."""
        self.contended_ns = now_ns + _CONTENTION_NS

    def meet_others(self, now_ns: int) -> None:
        """Remember that somebody elsewhere had it when this mount wanted it."""
        self.met_others = True
        self.note_contention(now_ns)

    def backoff(self) -> float:
        """Return how long to wait before the next attempt, in seconds; longer each time."""
        last = _PATIENT_BACKOFF if self._backoffs < _PATIENT else _LAST_BACKOFF
        bound = min(last, _FIRST_BACKOFF * 1.6 ** min(self._backoffs, 20))
        self._backoffs += 1
        return bound * jitter(0.5, 1)

    def politeness(self, now_ns: int) -> float:
        """Return how long to leave the lock to others before it is taken again, in seconds."""
        recent = now_ns - self.released_ns <= _RECENT_NS
        if not recent or now_ns >= self.contended_ns or not self._turn_is_over(now_ns):
            return 0.0
        self.met_others = True
        return _POLITE_SECONDS * jitter(1, 1.5)

    def end_attempts(self) -> None:
        """Begin with the shortest wait next time."""
        self._backoffs = 0
