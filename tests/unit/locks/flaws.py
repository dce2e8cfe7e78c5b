"""The simpler ways that do not work, each put into the package's own code by a subclass.

They stand here to show that the search would find them: a search that finds nothing proves nothing.
"""

from dataclasses import dataclass

from azfilesfs.vfs.locks.contention import entries, is_stale
from azfilesfs.vfs.locks.filelock import FileLock
from azfilesfs.vfs.locks.machine import After, Operation, Phase, Purpose, Result
from azfilesfs.vfs.locks.modes import Mode
from azfilesfs.vfs.locks.names import SESSIONS, SessionFile, Window
from azfilesfs.vfs.locks.requests import (
    Answer,
    Break,
    Delete,
    Done,
    Found,
    Head,
    Listed,
    Move,
    Release,
    Request,
)
from azfilesfs.vfs.locks.session import Leftover, Life, Session
from tests.unit.locks.judge import Budget, Scenario
from tests.unit.locks.mounts import Rules

EX, SH, UP, DN = ("EX",), ("SH",), ("UP",), ("DN",)


class BreaksTheStale(FileLock):
    """A stale session was seen: break whatever lease is there."""

    def _on_look_alive(self, answer: Answer, now_ns: int) -> None:
        if self.purpose is Purpose.HOLDER and self._stale(answer):
            self._ask(Phase.BREAK, Break(self.path))
        else:
            super()._on_look_alive(answer, now_ns)

    def _on_break(self, answer: Answer, now_ns: int) -> None:
        self._retry(now_ns)


class TakesWithoutKilling(FileLock):
    """Old is dead: the ids of a session are tried before anybody killed it."""

    def _on_look_alive(self, answer: Answer, now_ns: int) -> None:
        service_ns = answer.service_ns if isinstance(answer, Listed) else 0
        seen = ((SessionFile.parse(entry.name), entry) for entry in entries(answer))
        self.dead += tuple(s.tombstone() for s, e in seen if s and is_stale(s, e, service_ns))
        if self.purpose is Purpose.READERS:
            self._judge_readers(now_ns)
        else:
            self._take_from_dead(now_ns)


class IgnoresOldReaders(FileLock):
    """A reader whose session is old does not count."""

    def _on_look_alive(self, answer: Answer, now_ns: int) -> None:
        if self.purpose is Purpose.READERS:
            stale = {one.session for one in self._stale(answer)}
            self.readers = frozenset(one for one in self.readers if one.session not in stale)
            self._judge_readers(now_ns)
        else:
            super()._on_look_alive(answer, now_ns)


class KillsBlindly(FileLock):
    """Kill the session whatever generation it is in by now."""

    def _kill(self, stale: SessionFile) -> Request:
        name = stale.tombstone().name
        return Move(SESSIONS, f"{stale.session}.*", "dead", name)


class NeverDoubtsTheTimer(Session):
    """Believe in the lock however long ago the last heartbeat was."""

    def is_valid(self, now_ns: int) -> bool:
        return self.life is Life.ALIVE


class KeepsTheNumber(Session):
    """One lease id for each file, in doubt or not."""

    def doubt(self, path: str, file_id: str, number: int, now_ns: int) -> None:
        return


class RetriesTheSameId(FileLock):
    """An acquire that was not answered is repeated with the id that it had."""

    def _number_in_doubt(self, now_ns: int) -> None:
        self.tainted = True
        self._pause()


class OneAnnouncement(Session):
    """One announcement name for each file and session."""

    def new_announcement(self) -> int:
        self.announcements = 1
        return 1

    def is_announcement_doubtful(self, file_id: str, number: int) -> bool:
        return False

    def sweep(self) -> tuple[Leftover, ...]:
        return tuple(one for one in self.leftovers if not one.announcement)


class LeavesAnnouncements(Session):
    """Announcements are not swept."""

    def sweep(self) -> tuple[Leftover, ...]:
        return tuple(one for one in self.leftovers if not one.announcement)


class LeavesNoTombstone(Session):
    """An unmount deletes the session file."""

    def end(self) -> Request | None:
        request = super().end()
        return Delete(SESSIONS, self.file.name) if request else None


class TellsNobody(Session):
    """Lease ids are used that the session file does not name."""

    def is_ready(self, number: int, now_ns: int) -> bool:
        return self.is_valid(now_ns)

    def _window(self) -> Window:
        return Window(0, 0)

    @property
    def file(self) -> SessionFile:
        return SessionFile(self.identity, self.generation, Window(0, 0))


class VerifiesNothing(FileLock):
    """The lease is taken to be on the file that is open."""

    def _verify(self, answer: Done) -> None:
        self.leased = True
        self._list_readers()


class ChecksThenAnnounces(FileLock):
    """A reader looks first, and announces when it found the file free."""

    def _announce(self, now_ns: int) -> None:
        if self.session.is_valid(now_ns):
            self._ask(Phase.CHECK, Head(self.path))
        else:
            self._await_beat()

    def _on_check(self, answer: Answer, now_ns: int) -> None:
        if isinstance(answer, Found) and not answer.leased:
            self._ask_announcement(Phase.ANNOUNCE)
        else:
            super()._on_check(answer, now_ns)

    def _announced(self) -> None:
        self.held = Mode.SHARED
        self._finish(Result.GRANTED)


class ReleasesThenAnnounces(FileLock):
    """A downgrade releases the lease, then announces, and believes."""

    def downgrade(self, now_ns: int, *, wait: bool = True) -> None:
        self._begin(Operation.DOWNGRADE, wait=wait)
        self.announcement = self.session.new_announcement()
        self.held = Mode.NONE
        self._ask(Phase.SWAP, Release(self.path, self._id(self.number)))

    def _on_swap(self, answer: Answer, now_ns: int) -> None:
        self._forget_lease(now_ns)
        self._ask_announcement(Phase.ANNOUNCE)

    def _announced(self) -> None:
        self.held = Mode.SHARED
        self._finish(Result.GRANTED)


class UpgradesWait(FileLock):
    """An upgrade in place waits for the other readers."""

    def _blocked(self, now_ns: int) -> None:
        if self.operation is Operation.UPGRADE:
            self._undo(After.RETRY, now_ns)
        else:
            super()._blocked(now_ns)


class UpgradesWaitForKeeper(UpgradesWait):
    """As before, and a writer keeps the lease while the readers drain."""

    def _blocked(self, now_ns: int) -> None:
        if self.operation is Operation.EXCLUSIVE and self.leased:
            self._list_readers()
        else:
            super()._blocked(now_ns)


class BreaksAtOnce(FileLock):
    """No session explains the lease at this moment: break it."""

    def _nobody_dead(self, now_ns: int) -> None:
        self._ask(Phase.EXAMINE, Head(self.path))

    def _on_examine(self, answer: Answer, now_ns: int) -> None:
        self._ask(Phase.BREAK, Break(self.path))

    def _on_break(self, answer: Answer, now_ns: int) -> None:
        self._undo(After.RETRY, now_ns)


class NoQuarantine(FileLock):
    """The announcement of a breaker goes as soon as the lease is broken."""

    def _on_break(self, answer: Answer, now_ns: int) -> None:
        self._undo(After.RETRY, now_ns)


class ForgetsNeverTried(FileLock):
    """An id of a dead session is tried once in a wait, however long that is."""

    def _contend(self, now_ns: int) -> None:
        self.tried_ns = now_ns
        super()._contend(now_ns)


class ReusesNames(Session):
    """A reader's name is used again in the same wait although its removal was not answered."""

    def is_announcement_doubtful(self, file_id: str, number: int) -> bool:
        return False


@dataclass(frozen=True)
class Flaw:
    """A flaw, where to look for it, and what it breaks."""

    scenario: Scenario
    expected: tuple[str, ...]


def _flaw(
    scripts: tuple[tuple[str, ...], ...],
    budget: Budget,
    rules: Rules,
    *expected: str,
) -> Flaw:
    return Flaw(Scenario(scripts, budget, rules), expected)


_TIMELESS = Rules(IgnoresOldReaders, NeverDoubtsTheTimer)
FLAWS = {
    "look up, then break": _flaw((EX, EX, EX), Budget(crash=1), Rules(BreaksTheStale), "TAKE-LIVE"),
    "break the paused": _flaw((EX, EX), Budget(pause=1), Rules(BreaksTheStale), "TAKE-LIVE"),
    "readers ignored by age": _flaw((SH, EX), Budget(pause=1), _TIMELESS, "MUTEX"),
    "no timer": _flaw((SH, EX), Budget(pause=1), Rules(session_class=NeverDoubtsTheTimer), "MUTEX"),
    "change without kill": _flaw(
        (EX, EX), Budget(pause=1), Rules(TakesWithoutKilling), "TAKE-LIVE"
    ),
    "blind kill": _flaw((EX, EX), Budget(pause=1), Rules(KillsBlindly), "KILL-LIVE"),
    "one lease id": _flaw(
        (EX + EX,), Budget(delayed=1), Rules(session_class=KeepsTheNumber), "OLD-WRITE", "LOST-LIVE"
    ),
    "one lease id, two mounts": _flaw(
        (EX + EX, EX),
        Budget(delayed=1),
        Rules(session_class=KeepsTheNumber),
        "OLD-WRITE",
        "LOST-LIVE",
    ),
    "one announcement name": _flaw(
        (SH + SH, EX), Budget(delayed=1), Rules(session_class=OneAnnouncement), "MUTEX"
    ),
    "name used again in a wait": _flaw(
        (SH, EX), Budget(delayed=1, lost=1), Rules(session_class=ReusesNames), "MUTEX"
    ),
    "same id retried": _flaw((EX, SH), Budget(delayed=2), Rules(RetriesTheSameId), "OLD-WRITE"),
    "upgrades wait": _flaw((SH + UP, SH + UP), Budget(), Rules(UpgradesWait), "STUCK"),
    "upgrades wait for a keeper": _flaw(
        (SH + UP, EX), Budget(), Rules(UpgradesWaitForKeeper), "STUCK"
    ),
    "no quarantine": _flaw(
        (EX, EX),
        Budget(foreign=1),
        Rules(NoQuarantine, break_foreign=True),
        "TAKE-LIVE",
        "MUTEX",
    ),
    "ids told to nobody": _flaw(
        (EX, EX), Budget(crash=1, delayed=1), Rules(session_class=TellsNobody), "STUCK", "LEAK"
    ),
    "announcements not swept": _flaw(
        (SH, EX), Budget(delayed=1), Rules(session_class=LeavesAnnouncements), "STUCK"
    ),
    "no tombstone": _flaw(
        (EX, EX), Budget(delayed=1), Rules(session_class=LeavesNoTombstone), "LEAK"
    ),
    "file not verified": _flaw((EX, EX), Budget(replace=1), Rules(VerifiesNothing), "WRONG-FILE"),
    "check, then announce": _flaw((SH, EX), Budget(), Rules(ChecksThenAnnounces), "MUTEX"),
    "release, then announce": _flaw((EX + DN, EX), Budget(), Rules(ReleasesThenAnnounces), "MUTEX"),
    "flush after release": _flaw((EX, EX), Budget(), Rules(late_flush=True), "LATE-FLUSH"),
    "writes without id": _flaw(
        (EX, EX), Budget(pause=1), Rules(writes_without_id=True), "UNFENCED-WRITE", "OLD-WRITE"
    ),
    "foreign lease broken at once": _flaw(
        (EX, EX), Budget(foreign=1), Rules(BreaksAtOnce, break_foreign=True), "TAKE-LIVE"
    ),
    "dead ids tried once": _flaw(
        (EX, EX), Budget(crash=1, delayed=1), Rules(ForgetsNeverTried), "STUCK"
    ),
}
