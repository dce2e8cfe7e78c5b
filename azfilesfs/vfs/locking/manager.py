"""Locks of one mount: what the filesystem asks, from flock(2) to the fence before every change.

A request is granted between the processes of this mount first (``Arbiter``), then at the service
(``LockWorker``). State changes in synchronous steps; a request that is cancelled, by a signal or a
deadline, gives its place or its grant back at once, and the worker gives the rest back.
"""

from __future__ import annotations

import errno
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import trio

from azfilesfs import errors
from azfilesfs.client import ShareClient
from azfilesfs.vfs.errors import LOST_LOCK, VfsError
from azfilesfs.vfs.gate import PathGate
from azfilesfs.vfs.inodes import Inode, InodeTable, Place
from azfilesfs.vfs.locking.arbiter import Arbiter
from azfilesfs.vfs.locking.contents import FileContents
from azfilesfs.vfs.locking.elsewhere import mode_elsewhere
from azfilesfs.vfs.locking.journal import LockJournal
from azfilesfs.vfs.locking.keeper import SessionKeeper
from azfilesfs.vfs.locking.locked import LockedFile, Pending, text_path
from azfilesfs.vfs.locking.recovering import RecoveryRunner
from azfilesfs.vfs.locking.service import LockService
from azfilesfs.vfs.locking.worker import LockWorker
from azfilesfs.vfs.locks.journal import Taken
from azfilesfs.vfs.locks.local import Ticket
from azfilesfs.vfs.locks.modes import Mode
from azfilesfs.vfs.locks.observer import LockObserver, NoLockObserver
from azfilesfs.vfs.locks.ranges import Held, Kind, Owner
from azfilesfs.vfs.locks.session import Session, Timings
from azfilesfs.vfs.types import LockOptions

_TICK_SECONDS: Final = 1.0
_SETTLE_SECONDS: Final = 10.0
_LOG = logging.getLogger(__name__)


class LockManager:
    """The locks of one filesystem; ``attach`` completes it, ``run`` and workers are its tasks.

    Attributes:
        arbiter: the locks between the processes of this mount.
        files: what is held or wanted at the service, by inode. holding: those that are held.
        about: what the session's file says of this mount to people.
    """

    def __init__(
        self,
        share: ShareClient,
        gate: PathGate,
        journal: LockJournal,
        options: LockOptions,
        nursery: trio.Nursery,
    ) -> None:
        """Stand on a share without a fence; nothing is sent before the first lock."""
        self._options = options
        self._reaches = options.reach_service
        self._clock = options.clock
        self.arbiter = Arbiter(self._clock)
        self.files: dict[Inode, LockedFile] = {}
        self.holding: set[LockedFile] = set()
        self.nursery = nursery
        self.observer: LockObserver = NoLockObserver()
        self.about: Callable[[], Mapping[str, str]] = dict
        self._service = LockService(share, lambda: self.about())
        timings = Timings(options.ttl)
        self.keeper = SessionKeeper(self._service, journal, timings, self._clock)
        self.keeper.on_lost = self._session_lost
        self._recovery = RecoveryRunner(self._service, journal, timings)
        self._worker = LockWorker(self.arbiter.local, self._service, self.keeper, gate, self._clock)
        self._worker.on_lost = self._lose
        self._worker.break_foreign = options.break_foreign
        self._inodes: InodeTable
        self._effects: FileContents

    def observe(self, observer: LockObserver) -> None:
        """Tell somebody what becomes of locks."""
        self.observer = self._worker.observer = observer

    def forbid(self, reason: str) -> None:
        """Write nothing of ours to the share: locks between hosts cannot be had."""
        self._worker.forbidden = reason

    def attach(self, effects: FileContents, inodes: InodeTable) -> None:
        """Connect it with the contents of files."""
        self._effects = self._worker.effects = effects
        self._inodes = inodes

    async def run(self) -> None:
        """Recover what earlier processes left, send heartbeats, keep the order of who waits."""
        async with trio.open_nursery() as nursery:
            if self._reaches:
                nursery.start_soon(self.keeper.run)
                if not self._worker.forbidden:
                    nursery.start_soon(self._recovery.run)
            while True:
                await trio.sleep(_TICK_SECONDS)
                self.arbiter.tick()

    # Taking

    async def take(self, inode: Inode, wish: Held, *, wait: bool) -> None:
        """Take a lock, on this mount and at the service.

        A cancellation leaves no lock and no place in a queue.

        Raises:
            VfsError: EAGAIN without ``wait``; EDEADLK; ETIMEDOUT after the mount's limit; ESTALE
                where the file is gone; ENOLCK where the service's lock cannot be had.
        """
        began, granted = trio.current_time(), False
        limit = self._options.timeout if wait else None
        self.observer.waiters_changed(wait)
        try:
            with trio.move_on_after(math.inf if limit is None else limit):
                await self._take(inode, wish, wait=wait)
                granted = True
        finally:
            self.observer.waiters_changed(-wait)
            if wait:
                self.observer.waited(trio.current_time() - began, granted=granted)
        if not granted:
            raise VfsError(errno.ETIMEDOUT, "the lock could not be had in the time for it")

    async def _take(self, inode: Inode, wish: Held, *, wait: bool) -> None:
        ticket = await self.arbiter.request(inode.number, wish, wait=wait)
        if self._reaches and inode.place is Place.GONE:
            # On this mount alone it would hold nobody off who uses what has that name now.
            self._withdraw(inode, ticket)
            raise VfsError(errno.ESTALE, "another client removed or replaced the file")
        if self._is_shared(inode):
            try:
                await self._await_service(inode, ticket, wait=wait)
            except BaseException:
                self._withdraw(inode, ticket)
                raise
        self._effects.locked_again(wish.handle)

    def _is_shared(self, inode: Inode) -> bool:
        """Tell whether a lock on this file is one between hosts."""
        return self._reaches and not inode.is_directory and inode.is_named

    async def _await_service(self, inode: Inode, ticket: Ticket, *, wait: bool) -> None:
        file = self._file(inode)
        pending = Pending(ticket, wait=wait, now_ns=self._clock())
        file.pendings.append(pending)
        self._wake(file)
        await pending.done.wait()
        error = pending.error
        if error is None:
            return
        if error.errno == errno.ENOLCK and self._options.fall_back:
            if self._reaches:
                self._reaches = False
                _LOG.warning("locks hold on this mount alone from now on: %s", error.reason)
            file.is_local = True
            await self.arbiter.request(inode.number, ticket.wish, wait=wait)
            return
        raise VfsError(error.errno, error.reason, error.log_level)

    def _withdraw(self, inode: Inode, ticket: Ticket) -> None:
        self.arbiter.take_back(ticket)
        file = self.files.get(inode)
        if file is not None:
            file.withdraw(ticket)
            self._wake(file)

    # Giving up

    async def give(self, inode: Inode, wish: Held) -> None:
        """Give a lock up (Mode.NONE in the wish), after what was written under it is sent.

        Raises:
            VfsError: it could not be sent. The lock is gone for the process; the service's stays
                until the bytes are there.
        """
        failure: VfsError | None = None
        if inode in self.files and self.arbiter.holds_exclusive(inode.number, wish.owner):
            try:
                await self._effects.send_all(inode)
            except VfsError as error:
                failure = error
        self.arbiter.give(inode.number, wish)
        await self._settle(inode)
        if failure is not None:
            raise failure

    async def flushed(self, inode: Inode, handle: int, owner: int) -> None:
        """Drop a process's fcntl locks on a file of which it has closed a descriptor."""
        self.arbiter.flush(inode.number, handle, owner)
        await self._settle(inode)

    async def released(self, inode: Inode, handle: int) -> None:
        """Drop all that was taken through a handle that has ended."""
        self.arbiter.release(inode.number, handle)
        await self._settle(inode)

    async def _settle(self, inode: Inode) -> None:
        """Let the service's lock follow; wait for that, not for a network that does not answer."""
        file = self.files.get(inode)
        if file is None:
            return
        settled = file.settled
        self._wake(file)
        if self.arbiter.local.needed(inode.number) < file.machine.held:
            with trio.move_on_after(_SETTLE_SECONDS):
                await settled.wait()

    # Looking

    async def holder(self, inode: Inode, wish: Held) -> Held | None:
        """Return what is in the way of a wish (F_GETLK); what another mount has, has process 0."""
        found = self.arbiter.local.holder(inode.number, wish)
        if found is not None or not self._is_shared(inode) or inode.place is not Place.LINKED:
            return found
        file = self.files.get(inode)
        if file is not None and file.machine.held is Mode.EXCLUSIVE:
            return None
        keeper = self.keeper
        mode = await mode_elsewhere(
            self._service,
            inode.path(),
            str(inode.file_id),
            keeper.session.identity,
            keeper.request_seconds,
        )
        if not mode.conflicts(wish.mode):
            return None
        return Held(Owner(Kind.POSIX, 0), mode, wish.span, handle=0, pid=0)

    # Believing

    @property
    def holds_any(self) -> bool:
        """Whether anything is held at the service."""
        return bool(self.holding)

    async def fence(self) -> None:
        """Let a change be sent only while this mount's locks may be believed in.

        Raises:
            errors.LeaseExpired: the session could not be confirmed; it may be later.
        """
        if not self.holding or self.keeper.is_valid():
            return
        with trio.move_on_after(self.keeper.request_seconds):
            await self.keeper.beat_now()
        if self.holding and not self.keeper.is_valid():
            raise errors.LeaseExpired("the session that locks here rest on cannot be confirmed")

    def must_confirm(self, inode: Inode) -> bool:
        """Tell whether bytes read under a lock need ``confirm`` before they may be shown."""
        file = self.files.get(inode)
        if file is None or file.machine.held is Mode.NONE:
            return False
        return not file.machine.may_trust(self._clock())

    async def confirm(self, inode: Inode) -> None:
        """Make sure that the lock under which something was read still held then.

        Raises:
            VfsError: EIO, it is lost or nobody knows.
        """
        with trio.move_on_after(2 * self.keeper.request_seconds):
            await self.keeper.beat_now()
        file = self.files.get(inode)
        if file is None or not file.machine.may_trust(self._clock()):
            raise VfsError(errno.EIO, LOST_LOCK, logging.WARNING)

    # Losing

    def refused(self, inode: Inode, lease_id: str | None) -> bool:
        """Take note that a request that carried a lease id was refused for it (412).

        Returns:
            whether the lock is lost by that; else the lease was given up meanwhile, and the request
            may be sent anew.
        """
        file = self.files.get(inode)
        if file is None or lease_id is None or file.machine.lease != lease_id:
            return False
        _LOG.error("the lease on %r was broken or taken: the lock is lost", file.machine.path)
        self._lose(file)
        return True

    def _session_lost(self, session: Session) -> None:
        affected = [file for file in self.files.values() if file.machine.session is session]
        held = [file for file in affected if file.machine.held is not Mode.NONE]
        for file in held:
            self._lose(file)
        for file in affected:
            file.machine.drop_lost(self._clock())
            file.sync_lease()
        if held:
            self._effects.give_up_unsent()
        self._recovery.add_own(session)

    def _lose(self, file: LockedFile) -> None:
        """Take every lock on a file from who believes in it: one synchronous step."""
        inode, waiting = file.inode, {pending.ticket.owner for pending in file.pendings}
        file.machine.drop_lost(self._clock())
        file.sync_lease()
        lost = [one for one in self.arbiter.local.held(inode.number) if one.owner not in waiting]
        self.observer.lost(len(lost))
        self._effects.lose(inode, {one.handle for one in lost})
        self._effects.give_up(inode)
        self.arbiter.lose(inode.number, lost)
        self._wake(file)

    def vanished(self, inode: Inode) -> None:
        """Note that a file was replaced or removed by this mount: its lease went with it."""
        file = self.files.get(inode)
        if file is None:
            return
        machine = file.machine
        if machine.leased:
            machine.session.drop(machine.path, machine.file_id, machine.number)
        file.machine = self._worker.machine(inode)
        file.sync_lease()
        self._wake(file)

    def relocated(self) -> None:
        """Note where held leases are after a rename on this mount, for whoever recovers them."""
        for file in self.files.values():
            machine, path = file.machine, text_path(file.inode)
            if machine.leased and path is not None and path != machine.path:
                machine.path = path
                taken = Taken(machine.session.identity, path, machine.file_id, machine.number)
                machine.session.records += (taken,)

    # Workers

    def _file(self, inode: Inode) -> LockedFile:
        file = self.files.get(inode)
        if file is None:
            machine = self._worker.machine(inode)
            file = LockedFile(inode, machine, self.arbiter.take_back, self._noted)
            self.files[inode] = file
        return file

    def _noted(self, file: LockedFile, leases: int) -> None:
        """Keep the books after a step of a file's machine."""
        if file.machine.held is Mode.NONE:
            self.holding.discard(file)
        else:
            self.holding.add(file)
        if leases:
            self.observer.leases_changed(leases)

    def _wake(self, file: LockedFile) -> None:
        file.wake()
        if not file.is_working:
            file.is_working = True
            self.nursery.start_soon(self._work, file)

    async def _work(self, file: LockedFile) -> None:
        with self._inodes.held(file.inode):
            try:
                await self._worker.run(file)
            except Exception as error:  # noqa: BLE001  # one file must not end the filesystem
                _LOG.exception("the lock on %r failed unexpectedly", file.machine.path)
                file.refuse(file.pendings, VfsError(errno.EIO, f"unexpected: {error}"))
            finally:
                file.is_working = False
                file.settle()
                self._forget_if_idle(file)

    def _forget_if_idle(self, file: LockedFile) -> None:
        idle = file.machine.held is Mode.NONE and not file.pendings and not file.inode.handles
        if idle and not self.arbiter.local.held(file.inode.number):
            self.files.pop(file.inode, None)

    def locked(self) -> Iterator[LockedFile]:
        """Yield the files on which anything is held or wanted at the service."""
        return iter(list(self.files.values()))

    async def end(self) -> None:
        """Give everything up and end the session, at the end of the mount.

        The caller limits the time.
        """
        if not self._reaches:
            return
        for inode in list(self.files):
            self.arbiter.lose(inode.number, self.arbiter.local.held(inode.number))
            await self._settle(inode)
        if self.keeper.has_begun:
            await self.keeper.end()
            await self._recovery.tidy()
