"""The heartbeat of the mount's session: when it is sent, what follows, who is told of a loss.

One request of the session is under way at a time. State changes are the session's own, in
synchronous steps; who waits for a heartbeat waits for the end of the one that is under way or next.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from typing import Final

import trio

from azfilesfs.client.jitter import jitter
from azfilesfs.vfs.locking.journal import LockJournal
from azfilesfs.vfs.locking.service import LockService
from azfilesfs.vfs.locks.requests import Answer, Failed, Request, Unanswered
from azfilesfs.vfs.locks.session import SECOND_NS, Life, Session, Timings

Clock = Callable[[], int]
"""Nanoseconds of a clock that runs on while the machine sleeps (CLOCK_BOOTTIME)."""

_FIRST_WAIT: Final = 0.2
_LAST_WAIT: Final = 2.0
_LOG = logging.getLogger(__name__)


class SessionKeeper:
    """Keeps one session after the other alive, from the first lock on.

    Attributes:
        session: the present one; another after a loss.
        on_lost: called, synchronously, with a session that another mount has declared dead.
    """

    def __init__(
        self, service: LockService, journal: LockJournal, timings: Timings, clock: Clock
    ) -> None:
        """Begin with a session that does not exist at the service yet."""
        self._service = service
        self._journal = journal
        self._timings = timings
        self._clock = clock
        self.session = Session(uuid.uuid4(), timings)
        self.on_lost: Callable[[Session], None] = lambda session: None
        self._wanted = trio.Event()
        self._done = trio.Event()
        self._beating = trio.Lock()
        self._failures = 0

    @property
    def request_seconds(self) -> float:
        """How long one request of the protocol may take; two and more fit in a time to live."""
        return self._timings.beat_ns / SECOND_NS

    @property
    def has_begun(self) -> bool:
        """Whether a session was ever begun: without one nothing is to be ended."""
        return self.session.life is not Life.UNBORN or self.session.incarnation > 0

    def is_valid(self) -> bool:
        """Tell whether locks may be believed in now."""
        return self.session.is_valid(self._clock())

    async def run(self) -> None:
        """Send heartbeats until cancelled."""
        while True:
            await self._until_due()
            async with self._beating:
                await self._beat()
                if self.session.life is Life.ALIVE and self.session.pending is None:
                    await self._sweep()

    async def beat_now(self) -> None:
        """Have a heartbeat sent and wait for its end, answered or not."""
        self._wanted.set()
        await self._done.wait()

    async def _until_due(self) -> None:
        if self._failures and self.session.failure is None:
            pause = min(_LAST_WAIT, _FIRST_WAIT * 2 ** (self._failures - 1))
            pause = min(pause, self.request_seconds)
            await trio.sleep(pause * jitter(0.5, 1))
        if self.session.life is not Life.ALIVE:
            await self._wanted.wait()
        elif self.session.pending is None:
            due_ns = self.session.renewed_ns + self._timings.beat_ns
            with trio.move_on_after(max(0.0, (due_ns - self._clock()) / SECOND_NS)):
                await self._wanted.wait()

    async def _beat(self) -> None:
        self._wanted = trio.Event()
        session = self.session
        request = session.beat(self._clock())
        answer: Answer = Unanswered()
        try:
            if request is not None:
                answer = await self._send(request)
                session.answer(answer)
        finally:
            done, self._done = self._done, trio.Event()
            failed = isinstance(answer, Unanswered | Failed)
            self._failures = self._failures + 1 if failed else 0
            if session.life is Life.LOST:
                self._lose(session)
            done.set()

    def _lose(self, session: Session) -> None:
        _LOG.error(
            "another mount has declared this one dead, for it did not hear of it for %d s: "
            "its locks are lost",
            self._timings.ttl_s,
        )
        self.session = session.successor()
        self.on_lost(session)

    async def _send(self, request: Request) -> Answer:
        try:
            await self.write_records()
        except OSError as error:
            _LOG.error("the journal of locks cannot be written: %s", error)
            return Failed(error.errno or 0, f"the journal of locks: {error.strerror}")
        return (await self._service.send(request, None, self.request_seconds)).answer

    async def write_records(self) -> None:
        """Bring what the session has to note to the disk.

        Raises:
            OSError: the disk refused.
        """
        records, self.session.records = self.session.records, ()
        try:
            await self._journal.append(records)
        except BaseException:
            self.session.records = records + self.session.records
            raise

    async def _sweep(self) -> None:
        """Remove again what late requests may have brought back."""
        session = self.session
        for leftover in session.sweep():
            sent_ns = self._clock()
            request = session.sweep_request(leftover)
            seconds = self.request_seconds
            reply = await self._service.send_by_text(request, leftover.path, seconds)
            session.swept(leftover, reply.answer, sent_ns)

    async def end(self) -> None:
        """End the session in good order: swept once, its tombstone made. Every lock is released.

        The caller limits the time; what is left undone the tombstone or the next mount explains.
        """
        async with self._beating:
            while self.session.pending is not None:
                await self._beat()
            if self.session.life is Life.ALIVE:
                await self._sweep()
            while (request := self.session.end()) is not None:
                self.session.answer(await self._send(request))
                if self.session.life is Life.ENDING:
                    await trio.sleep(_FIRST_WAIT)
            await self.write_records()
