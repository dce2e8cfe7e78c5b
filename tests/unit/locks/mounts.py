"""Mounts for the search: the machines of the package, frozen between two events.

A mount is a value: the fields of its session and of its lock, and how far its program is. Events
are applied by the package's own code; what came of them is remembered, for it depends on nothing
else.
"""

import uuid
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple

from azfilesfs.vfs.locks.filelock import FileLock
from azfilesfs.vfs.locks.machine import After, Machine, Phase, Purpose, Result
from azfilesfs.vfs.locks.modes import Mode
from azfilesfs.vfs.locks.names import lease_id, session_id
from azfilesfs.vfs.locks.requests import (
    Action,
    Answer,
    Backoff,
    Done,
    NeedBeat,
    Refused,
    Request,
    Rest,
    Unanswered,
)
from azfilesfs.vfs.locks.session import SECOND_NS, Life, Session, Timings
from tests.unit.locks.service import Write

PATH, FILE_ID, OTHER_ID = "file", "1", "2"
NOW = 10_000 * SECOND_NS
OLD = NOW - 61 * SECOND_NS
TIMINGS = Timings()
SEEDS = [uuid.UUID(int=number + 1) for number in range(4)]
SESSION_FIELDS = [f.name for f in fields(Session) if f.name not in ("seed", "timings", "records")]
LOCK_FIELDS = [f.name for f in fields(Machine) if f.name not in ("session", "path", "file_id")]
OWNERS = {
    lease_id(session_id(seed, 0), FILE_ID, number): (mount, number)
    for mount, seed in enumerate(SEEDS)
    for number in range(24)
}


class Mount(NamedTuple):
    """One mount: ``app`` is what its program does, ``step`` where in its script it is."""

    number: int
    app: str
    step: int
    epoch: int
    session: tuple
    lock: tuple


@dataclass(frozen=True)
class View:
    """What the schedule and the invariants need to know of a mount."""

    action: Action
    phase: Phase
    held: Mode
    valid: bool
    lease: str | None
    life: Life
    identity: str
    file: str
    stale: bool
    beating: bool
    app: str
    epoch: int
    sweep: tuple[Request, ...]
    resting: bool
    next_op: str
    script_over: bool


@dataclass(frozen=True)
class Rules:
    """The code under test and how its driver behaves; flaws are put in here."""

    lock_class: type[FileLock] = FileLock
    session_class: type[Session] = Session
    break_foreign: bool = False
    late_flush: bool = False
    writes_without_id: bool = False
    knows_etag: bool = True


class Mounts:
    """Applies events to mounts, remembering what came of them."""

    def __init__(self, rules: Rules, scripts: tuple[tuple[str, ...], ...]) -> None:
        """Prepare for mounts that run these scripts."""
        self.rules = rules
        self.scripts = scripts
        self._numbers: dict[Mount, int] = {}
        self._table: list[Mount] = []
        self._next: dict[tuple[int, Any], int] = {}
        self._views: dict[int, View] = {}
        self._beats: dict[int, tuple[int, Request]] = {}
        self._ends: dict[int, Request | None] = {}

    def _number(self, mount: Mount) -> int:
        """Return the small number that stands for a mount's state everywhere outside."""
        number = self._numbers.setdefault(mount, len(self._table))
        if number == len(self._table):
            self._table.append(mount)
        return number

    def first(self, index: int) -> int:
        """Return a mount whose session lives and whose program has not begun."""
        session = self.rules.session_class(SEEDS[index], TIMINGS)
        session.life, session.renewed_ns = Life.ALIVE, NOW
        etag = f"{FILE_ID}/0" if self.rules.knows_etag else None
        lock = self.rules.lock_class(
            session, PATH, FILE_ID, etag, break_foreign=self.rules.break_foreign
        )
        return self._number(self._freeze(index, "idle", 0, 0, lock))

    def _thaw(self, mount: Mount) -> FileLock:
        session = self.rules.session_class(SEEDS[mount.number], TIMINGS)
        for name, value in zip(SESSION_FIELDS, mount.session, strict=True):
            setattr(session, name, value)
        lock = self.rules.lock_class(session, PATH, FILE_ID)
        for name, value in zip(LOCK_FIELDS, mount.lock, strict=True):
            setattr(lock, name, value)
        return lock

    def _freeze(self, index: int, app: str, step: int, epoch: int, lock: FileLock) -> Mount:
        session = tuple(getattr(lock.session, name) for name in SESSION_FIELDS)
        values = tuple(getattr(lock, name) for name in LOCK_FIELDS)
        return Mount(index, app, step, epoch, session, values)

    def view(self, number: int) -> View:
        """Return what is visible of a mount."""
        seen = self._views.get(number)
        if seen is None:
            mount = self._table[number]
            lock = self._thaw(mount)
            session = lock.session
            seen = self._views[number] = View(
                action=lock.action,
                phase=lock.phase,
                held=lock.held,
                valid=session.is_valid(NOW),
                lease=lock.lease,
                life=session.life,
                identity=session.identity,
                file=session.file.name,
                stale=session.renewed_ns == OLD,
                beating=session.pending is not None,
                app=mount.app,
                epoch=mount.epoch,
                sweep=tuple(session.sweep_request(one) for one in session.sweep()),
                resting=lock.is_resting(),
                next_op=self._next_op(mount),
                script_over=mount.step >= len(self.scripts[mount.number]),
            )
        return seen

    def beat(self, number: int) -> tuple[int, Request]:
        """Return the mount with its heartbeat about to be sent, and the request."""
        if number not in self._beats:
            mount = self._table[number]
            lock = self._thaw(mount)
            request = lock.session.beat(NOW)
            assert request is not None
            frozen = self._freeze(mount.number, mount.app, mount.step, mount.epoch, lock)
            self._beats[number] = self._number(frozen), request
        return self._beats[number]

    def end(self, number: int) -> Request | None:
        """Return the request that ends the mount's session."""
        if number not in self._ends:
            self._ends[number] = self._thaw(self._table[number]).session.end()
        return self._ends[number]

    def advance(self, number: int, *event: Any) -> int:
        """Return what becomes of a mount by an event."""
        key = number, event
        if key not in self._next:
            self._next[key] = self._number(self._apply(self._table[number], event))
        return self._next[key]

    def _next_op(self, mount: Mount) -> str:
        """Return what the program does with the lock that it holds."""
        script = self.scripts[mount.number]
        return script[mount.step + 1] if mount.step + 1 < len(script) else ""

    def write(self, number: int) -> Write:
        """Return the write that the program issues."""
        mount = self._table[number]
        lease = None if self.rules.writes_without_id else self.view(number).lease
        return Write(PATH, lease, mount.number, mount.epoch)

    def _apply(self, mount: Mount, event: tuple) -> Mount:
        lock = self._thaw(mount)
        run = _Run(self, mount, lock)
        getattr(run, event[0])(*event[1:])
        run.settle()
        return self._freeze(mount.number, run.app, run.step, run.epoch, lock)


class _Run:
    """One event on one mount."""

    def __init__(self, mounts: Mounts, mount: Mount, lock: FileLock) -> None:
        self.mounts, self.mount, self.lock = mounts, mount, lock
        self.app, self.step, self.epoch = mount.app, mount.step, mount.epoch

    @cached_property
    def script(self) -> tuple[str, ...]:
        return self.mounts.scripts[self.mount.number]

    # Events of the program

    def begin(self) -> None:
        """Begin the next lock; upgrades and downgrades whose lock failed are passed over."""
        while self.step < len(self.script) and self.script[self.step] in ("UP", "DN"):
            self.step += 1
        if self.step < len(self.script):
            mode = Mode.EXCLUSIVE if self.script[self.step] == "EX" else Mode.SHARED
            self.lock.lock(mode, NOW)
            self.app = "op"

    def start_write(self) -> None:
        """Begin a write, which must be answered before anything else happens."""
        self.app = "write"

    def written(self, answer: Answer) -> None:
        """Take the answer to a write."""
        if isinstance(answer, Unanswered):
            self.lock.taint()
        elif isinstance(answer, Done):
            self.app = "hold"
            self.go_on()
        else:
            self.lock.drop_lost(NOW)
            self.app, self.step = "idle", self.step + 1

    def flushed_late(self, answer: Answer) -> None:
        """Take the answer to a write that was sent after the release."""
        self.app, self.step = "idle", self.step + 1

    def go_on(self) -> None:
        """Upgrade, downgrade or unlock, as the script says."""
        operation = self.script[self.step + 1] if self.step + 1 < len(self.script) else ""
        self.app = "op"
        if operation == "UP" and self.lock.held is Mode.SHARED:
            self.step += 1
            self.lock.upgrade(NOW)
        elif operation == "DN" and self.lock.held is Mode.EXCLUSIVE:
            self.step += 1
            self.lock.downgrade(NOW)
        else:
            self.lock.unlock(NOW)

    # Events of the machine and of the environment

    def answer(self, answer: Answer) -> None:
        """Give an answer to the lock's machine."""
        self.lock.answer(answer, NOW)

    def beaten(self, answer: Answer) -> None:
        """Give an answer to the session."""
        session = self.lock.session
        session.answer(answer)
        if session.life is Life.LOST:
            if self.lock.is_resting():
                self.lock.drop_lost(NOW)
                self.app = "done"
            elif isinstance(self.lock.action, Backoff | NeedBeat):
                self.lock.resume(NOW)

    def pause(self) -> None:
        """Be stopped for longer than the time to live."""
        self.lock.session.renewed_ns = OLD
        if self.lock.tentative_ns:
            self.lock.tentative_ns = OLD

    def minute_over(self) -> None:
        """Have a minute go by without being stopped."""
        if self.lock.tentative_ns:
            self.lock.tentative_ns = OLD

    def released_quarantine(self) -> None:
        """Come to the end of a quarantine."""
        self.lock.resume(NOW)

    def crash(self) -> None:
        """Die."""
        self.app = "crash"

    def close(self, answer: Answer) -> None:
        """Unmount."""
        self.lock.session.end()
        self.lock.session.answer(answer)
        if self.lock.session.life is Life.ENDED or isinstance(answer, Refused):
            self.app = "done"

    # Steps without choice

    def settle(self) -> None:
        """Take the steps that no other mount can see, so that they make no states of their own."""
        lock = self.lock
        if self.app in ("crash", "done"):
            return
        if self.app == "op" and isinstance(lock.action, Backoff):
            lock.tried_ns = OLD  # as long a pause as it takes
            lock.resume(NOW)
        if isinstance(lock.action, NeedBeat):
            lock.resume(NOW)
        if self.app == "op" and isinstance(lock.action, Rest):
            self.finished()
        if lock.is_resting():
            # What an operation leaves in its fields has no meaning once it rests.
            lock.wait, lock.cancelled, lock.changed, lock.after = True, False, False, After.FINISH
            lock.purpose, lock.number = Purpose.HOLDER, lock.number if lock.leased else 0
            lock.announcement = lock.announcement if lock.announced else 0
            lock.result = None

    def finished(self) -> None:
        """Go on after an operation."""
        result = self.lock.result
        if result is Result.GRANTED:
            self.app = "hold"
            if self.lock.held is Mode.EXCLUSIVE:
                self.epoch += 1
        elif result in (Result.DEADLOCK, Result.WOULD_BLOCK):
            self.app = "hold" if self.lock.held is not Mode.NONE else "idle"
        elif result is Result.RELEASED:
            late = self.mounts.rules.late_flush and self.script[self.step] == "EX"
            self.app = "late" if late else "idle"
            self.step += not late
        elif self.lock.session.life is Life.LOST:
            self.app = "done"
        else:
            self.app, self.step = "idle", len(self.script)
