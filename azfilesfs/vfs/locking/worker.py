"""The task that brings the service's lock on one file to what this mount's processes need.

It runs while there is something to do, one task a file. It decides in synchronous steps what to do
next and looks again after each; processes wait for events, never in this task, so a signal frees
them at once and what they leave behind is given back here.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from typing import Final

import trio

from azfilesfs.errors import AzureFilesError
from azfilesfs.model.paths import SharePath
from azfilesfs.model.properties import Properties
from azfilesfs.vfs.errors import VfsError, to_vfs_error
from azfilesfs.vfs.gate import PathGate
from azfilesfs.vfs.inodes import Inode, Place
from azfilesfs.vfs.locking.contents import FileContents
from azfilesfs.vfs.locking.keeper import Clock, SessionKeeper
from azfilesfs.vfs.locking.locked import LockedFile, text_path
from azfilesfs.vfs.locking.service import LockService
from azfilesfs.vfs.locks.filelock import FileLock
from azfilesfs.vfs.locks.local import LocalLocks
from azfilesfs.vfs.locks.machine import Operation, Phase, Purpose, Result
from azfilesfs.vfs.locks.modes import Mode
from azfilesfs.vfs.locks.names import READERS, Wish
from azfilesfs.vfs.locks.observer import LockObserver
from azfilesfs.vfs.locks.ranges import Kind
from azfilesfs.vfs.locks.requests import (
    Acquire,
    Answer,
    Backoff,
    Break,
    Change,
    Create,
    Delete,
    Done,
    Failed,
    Found,
    Head,
    Listed,
    NeedBeat,
    Quarantine,
    Refusal,
    Refused,
    Release,
    Request,
    Rest,
    Unanswered,
)
from azfilesfs.vfs.locks.session import SECOND_NS

_ON_THE_FILE: Final = Acquire | Break | Change | Head | Release
_TAKING: Final = (Operation.EXCLUSIVE, Operation.SHARED, Operation.UPGRADE)
_FINAL: Final = (Result.STALE, Result.FAILED)
_STUCK_SECONDS: Final = 2.0
_LOOK_NS: Final = SECOND_NS
_WISH_NS: Final = 30 * SECOND_NS
"""How long a wish counts after it was put up."""

_LOG = logging.getLogger(__name__)


class LockWorker:
    """Drives the machines of all files; one ``run`` a file at a time."""

    def __init__(
        self,
        local: LocalLocks,
        service: LockService,
        keeper: SessionKeeper,
        gate: PathGate,
        clock: Clock,
    ) -> None:
        self._local = local
        self._service = service
        self._keeper = keeper
        self._gate = gate
        self._clock = clock
        self.effects: FileContents
        self.observer: LockObserver
        self.on_lost: Callable[[LockedFile], None]
        self.break_foreign = False
        self.forbidden = ""
        self._seen: dict[LockedFile, Properties] = {}

    def machine(self, inode: Inode) -> FileLock:
        """Return a machine for a file on which nothing is held."""
        session, path = self._keeper.session, text_path(inode) or ""
        return FileLock(session, path, str(inode.file_id), break_foreign=self.break_foreign)

    async def run(self, file: LockedFile) -> None:
        """Work until what is held at the service is what is needed."""
        while True:
            await trio.lowlevel.checkpoint()
            file.changed = trio.Event()
            now_ns = self._clock()
            needed, held = file.needed(self._local, now_ns), file.machine.held
            if held is Mode.NONE and not file.inode.is_named:
                self._settle_nameless(file)
            if needed > held:
                await self._raise(file, needed)
            elif needed < held:
                await self._lower(file, needed)
            elif file.pendings and held is not Mode.NONE and not file.machine.may_trust(now_ns):
                await self._keeper.beat_now()
            elif not await self._finds_writer(file, now_ns):
                file.grant(now_ns)
                file.end_attempts()
                if not file.pendings and not file.changed.is_set():
                    return
                await self._await_change(file)

    def _settle_nameless(self, file: LockedFile) -> None:
        if file.inode.place is Place.GONE:
            gone = VfsError(errno.ESTALE, "another client removed or replaced the file")
            file.refuse(file.pendings, gone)
        else:
            file.grant_here()

    async def _await_change(self, file: LockedFile) -> None:
        with trio.move_on_after(file.backoff()):
            await file.changed.wait()

    async def _finds_writer(self, file: LockedFile, now_ns: int) -> bool:
        """Look, once a second at most, whether a writer elsewhere waits for the readers here."""
        is_due = now_ns - file.since_ns > _LOOK_NS and now_ns - file.checked_ns > _LOOK_NS
        if file.machine.held is not Mode.SHARED or not file.pendings or not is_due:
            return False
        file.checked_ns = now_ns
        answer = await self._send(file, Head(file.machine.path))
        file.writer_waits = isinstance(answer, Found) and answer.leased
        return file.writer_waits

    # Up

    async def _raise(self, file: LockedFile, needed: Mode) -> None:
        machine = file.machine
        try:
            await self.effects.send_all(file.inode)
        except VfsError as error:
            file.refuse(file.wants(), error)
            return
        if file.needed(self._local, self._clock()) <= machine.held:
            return
        if machine.held is Mode.NONE:
            await self._lock(file, needed)
        elif self._may_drop(file):
            machine.unlock(self._clock())
            await self._drive(file)
        else:
            self._begin(file)
            machine.upgrade(self._clock(), wait=self._waits(file))
            await self._drive(file)
            await self._upgraded(file)

    def _may_drop(self, file: LockedFile) -> bool:
        """Tell whether all that is held here is flocks that await the exclusive lock."""
        held = self._local.held(file.inode.number)
        awaiting = {pending.ticket.owner for pending in file.wants()}
        return all(one.owner.kind is Kind.FLOCK and one.owner in awaiting for one in held)

    def _waits(self, file: LockedFile) -> bool:
        return any(pending.wait for pending in file.wants())

    async def _lock(self, file: LockedFile, needed: Mode) -> None:
        if self.forbidden:
            file.refuse(file.wants(), _no_locks(self.forbidden))
            return
        pause = file.politeness(self._clock())
        if pause:
            await trio.sleep(pause)
        if not file.inode.is_named:
            return
        file.machine = self.machine(file.inode)
        self._begin(file)
        file.machine.lock(needed, self._clock(), wait=self._waits(file))
        # Dead sessions take nothing new, so they are not tried at each lock anew.
        file.machine.tried, file.machine.tried_ns = file.tried, file.tried_ns
        await self._drive(file)
        await self._ended(file)

    def _begin(self, file: LockedFile) -> None:
        file.machine.path = text_path(file.inode) or file.machine.path
        validator = file.inode.validator
        file.machine.etag = validator.etag if validator is not None else None

    async def _upgraded(self, file: LockedFile) -> None:
        """Tell those who hold what they want to upgrade that it deadlocks; others try again."""
        machine, result = file.machine, file.machine.result
        if result in (Result.DEADLOCK, Result.WOULD_BLOCK):
            file.note_contention(self._clock())
            file.refuse_impatient()
            stuck = [one for one in file.wants() if one.had_shared()]
            file.refuse(stuck, VfsError(errno.EDEADLK, "two mounts would wait for each other"))
            if file.wants():
                await self._await_change(file)
        elif machine.phase is Phase.REST:
            await self._ended(file)

    async def _ended(self, file: LockedFile) -> None:
        """Take the end of an attempt to lock."""
        machine, result = file.machine, file.machine.result
        if result is Result.GRANTED:
            await self._granted(file)
        elif result is Result.WOULD_BLOCK:
            file.meet_others(self._clock())
            file.refuse_impatient()
        elif result is Result.STALE:
            stale = VfsError(errno.ESTALE, "another client removed or replaced the file")
            file.refuse(file.wants(), stale)
        elif result is Result.FAILED:
            reason = machine.failure.reason if machine.failure is not None else "unknown"
            file.refuse(file.wants(), _no_locks(reason))
        if machine.held < self._local.needed(file.inode.number) and result in _FINAL:
            # Nobody waits for it, so somebody believes in it: a downgrade that went wrong.
            self.on_lost(file)

    async def _granted(self, file: LockedFile) -> None:
        machine, now_ns = file.machine, self._clock()
        file.begin_turn(now_ns)
        if not machine.changed:
            return
        try:
            await self.effects.take_version(file.inode, self._seen.pop(file, None))
        except (VfsError, AzureFilesError) as error:
            failure = to_vfs_error(error) if isinstance(error, AzureFilesError) else error
            file.refuse(file.pendings, failure)

    # Down

    async def _lower(self, file: LockedFile, needed: Mode) -> None:
        machine = file.machine
        if machine.held is Mode.EXCLUSIVE:
            try:
                await self.effects.send_all(file.inode)
            except VfsError as error:
                if file.inode.dirty is not None:
                    # Nobody else may see the file before its bytes are there.
                    await self._wait_stuck(file, error)
                    return
        file.stuck = None
        if machine.phase is not Phase.REST or machine.held is Mode.NONE:
            return
        self._note_doubt(file)
        machine.path = text_path(file.inode) or machine.path
        if needed is Mode.NONE:
            machine.unlock(self._clock())
        else:
            machine.downgrade(self._clock())
        await self._drive(file)
        file.released_ns = self._clock()
        if needed is not Mode.NONE:
            await self._ended(file)

    async def _wait_stuck(self, file: LockedFile, error: VfsError) -> None:
        file.stuck = error
        file.settle()
        with trio.move_on_after(_STUCK_SECONDS):
            await file.changed.wait()

    def _note_doubt(self, file: LockedFile) -> None:
        lease = file.machine.lease
        if lease is not None and self._service.is_in_doubt(lease):
            file.machine.taint()
            self._service.forget_doubt(lease)

    # Driving

    async def _drive(self, file: LockedFile) -> None:
        """Carry an operation of the machine to its end."""
        machine = file.machine
        file.sync_lease()
        while not isinstance(action := machine.action, Rest):
            file.changed = trio.Event()
            if isinstance(action, Backoff | NeedBeat | Quarantine):
                await self._pause(file, action)
                machine.resume(self._clock())
            else:
                answer = await self._send(file, action)
                self._observe(file, answer)
                machine.answer(answer, self._clock())
            if machine.tried:
                file.tried, file.tried_ns = machine.tried, machine.tried_ns
            file.sync_lease()
            self._cancel_unwanted(file)
        await self._unwish(file)

    async def _wish(self, file: LockedFile) -> None:
        """Ask the others for a turn, and again while it lasts."""
        now_ns = self._clock()
        if file.wants() and now_ns - file.wished_ns > _WISH_NS // 2:
            file.wished_ns = now_ns
            await self._send(file, Create(READERS, self._own_wish(file)))

    async def _unwish(self, file: LockedFile) -> None:
        if file.wished_ns:
            file.wished_ns = 0
            await self._send(file, Delete(READERS, self._own_wish(file)))

    def _own_wish(self, file: LockedFile) -> str:
        return Wish(file.machine.file_id, file.machine.session.identity).name

    def _find_wishes(self, file: LockedFile, listed: Listed) -> None:
        """See in the listing of the readers whether somebody elsewhere asks for a turn."""
        me = file.machine.session.identity
        for entry in listed.entries:
            wish = Wish.parse(entry.name)
            fresh = listed.service_ns - entry.modified_ns < _WISH_NS
            if wish is not None and wish.session != me and fresh:
                file.note_contention(self._clock())

    def _cancel_unwanted(self, file: LockedFile) -> None:
        """Give an attempt up that nobody waits for any more."""
        machine = file.machine
        if self._is_void(file):
            machine.cancel(self._clock())

    async def _pause(self, file: LockedFile, action: Backoff | NeedBeat | Quarantine) -> None:
        machine = file.machine
        if isinstance(action, NeedBeat):
            await self._keeper.beat_now()
            return
        if isinstance(action, Quarantine):
            seconds = max(0.0, (action.until_ns - self._clock()) / SECOND_NS)
        else:
            seconds = file.backoff()
            if machine.phase in (Phase.PAUSE, Phase.READERS):
                file.meet_others(self._clock())
                file.refuse_impatient()
                await self._wish(file)
            elif machine.operation is Operation.UNLOCK:
                # The release was not answered: who unlocked need not wait for the network.
                file.settle()
        if not self._is_void(file):
            with trio.move_on_after(seconds):
                await file.changed.wait()

    def _is_void(self, file: LockedFile) -> bool:
        machine = file.machine
        return (
            machine.operation in _TAKING and self._local.needed(file.inode.number) <= machine.held
        )

    async def _send(self, file: LockedFile, request: Request) -> Answer:
        try:
            await self._keeper.write_records()
        except OSError as error:
            _LOG.error("the journal of locks cannot be written: %s", error)
            return Failed(errno.EIO, f"the journal of locks: {error.strerror or error}")
        seconds = self._keeper.request_seconds
        if not isinstance(request, _ON_THE_FILE):
            return (await self._service.send(request, None, seconds)).answer
        return await self._send_on_file(file, request, seconds)

    async def _send_on_file(self, file: LockedFile, request: Request, seconds: float) -> Answer:
        path: SharePath
        try:
            async with self._gate.path(file.inode) as path:
                reply = await self._service.send(request, path, seconds)
        except VfsError:
            return Refused(Refusal.MISSING)
        if reply.properties is not None:
            self._seen[file] = reply.properties
        return reply.answer

    def _observe(self, file: LockedFile, answer: Answer) -> None:
        """Note what a take-over means to people."""
        machine = file.machine
        if machine.phase is Phase.READERS and isinstance(answer, Listed):
            self._find_wishes(file, answer)
        taken = machine.phase is Phase.TAKE and isinstance(answer, Done)
        if taken and machine.purpose is not Purpose.OWN:
            _LOG.warning("the lock on %r was taken over from a mount that died", machine.path)
            self.observer.taken_over()
        if isinstance(answer, Unanswered):
            _LOG.debug("%s on %r was not answered", type(machine.action).__name__, machine.path)


def _no_locks(reason: str) -> VfsError:
    return VfsError(
        errno.ENOLCK,
        f"locks between hosts cannot be had: {reason} "
        "(--locks=auto or --locks=local keeps them on this mount)",
        logging.ERROR,
    )
