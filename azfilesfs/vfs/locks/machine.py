"""The lock of this mount on one file: its state, the way in for events, the way back from anything.

An operation is begun, and then ``action`` says what to do next until it is ``Rest``. Requests are
sent and their answers given to ``answer``; after pauses ``resume`` is called. Between two events
the state is nothing but the fields here, each an immutable value. Operations on one file come one
at a time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto

from azfilesfs.vfs.locks.modes import Mode
from azfilesfs.vfs.locks.names import READERS, Announcement, Tombstone, lease_id
from azfilesfs.vfs.locks.requests import (
    Action,
    Answer,
    Backoff,
    Create,
    Delete,
    Done,
    Failed,
    Found,
    Head,
    List,
    NeedBeat,
    Quarantine,
    Refusal,
    Refused,
    Release,
    Request,
    Rest,
    Unanswered,
)
from azfilesfs.vfs.locks.session import Life, Session


class Operation(Enum):
    """What is being done."""

    NONE = auto()
    EXCLUSIVE = auto()
    SHARED = auto()
    UPGRADE = auto()
    """Shared to exclusive without giving the shared lock up (fcntl)."""
    DOWNGRADE = auto()
    UNLOCK = auto()


class Result(Enum):
    """How an operation ended."""

    GRANTED = auto()
    RELEASED = auto()
    WOULD_BLOCK = auto()
    DEADLOCK = auto()
    """An upgrade may not wait: who waits for us may be upgrading too."""
    STALE = auto()
    """The path names another file now, or none."""
    LOST = auto()
    """The session was killed: nothing is held any more."""
    CANCELLED = auto()
    FAILED = auto()
    """See ``failure``."""


class Phase(Enum):
    """Which answer is awaited; ``_on_<name>`` of the machine takes it."""

    REST = auto()
    PAUSE = auto()
    ACQUIRE = auto()
    VERIFY = auto()
    READERS = auto()
    DISMISS = auto()
    ANNOUNCE = auto()
    CHECK = auto()
    SWAP = auto()
    LOOK_DEAD = auto()
    LOOK_ALIVE = auto()
    KILL = auto()
    TAKE = auto()
    RELEASE = auto()
    UNANNOUNCE = auto()
    WARN = auto()
    SUSPECT = auto()
    EXAMINE = auto()
    BREAK = auto()
    QUARANTINE = auto()


class After(Enum):
    """What follows once all that an attempt had taken is given back."""

    FINISH = auto()
    RETRY = auto()
    CONTEND = auto()


class Purpose(Enum):
    """Why the sessions are looked at, or ids tried."""

    READERS = auto()
    HOLDER = auto()
    OWN = auto()


_READS = (List, Head)
_PAUSES = (Backoff, NeedBeat, Quarantine)
_UNDOING = (Phase.RELEASE, Phase.UNANNOUNCE, Phase.QUARANTINE)


@dataclass(slots=True)
class Machine(ABC):
    """What every operation has in common.

    Attributes:
        path, file_id, etag: the file, and the version that the cache is good for.
        held: what this mount believes to hold, together with ``may_trust``.
        number: of the lease id; valid while ``leased``.
        leased: the lease was taken and not given back yet.
        announcement: the number of our announcement; valid while ``announced``.
        changed: the file is not the version that ``etag`` named before the operation.
        tentative_ns: when the request that took the lease was sent.
        tried: dead sessions whose ids were tried since ``tried_ns``.
        made_way: this attempt has given the lease back once, for readers or for want of it.
    """

    session: Session
    path: str
    file_id: str
    etag: str | None = None
    break_foreign: bool = False
    held: Mode = Mode.NONE
    operation: Operation = Operation.NONE
    phase: Phase = Phase.REST
    action: Action = field(default_factory=Rest)
    again: Request | None = None
    after: After = After.FINISH
    result: Result | None = None
    failure: Failed | None = None
    wait: bool = True
    cancelled: bool = False
    changed: bool = False
    number: int = 0
    leased: bool = False
    tainted: bool = False
    announcement: int = 0
    announced: bool = False
    tentative_ns: int = 0
    purpose: Purpose = Purpose.HOLDER
    readers: frozenset[Announcement] = frozenset()
    dead: tuple[Tombstone, ...] = ()
    todo: tuple[tuple[str, int], ...] = ()
    tried: frozenset[str] = frozenset()
    tried_ns: int = 0
    made_way: bool = False

    # What the filesystem asks

    @property
    def lease(self) -> str | None:
        """The lease id that every request on the file carries now; None without a lease."""
        return self._id(self.number) if self.leased else None

    def may_trust(self, now_ns: int) -> bool:
        """Tell whether what is held may be believed in: asked after each read's answer."""
        return self.held is not Mode.NONE and self.session.is_valid(now_ns)

    def taint(self) -> None:
        """Note that a request that carried the lease id got no answer: it may arrive late."""
        self.tainted = True

    def drop_lost(self, now_ns: int) -> None:
        """Stop believing: a request was refused for its lease id, or the session was killed."""
        if self.leased:
            self.session.doubt(self.path, self.file_id, self.number, now_ns)
        self.held = Mode.NONE
        self.leased = self.announced = self.tainted = False

    # Events

    def answer(self, answer: Answer, now_ns: int) -> None:
        """Take the answer to the request in ``action``, received at this moment."""
        if isinstance(answer, Unanswered) and isinstance(self.action, _READS):
            self._repeat()
        elif isinstance(answer, Failed) and self.phase is not Phase.SWAP:
            self._failed(answer, now_ns)
        else:
            handler: Callable[[Answer, int], None] = getattr(self, f"_on_{self.phase.name.lower()}")
            handler(Unanswered() if isinstance(answer, Failed) else answer, now_ns)
        self._overrule(now_ns)

    def resume(self, now_ns: int) -> None:
        """Go on after a pause; the same pause may come again."""
        if isinstance(self.action, NeedBeat) and not self._is_ready(now_ns):
            if self.session.failure is not None:
                self._failed(self.session.failure, now_ns)
        elif self.phase is Phase.QUARANTINE:
            self._undo(After.RETRY, now_ns)
        elif self.again is not None:
            self.action, self.again = self.again, None
        else:
            self._retry(now_ns)
        self._overrule(now_ns)

    def cancel(self, now_ns: int) -> None:
        """Give the operation up: what it took is given back, then it rests.

        A request that is under way is still waited for. An unlock that cannot reach the service is
        left to the sweep. A lock that was granted in the same moment stays granted.
        """
        self.cancelled = True
        if isinstance(self.action, _PAUSES):
            self._overrule(now_ns)

    def _overrule(self, now_ns: int) -> None:
        """Put the way back before the next step, where the session died or the caller left."""
        if self.phase is Phase.REST:
            return
        if self.phase in _UNDOING:
            if self.cancelled and isinstance(self.action, Backoff):
                self._given_back(now_ns)
        elif self.session.life not in (Life.UNBORN, Life.STARTING, Life.ALIVE):
            self.held, self.announced = Mode.NONE, False
            self._undo(After.FINISH, now_ns, Result.LOST)
        elif self.cancelled and self.phase is not Phase.SWAP:
            self._undo(After.FINISH, now_ns, Result.CANCELLED)

    # Steps in common

    @abstractmethod
    def _retry(self, now_ns: int) -> None:
        """Begin the attempt at the operation (again)."""

    @abstractmethod
    def _contend(self, now_ns: int) -> None:
        """Find out whether what is in the way is dead."""

    def _is_ready(self, now_ns: int) -> bool:
        return self.session.is_ready(self.number, now_ns)

    def _id(self, number: int) -> str:
        return lease_id(self.session.identity, self.file_id, number)

    def _begin(self, operation: Operation, *, wait: bool = True) -> None:
        if self.phase is not Phase.REST:
            raise RuntimeError(f"{self.operation.name} is not over")
        self.operation, self.wait = operation, wait
        self.cancelled = self.changed = self.made_way = False
        self.tried, self.tried_ns = frozenset(), 0
        self.result = self.failure = None

    def _ask(self, phase: Phase, request: Request) -> None:
        self.phase, self.action = phase, request

    def _repeat(self) -> None:
        """Send the same request again after a pause."""
        if not isinstance(self.action, (*_PAUSES, Rest)):
            self.again, self.action = self.action, Backoff()

    def _pause(self) -> None:
        self.phase, self.action, self.again = Phase.PAUSE, Backoff(), None

    def _await_beat(self, again: Request | None = None) -> None:
        if again is None:
            self.phase = Phase.PAUSE
        self.action, self.again = NeedBeat(), again

    def _finish(self, result: Result) -> None:
        if not self.leased and (self.file_id, self.number) in self.session.used:
            self.session.drop(self.path, self.file_id, self.number)
        self.phase, self.action, self.again = Phase.REST, Rest(), None
        self.operation, self.result = Operation.NONE, result
        self.readers, self.dead, self.todo = frozenset(), (), ()
        self.tried, self.tried_ns, self.tentative_ns = frozenset(), 0, 0
        self.made_way = False

    def _failed(self, failure: Failed, now_ns: int) -> None:
        """End the operation with a failure from outside the protocol, giving back what it took."""
        self.failure = failure
        if self.phase in (Phase.RELEASE, Phase.UNANNOUNCE):
            self._mark_doubt(now_ns)
            self.after, self.result = After.FINISH, Result.FAILED
            self._given_back(now_ns)
        else:
            self._undo(After.FINISH, now_ns, Result.FAILED)

    # The way back

    def _undo(self, after: After, now_ns: int, result: Result | None = None) -> None:
        """Give back what this attempt has taken, one thing after the other; what is held stays."""
        self.after, self.result, self.again = after, result, None
        if self.leased and self.held is not Mode.EXCLUSIVE:
            self._ask(Phase.RELEASE, Release(self.path, self._id(self.number)))
        elif self.announced and self.held is not Mode.SHARED:
            self._ask(Phase.UNANNOUNCE, Delete(READERS, self._own_announcement().name))
        elif after is After.FINISH:
            self._finish(result or Result.RELEASED)
        elif after is After.CONTEND:
            self._contend(now_ns)
        else:
            self._pause()

    def _on_release(self, answer: Answer, now_ns: int) -> None:
        if isinstance(answer, Unanswered):
            self._mark_doubt(now_ns)
            self._repeat()
            return
        if answer == Refused(Refusal.MISSING):
            # The file moved with a directory, or away: the lease may still be on it.
            self._mark_doubt(now_ns)
        self._given_back(now_ns)

    def _on_unannounce(self, answer: Answer, now_ns: int) -> None:
        if isinstance(answer, Unanswered):
            self._mark_doubt(now_ns)
            self._repeat()
            return
        self._given_back(now_ns)

    def _given_back(self, now_ns: int) -> None:
        if self.phase is Phase.RELEASE:
            self._forget_lease(now_ns)
        elif self.phase is Phase.UNANNOUNCE:
            self.announced = False
        self._undo(self.after, now_ns, self.result)

    def _forget_lease(self, now_ns: int) -> None:
        if self.tainted:
            self.session.doubt(self.path, self.file_id, self.number, now_ns)
        elif (self.file_id, self.number) in self.session.used:
            self.session.drop(self.path, self.file_id, self.number)
        self.leased = self.tainted = False

    def _mark_doubt(self, now_ns: int) -> None:
        """Have the sweep repeat what is being given back: its answer did not come."""
        if self.phase is Phase.RELEASE:
            self.session.doubt(self.path, self.file_id, self.number, now_ns)
        else:
            self._doubt_announcement(now_ns)

    def _own_announcement(self) -> Announcement:
        return Announcement(self.file_id, self.session.identity, self.announcement)

    def _doubt_announcement(self, now_ns: int) -> None:
        self.session.doubt_announcement(self.path, self.file_id, self.announcement, now_ns)

    def _renew_announcement(self) -> None:
        """Take a new name, where there is none or a request about the last may still arrive."""
        number = self.announcement
        if not number or self.session.is_announcement_doubtful(self.file_id, number):
            self.announcement = self.session.new_announcement()

    def _ask_announcement(self, phase: Phase) -> None:
        self._ask(phase, Create(READERS, self._own_announcement().name))

    def _on_pause(self, answer: Answer, now_ns: int) -> None:
        raise RuntimeError(f"an answer without a request: {answer}")

    def _on_rest(self, answer: Answer, now_ns: int) -> None:
        raise RuntimeError(f"an answer without a request: {answer}")

    def _note_version(self, found: Found) -> None:
        if found.etag != self.etag:
            self.changed, self.etag = True, found.etag

    def _is_done(self, answer: Answer) -> bool:
        return isinstance(answer, Done)
