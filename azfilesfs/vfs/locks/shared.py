"""The shared lock: an announcement, then a look at the lease."""

from __future__ import annotations

from dataclasses import dataclass

from azfilesfs.vfs.locks.exclusive import Exclusive
from azfilesfs.vfs.locks.machine import After, Operation, Phase, Result
from azfilesfs.vfs.locks.modes import Mode
from azfilesfs.vfs.locks.requests import (
    Answer,
    Done,
    Found,
    Head,
    Refusal,
    Refused,
    Release,
    Unanswered,
)


@dataclass(slots=True)
class Shared(Exclusive):
    """Taking the shared lock, from nothing or from the exclusive one."""

    def _announce(self, now_ns: int) -> None:
        if not self.session.is_valid(now_ns):
            self._await_beat()
            return
        self._renew_announcement()
        self._ask_announcement(Phase.ANNOUNCE)

    def _on_announce(self, answer: Answer, now_ns: int) -> None:
        if isinstance(answer, Unanswered):
            self._doubt_announcement(now_ns)
            self._pause()
        elif not isinstance(answer, Done):
            self._path_gone(now_ns)
        else:
            self.announced = True
            self._announced()

    def _announced(self) -> None:
        if self.operation is Operation.DOWNGRADE:
            self.held = Mode.NONE
            self._ask(Phase.SWAP, Release(self.path, self._id(self.number)))
        else:
            self._check()

    def _on_swap(self, answer: Answer, now_ns: int) -> None:
        if self.operation is not Operation.DOWNGRADE:
            Exclusive._on_swap(self, answer, now_ns)
            return
        if isinstance(answer, Unanswered) or answer == Refused(Refusal.MISSING):
            self.tainted = True
        self._forget_lease(now_ns)
        if isinstance(answer, Done) and self.session.is_valid(now_ns):
            self.held = Mode.SHARED
            self._finish(Result.GRANTED)
            return
        # The lease may not have been ours at the end: look, as a new reader does.
        self.operation = Operation.SHARED
        self._check()

    def _check(self) -> None:
        self._ask(Phase.CHECK, Head(self.path))

    def _on_check(self, answer: Answer, now_ns: int) -> None:
        if not isinstance(answer, Found) or answer.file_id != self.file_id:
            self._undo(After.FINISH, now_ns, Result.STALE)
        elif answer.leased:
            self._undo(After.CONTEND, now_ns)
        elif not self.session.is_valid(now_ns):
            self._await_beat(again=Head(self.path))
        else:
            self._note_version(answer)
            self.held = Mode.SHARED
            self._finish(Result.GRANTED)
