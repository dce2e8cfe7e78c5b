"""What an attempt holds while it lasts, and who hears of its end.

Concurrency rule: whatever an attempt holds is given back synchronously.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import trio

from azfilesfs import errors
from azfilesfs.client.admission import Admission
from azfilesfs.client.breaker import Outcome
from azfilesfs.client.gate import BreakerGate
from azfilesfs.client.health import outcome_of, verdict_of
from azfilesfs.client.options import RequestObserver
from azfilesfs.client.priority import current_urgency
from azfilesfs.client.progress import Progress
from azfilesfs.client.schedule import Turn
from azfilesfs.client.timeouts import Budget


class Attempts:
    """Admits the attempts of a client: first their turn, then the breaker.

    Attributes:
        admission: where they wait for their turn.
        gate: where they wait while the breaker is open.
    """

    def __init__(self, admission: Admission, gate: BreakerGate, observer: RequestObserver) -> None:
        """Put the parts together."""
        self.admission = admission
        self.gate = gate
        self.observer = observer

    def one(self, progress: Progress) -> Attempt:
        """Return the next attempt of a call, which begins when it is entered."""
        return Attempt(self, progress)

    async def enter(self, progress: Progress) -> tuple[Turn, int]:
        """Wait for a turn, then for the breaker; what is urgent is also what probes."""
        call = progress.call
        progress.waits_for_turn = True
        turn = await self.admission.enter(
            current_urgency(),
            sends=memoryview(call.body).nbytes,
            reads=call.reads,
            is_lease=call.budget is Budget.LEASE,
        )
        progress.waits_for_turn = False
        progress.waits_for_breaker = True
        try:
            ticket = await self.gate.enter()
        except BaseException:
            self.admission.leave(turn)
            raise
        progress.waits_for_breaker = False
        self.admission.sent(turn)
        return turn, ticket

    def leave(self, turn: Turn, progress: Progress, error: errors.AzureFilesError | None) -> None:
        """Give a turn back with what the attempt says about the load of the service."""
        is_answered = progress.status is not None
        self.admission.leave(
            turn,
            verdict_of(error, is_answered=is_answered),
            moved=progress.received if progress.call.reads and is_answered else turn.expected,
            pause=(error.retry_after if error is not None else None) or 0.0,
        )


class Attempt(AbstractAsyncContextManager[None]):
    """Holds a turn and a ticket of the breaker during an attempt; the observer hears of its end.

    A class rather than a generator, which costs every request several times as much.
    """

    __slots__ = ("_attempts", "_progress", "_started", "_ticket", "_turn")

    def __init__(self, attempts: Attempts, progress: Progress) -> None:
        """Take note of the call; nothing is held yet."""
        self._attempts = attempts
        self._progress = progress

    async def __aenter__(self) -> None:
        """Wait until the attempt may be made; a cancellation leaves nothing behind."""
        self._turn, self._ticket = await self._attempts.enter(self._progress)
        self._started = trio.current_time()

    async def __aexit__(
        self, _kind: object, raised: BaseException | None, _traceback: object
    ) -> None:
        """Give everything back, without a checkpoint; what was raised passes through."""
        attempts, progress = self._attempts, self._progress
        error = raised if isinstance(raised, errors.AzureFilesError) else None
        outcome, subject = Outcome.NEUTRAL, None
        if error is not None:
            outcome, subject = outcome_of(error, progress.call)
        elif raised is None:
            outcome = Outcome.SUCCESS
        cancelled = raised is not None and error is None
        progress.in_flight = progress.in_flight and cancelled
        attempts.gate.leave(self._ticket, outcome, subject)
        attempts.leave(self._turn, progress, error)
        attempts.observer.attempt_finished(
            progress.event(self._started, error, cancelled=cancelled)
        )
