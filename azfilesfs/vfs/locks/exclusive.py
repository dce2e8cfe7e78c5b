"""The exclusive lock: the lease on the file itself, then the readers.

First the lease, then the look at the announcements; a reader announces, then looks at the lease.
So one of the two always sees the other.
"""

from __future__ import annotations

from dataclasses import dataclass

from azfilesfs.vfs.locks.contention import Contention, entries
from azfilesfs.vfs.locks.machine import After, Operation, Phase, Purpose, Result
from azfilesfs.vfs.locks.modes import Mode
from azfilesfs.vfs.locks.names import READERS, Announcement
from azfilesfs.vfs.locks.requests import (
    Acquire,
    Answer,
    Backoff,
    Delete,
    Done,
    Found,
    Head,
    List,
    Refusal,
    Refused,
    Unanswered,
)


@dataclass(slots=True)
class Exclusive(Contention):
    """Taking the exclusive lock, from nothing or from the shared one."""

    def _acquire(self, now_ns: int) -> None:
        number = self.session.number
        if number != self.number and (self.file_id, self.number) in self.session.used:
            self.session.drop(self.path, self.file_id, self.number)
        self.number = number
        if not self.session.is_ready(number, now_ns):
            self._await_beat()
            return
        self.session.take(self.path, self.file_id, number)
        self.tentative_ns = now_ns
        self._ask(Phase.ACQUIRE, Acquire(self.path, self._id(number)))

    def _on_acquire(self, answer: Answer, now_ns: int) -> None:
        if isinstance(answer, Done):
            self._verify(answer)
        elif isinstance(answer, Unanswered):
            self._number_in_doubt(now_ns)
        elif answer == Refused(Refusal.MISSING):
            self._path_gone(now_ns)
        else:
            self._contend(now_ns)

    def _number_in_doubt(self, now_ns: int) -> None:
        """Never use an id again whose request may still arrive: the next attempt has a new one."""
        self.session.doubt(self.path, self.file_id, self.number, now_ns)
        self.tried -= {self.session.identity}
        self._pause()

    def _verify(self, answer: Done) -> None:
        """Make sure that the lease is on the file that is open, not on one that replaced it."""
        self.leased = True
        if answer.etag is not None and answer.etag == self.etag:
            self._list_readers()
        else:
            self._ask(Phase.VERIFY, Head(self.path, self._id(self.number)))

    def _on_verify(self, answer: Answer, now_ns: int) -> None:
        if not isinstance(answer, Found):
            missing = answer == Refused(Refusal.MISSING)
            if missing:
                self._undo(After.FINISH, now_ns, Result.STALE)
            else:
                # The lease is not ours any more: somebody broke it by hand.
                self._undo(After.RETRY, now_ns)
        elif answer.file_id != self.file_id:
            self._undo(After.FINISH, now_ns, Result.STALE)
        else:
            self._note_version(answer)
            self._list_readers()

    def _list_readers(self) -> None:
        self._ask(Phase.READERS, self._readers_request())

    def _readers_request(self) -> List:
        return List(READERS, f"{self.file_id}.")

    def _on_readers(self, answer: Answer, now_ns: int) -> None:
        found = (Announcement.parse(entry.name) for entry in entries(answer))
        me = self.session.identity
        self.readers = frozenset(
            one
            for one in found
            if one is not None and one.file_id == self.file_id and one.session != me
        )
        if self.readers:
            self._look(Purpose.READERS)
        else:
            self._grant_exclusive(now_ns)

    def _judge_readers(self, now_ns: int) -> None:
        if not self._unexplained():
            self._dismiss(now_ns)
        elif self._may_stay(now_ns):
            # New readers find the lease and wait, so that those who are there become fewer.
            self.again, self.action = self._readers_request(), Backoff()
            self.phase = Phase.READERS
        else:
            # Also where no session file was seen: a listing may miss one that is being renamed.
            self._blocked(now_ns)

    def _may_stay(self, now_ns: int) -> bool:
        """Tell whether a writer that has made way once keeps the lease while readers leave.

        Not for longer than acquiring may take; and upgrades, which readers wait for, never do.
        """
        if self.operation is not Operation.EXCLUSIVE or not self.wait or not self.made_way:
            return False
        soon = now_ns - self.tentative_ns < self.session.timings.tentative_ns
        return soon and self.session.is_valid(now_ns)

    def _dismiss(self, now_ns: int) -> None:
        """Remove the announcements of the dead, one by one."""
        if not self.readers:
            self._grant_exclusive(now_ns)
            return
        first = min(self.readers, key=lambda one: one.name)
        self._ask(Phase.DISMISS, Delete(READERS, first.name))

    def _on_dismiss(self, answer: Answer, now_ns: int) -> None:
        self.readers -= {min(self.readers, key=lambda one: one.name)}
        self._dismiss(now_ns)

    def _grant_exclusive(self, now_ns: int) -> None:
        slow = now_ns - self.tentative_ns >= self.session.timings.tentative_ns
        if slow or not self.session.is_valid(now_ns):
            self._undo(After.RETRY, now_ns)
            return
        upgrading = self.operation is Operation.UPGRADE
        self.held = Mode.EXCLUSIVE
        if upgrading and self.announced:
            self._ask(Phase.SWAP, Delete(READERS, self._own_announcement().name))
        else:
            self._finish(Result.GRANTED)

    def _on_swap(self, answer: Answer, now_ns: int) -> None:
        """Take the end of an upgrade: the announcement has gone, or the sweep sees to it."""
        if isinstance(answer, Unanswered):
            self._doubt_announcement(now_ns)
        self.announced = False
        self._finish(Result.GRANTED)

    def _blocked(self, now_ns: int) -> None:
        """Wait for another attempt, or say that it would take one."""
        if self.operation is Operation.UPGRADE:
            result = Result.DEADLOCK if self.wait else Result.WOULD_BLOCK
            self._undo(After.FINISH, now_ns, result)
        elif self.wait:
            self.made_way = True
            self._undo(After.RETRY, now_ns)
        else:
            self._undo(After.FINISH, now_ns, Result.WOULD_BLOCK)

    def _path_gone(self, now_ns: int) -> None:
        self._undo(After.FINISH, now_ns, Result.STALE)
