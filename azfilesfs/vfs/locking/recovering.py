"""Giving back what dead sessions of this host hold, and removing old tombstones.

Sessions that the journal of an earlier process names are dead for certain: whoever owns the state
directory is alone. A session of this process that another mount has killed is treated alike.
"""

from __future__ import annotations

import logging
from typing import Final

import trio

from azfilesfs.client.jitter import jitter
from azfilesfs.vfs.locking.journal import LockJournal
from azfilesfs.vfs.locking.service import LockService
from azfilesfs.vfs.locks.journal import Ended, HeldLease
from azfilesfs.vfs.locks.names import DEAD
from azfilesfs.vfs.locks.recovery import Recovered, Recovery, outdated
from azfilesfs.vfs.locks.requests import (
    Backoff,
    Delete,
    List,
    NeedBeat,
    Quarantine,
    Release,
    Rest,
)
from azfilesfs.vfs.locks.session import SECOND_NS, Session, Timings

_REQUEST_SECONDS: Final = 10.0
_PAUSE_SECONDS: Final = 5.0
_LOG = logging.getLogger(__name__)


class RecoveryRunner:
    """Runs the recoveries of one mount, one session after the other, each until it is over."""

    def __init__(self, service: LockService, journal: LockJournal, timings: Timings) -> None:
        """Nothing is read or sent before ``run``."""
        self._service = service
        self._journal = journal
        self._timings = timings
        self._todo: dict[str, tuple[HeldLease, ...]] = {}
        self._arrived = trio.Event()

    def add_own(self, session: Session) -> None:
        """Recover a session of this process that another mount has declared dead."""
        self._todo[session.identity] = tuple(
            HeldLease(one.path, one.file_id, one.number)
            for one in session.leftovers
            if not one.announcement
        )
        self._arrived.set()

    async def run(self) -> None:
        """Recover until cancelled."""
        self._todo |= await trio.to_thread.run_sync(self._journal.read)
        while True:
            for session, held in list(self._todo.items()):
                if await self._recover(session, held):
                    del self._todo[session]
            self._arrived = trio.Event()
            seconds = self._timings.sweep_ns / SECOND_NS if self._todo else float("inf")
            with trio.move_on_after(seconds):
                await self._arrived.wait()

    async def _recover(self, session: str, held: tuple[HeldLease, ...]) -> bool:
        """Run one recovery; tell whether it is over."""
        recovery = Recovery(session, held, self._timings)
        recovery.begin()
        while not isinstance(action := recovery.action, Rest):
            if isinstance(action, Backoff | NeedBeat | Quarantine):
                await trio.sleep(_PAUSE_SECONDS * jitter(0.5, 1.5))
                recovery.resume()
                continue
            path = action.path if isinstance(action, Release) else ""
            reply = await self._service.send_by_text(action, path, _REQUEST_SECONDS)
            recovery.answer(reply.answer)
        if recovery.failure is not None:
            _LOG.warning("locks of an earlier process are left: %s", recovery.failure.reason)
        if recovery.result is not Recovered.OVER:
            return False
        try:
            await self._journal.append([Ended(session)])
        except OSError as error:
            _LOG.warning("the journal of locks cannot be written: %s", error)
        return True

    async def tidy(self) -> None:
        """Delete tombstones that nobody needs any more; what fails is left to others."""
        reply = await self._service.send(List(DEAD), None, _REQUEST_SECONDS)
        for tombstone in outdated(reply.answer):
            await self._service.send(Delete(DEAD, tombstone.name), None, _REQUEST_SECONDS)
