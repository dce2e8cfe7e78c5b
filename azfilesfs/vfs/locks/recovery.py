"""What the next mount of the same host does for one that died: gives its leases back.

Whoever runs this holds the lock of the state directory, so the process is dead for certain and no
age has to be waited for. Its requests may still arrive for ten minutes: so the leases are released
at once, and again after that time, and only then is the tombstone marked clean.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from azfilesfs.vfs.locks.contention import entries, tombstones
from azfilesfs.vfs.locks.journal import HeldLease
from azfilesfs.vfs.locks.names import DEAD, SESSIONS, SessionFile, Tombstone, lease_id
from azfilesfs.vfs.locks.requests import (
    Action,
    Answer,
    Backoff,
    Failed,
    List,
    Listed,
    Move,
    Refusal,
    Refused,
    Release,
    Request,
    Rest,
    Unanswered,
)
from azfilesfs.vfs.locks.session import SECOND_NS, Timings

KEPT_CLEAN_NS: Final = 24 * 3600 * SECOND_NS
"""How long a tombstone stays after it was marked clean."""


class Recovered(Enum):
    """How far a recovery came."""

    UNDONE = auto()
    LATER = auto()
    """The leases are released; to be run again when the last request must have arrived."""
    OVER = auto()
    """Nothing is left to do: ``Ended`` goes into the journal."""


class _Step(Enum):
    FIND = auto()
    KILL = auto()
    RELEASE = auto()
    JUDGE = auto()
    MARK = auto()


@dataclass(slots=True)
class Recovery:
    """One run of the recovery of one session; driven as ``Machine`` is."""

    session: str
    held: tuple[HeldLease, ...]
    timings: Timings = field(default_factory=Timings)
    result: Recovered = Recovered.UNDONE
    action: Action = field(default_factory=Rest)
    failure: Failed | None = None
    _step: _Step = _Step.FIND
    _todo: tuple[HeldLease, ...] = ()
    _again: Request | None = None
    _moved: bool = False

    def begin(self) -> None:
        """Begin a run."""
        self.result, self.failure, self._moved = Recovered.UNDONE, None, False
        self._ask(_Step.FIND, List(SESSIONS, self.session))

    def resume(self) -> None:
        """Go on after a pause."""
        if self._again is not None:
            self.action, self._again = self._again, None

    def answer(self, answer: Answer) -> None:
        """Take the answer to the request in ``action``."""
        if isinstance(answer, Failed):
            self.failure, self.action = answer, Rest()
        elif isinstance(answer, Unanswered) and not isinstance(self.action, Backoff | Rest):
            self._again, self.action = _repeatable(self.action), Backoff()
        elif self._step is _Step.FIND:
            self._found(answer)
        elif self._step is _Step.KILL:
            self._release(self.held)
        elif self._step is _Step.RELEASE:
            self._moved |= answer == Refused(Refusal.MISSING)
            self._release(self._todo[1:])
        elif self._step is _Step.JUDGE:
            self._judge(answer)
        else:
            self._finish(Recovered.OVER)

    def _ask(self, step: _Step, request: Request) -> None:
        self._step, self.action = step, request

    def _finish(self, result: Recovered) -> None:
        self.result, self.action = result, Rest()

    def _found(self, answer: Answer) -> None:
        files = (SessionFile.parse(entry.name) for entry in entries(answer))
        file = next((one for one in files if one is not None and one.session == self.session), None)
        if file is None:
            self._release(self.held)
        else:
            self._ask(_Step.KILL, Move(SESSIONS, file.name, DEAD, file.tombstone().name))

    def _release(self, todo: tuple[HeldLease, ...]) -> None:
        self._todo = todo
        if todo:
            lease = lease_id(self.session, todo[0].file_id, todo[0].number)
            self._ask(_Step.RELEASE, Release(todo[0].path, lease))
        else:
            self._ask(_Step.JUDGE, List(DEAD, self.session))

    def _judge(self, answer: Answer) -> None:
        dead = next((one for one in tombstones(answer) if one.session == self.session), None)
        if dead is None or dead.clean:
            self._finish(Recovered.OVER)
        elif not is_older(answer, dead, self.timings.sweep_ns):
            self._finish(Recovered.LATER)
        elif self._moved:
            # A lease that moved with a directory may still be there: the tombstone explains it.
            self._finish(Recovered.OVER)
        else:
            clean = Tombstone(dead.session, dead.window, clean=True)
            self._ask(_Step.MARK, Move(DEAD, dead.name, DEAD, clean.name))


def is_older(answer: Answer, tombstone: Tombstone, age_ns: int) -> bool:
    """Tell whether a listed tombstone is older than that, by the service's clock."""
    service_ns = answer.service_ns if isinstance(answer, Listed) else 0
    return any(
        entry.name == tombstone.name and service_ns - entry.modified_ns > age_ns
        for entry in entries(answer)
    )


def outdated(answer: Answer) -> tuple[Tombstone, ...]:
    """Return the clean tombstones of a listing that have stood long enough to be deleted."""
    return tuple(
        one for one in tombstones(answer) if one.clean and is_older(answer, one, KEPT_CLEAN_NS)
    )


def _repeatable(action: Action) -> Request | None:
    return action if isinstance(action, List | Move | Release) else None
