"""Leases of other programs: waited for, or broken where the mount was told to.

A foreign lease matches no id of any session. Whoever takes a lease lists the announcements within
half a time to live; ours stands for a whole one after the break, so nobody whose lease was broken
unseen can believe in it.
"""

from __future__ import annotations

from dataclasses import dataclass

from azfilesfs.vfs.locks.contention import entries
from azfilesfs.vfs.locks.machine import After, Operation, Phase
from azfilesfs.vfs.locks.names import SESSIONS, SessionFile, lease_id
from azfilesfs.vfs.locks.requests import (
    Answer,
    Break,
    Found,
    Head,
    List,
    Quarantine,
    Refusal,
    Refused,
    Unanswered,
)
from azfilesfs.vfs.locks.shared import Shared


@dataclass(slots=True)
class Foreign(Shared):
    """Breaking a lease that no session explains."""

    def _nobody_dead(self, now_ns: int) -> None:
        if self.break_foreign and self.wait and self.operation is not Operation.UPGRADE:
            self._warn(now_ns)
        else:
            self._blocked(now_ns)

    def _warn(self, now_ns: int) -> None:
        self._renew_announcement()
        self._ask_announcement(Phase.WARN)

    def _on_warn(self, answer: Answer, now_ns: int) -> None:
        if isinstance(answer, Unanswered):
            self._doubt_announcement(now_ns)
            self._blocked(now_ns)
            return
        self.announced = self._is_done(answer)
        if self.announced:
            self._suspect()
        else:
            self._blocked(now_ns)

    def _suspect(self) -> None:
        self._ask(Phase.SUSPECT, List(SESSIONS))

    def _on_suspect(self, answer: Answer, now_ns: int) -> None:
        found = (SessionFile.parse(entry.name) for entry in entries(answer))
        self.todo = tuple(
            (one.session, number)
            for one in found
            if one is not None
            for number in one.window.numbers()
        )
        self._examine(now_ns)

    def _examine(self, now_ns: int) -> None:
        if self.todo:
            self._ask(Phase.EXAMINE, Head(self.path, self._suspected()))
        elif now_ns - self.session.renewed_ns > self.session.timings.beat_ns:
            # Not enough of the time to live is left for a break that nobody else interferes with.
            self._await_beat(again=List(SESSIONS))
            self.phase = Phase.SUSPECT
        else:
            self._ask(Phase.BREAK, Break(self.path))

    def _suspected(self) -> str:
        session, number = self.todo[0]
        return lease_id(session, self.file_id, number)

    def _on_examine(self, answer: Answer, now_ns: int) -> None:
        if isinstance(answer, Found) or answer != Refused(Refusal.MISMATCH):
            # One of ours holds it, or nobody does any more.
            self._undo(After.RETRY, now_ns)
            return
        self.todo = self.todo[1:]
        self._examine(now_ns)

    def _on_break(self, answer: Answer, now_ns: int) -> None:
        # Also without an answer: it may have been applied.
        self.phase = Phase.QUARANTINE
        self.action = Quarantine(now_ns + self.session.timings.quarantine_ns)

    def _on_quarantine(self, answer: Answer, now_ns: int) -> None:
        raise RuntimeError(f"an answer without a request: {answer}")
