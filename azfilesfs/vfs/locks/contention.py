"""Who is in the way: sessions are looked at, stale ones killed, the dead ones' ids tried.

A session is dead when, and only when, there is a tombstone of it. Age alone only allows to make
one: by a rename of the very generation that was seen, so a session that lives on makes it fail.
"""

from __future__ import annotations

from dataclasses import dataclass

from azfilesfs.vfs.locks.machine import Machine, Operation, Phase, Purpose
from azfilesfs.vfs.locks.names import DEAD, SESSIONS, SessionFile, Tombstone, lease_id
from azfilesfs.vfs.locks.requests import (
    Answer,
    Change,
    Entry,
    List,
    Listed,
    Move,
    Refusal,
    Refused,
    Release,
    Request,
    Unanswered,
)
from azfilesfs.vfs.locks.session import SECOND_NS


@dataclass(slots=True)
class Contention(Machine):
    """Looking at the sessions, and taking from the dead."""

    # Looking

    def _look(self, purpose: Purpose) -> None:
        self.purpose, self.dead = purpose, ()
        self._ask(Phase.LOOK_DEAD, List(DEAD))

    def _on_look_dead(self, answer: Answer, now_ns: int) -> None:
        self.dead = tombstones(answer)
        if self.purpose is Purpose.READERS and not self._unexplained():
            self._judge_readers(now_ns)
        else:
            self._ask(Phase.LOOK_ALIVE, List(SESSIONS))

    def _on_look_alive(self, answer: Answer, now_ns: int) -> None:
        stale = self._stale(answer)
        if stale:
            self._ask(Phase.KILL, self._kill(stale[0]))
        elif self.purpose is Purpose.READERS:
            self._judge_readers(now_ns)
        else:
            self._take_from_dead(now_ns)

    def _on_kill(self, answer: Answer, now_ns: int) -> None:
        # Whatever the answer was: what counts is the tombstone, if there is one.
        self._look(self.purpose)

    def _kill(self, stale: SessionFile) -> Request:
        return Move(SESSIONS, stale.name, DEAD, stale.tombstone().name)

    def _stale(self, answer: Answer) -> list[SessionFile]:
        """Return the sessions in question that may be killed."""
        service_ns = answer.service_ns if isinstance(answer, Listed) else 0
        passed = {one.session for one in self.dead} | {self.session.identity}
        asked = {one.session for one in self.readers}
        return [
            session
            for entry in entries(answer)
            if (session := SessionFile.parse(entry.name)) is not None
            and session.session not in passed
            and (self.purpose is not Purpose.READERS or session.session in asked)
            and is_stale(session, entry, service_ns)
        ]

    def _unexplained(self) -> set[str]:
        """Return the readers' sessions that no tombstone says to be dead."""
        return {one.session for one in self.readers} - {one.session for one in self.dead}

    def _judge_readers(self, now_ns: int) -> None:
        """Go on with taking the exclusive lock, the readers' sessions being known."""

    # Taking

    def _contend(self, now_ns: int) -> None:
        """Try ids of our own that are in doubt first: their requests may have come late."""
        me = self.session.identity
        if now_ns - self.tried_ns >= self.session.timings.ttl_s * SECOND_NS:
            # Another late request of a dead session may have arrived since.
            self.tried, self.tried_ns = frozenset(), now_ns
        if me not in self.tried:
            numbers = self.session.old_numbers(self.file_id)
            self.todo = tuple((me, number) for number in numbers if number != self.number)
        else:
            self.todo = ()
        self.purpose = Purpose.OWN
        self.tried |= {me}
        self._take_next(now_ns)

    def _take_from_dead(self, now_ns: int) -> None:
        self.todo = tuple(
            (one.session, number)
            for one in self.dead
            if not one.clean and one.session not in self.tried
            for number in one.window.numbers()
        )
        self.tried |= {one.session for one in self.dead}
        self._take_next(now_ns)

    def _take_next(self, now_ns: int) -> None:
        if self.todo:
            self._ask(Phase.TAKE, self._take_request(*self.todo[0]))
        elif self.purpose is Purpose.OWN and self.operation is not Operation.UPGRADE:
            self._look(Purpose.HOLDER)
        else:
            self._nobody_dead(now_ns)

    def _take_request(self, session: str, number: int) -> Request:
        old = lease_id(session, self.file_id, number)
        if self.operation is Operation.SHARED:
            return Release(self.path, old)
        return Change(self.path, old, self._id(self.number))

    def _on_take(self, answer: Answer, now_ns: int) -> None:
        if self._is_done(answer):
            self.todo = ()
            self._taken(answer, now_ns)
        elif isinstance(answer, Unanswered):
            session, _ = self.todo[0]
            self.tried -= {session}
            self.todo = ()
            self._take_unanswered(now_ns)
        elif answer == Refused(Refusal.MISSING):
            self._path_gone(now_ns)
        else:
            self.todo = self.todo[1:]
            self._take_next(now_ns)

    def _taken(self, answer: Answer, now_ns: int) -> None:
        """Go on after a dead one's lease was taken or released."""

    def _take_unanswered(self, now_ns: int) -> None:
        """Go on after a taking that was not answered."""

    def _path_gone(self, now_ns: int) -> None:
        """Go on after the path turned out to name nothing."""

    def _nobody_dead(self, now_ns: int) -> None:
        """Go on after all that is dead was tried in vain."""


def is_stale(session: SessionFile, entry: Entry, service_ns: int) -> bool:
    """Tell whether a session may be killed: by the service's clock and its own time to live."""
    return service_ns - entry.modified_ns > session.ttl_s * SECOND_NS


def entries(answer: Answer) -> tuple[Entry, ...]:
    """Return what was listed; a directory that is not there has nothing in it."""
    return answer.entries if isinstance(answer, Listed) else ()


def tombstones(answer: Answer) -> tuple[Tombstone, ...]:
    """Return the tombstones of a listing, the newest first: what is in the way is likely its."""
    newest = sorted(entries(answer), key=lambda entry: (-entry.modified_ns, entry.name))
    found = (Tombstone.parse(entry.name) for entry in newest)
    return tuple(one for one in found if one is not None)
